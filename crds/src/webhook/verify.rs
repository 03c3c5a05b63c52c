//! How a sender of webhooks proves who it is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Empty;
use crate::{Duration, SecretReference};

/// How a sender proves who it is. Exactly one scheme; it is checked over the raw bytes before anything is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.preset), has(self.hmac), has(self.bearer), has(self.basic), has(self.apiKey), has(self.jwt), has(self.clientCertificate), has(self.none)].filter(given, given).size() == 1")
    .message("verify: write exactly one of preset, hmac, bearer, basic, apiKey, jwt, clientCertificate, none; `none: {}` accepts every request"))]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// A provider's own scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// An HMAC signature in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
    /// A token in `Authorization: Bearer <token>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Bearer>,
    /// A user name and a password in `Authorization: Basic ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A key in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// A JSON Web Token in `Authorization: Bearer <token>`, signed by a key that its issuer publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// The client's certificate, which the gateway has verified and forwards in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// No verification: anybody who reaches the endpoint can write to the Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Empty>,
    /// How far the sender's timestamp may lie from the receiver's clock, in both directions, where the scheme has one.
    #[serde(default = "Verify::default_tolerance")]
    pub tolerance: Duration,
}

impl Verify {
    const fn default_tolerance() -> Duration {
        Duration::from_secs(300)
    }
}

/// A provider's own scheme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.url) || self.name == 'Twilio'")
    .message("preset: url is for Twilio, which signs it; remove it"))]
#[serde(rename_all = "camelCase")]
pub struct Preset {
    /// The provider.
    pub name: PresetName,
    /// The signing secrets, as the provider shows them. A request is genuine if any of them signed it, so that one can be rotated.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
    /// Only for Twilio: the address as it stands in Twilio's console, without its query. Twilio signs it, and a receiver behind
    /// a gateway cannot know it. Default: `https://<hostname><path>` for each of `route.hostnames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^/?#\s]+(/[^?#\s]*)?$"))]
    pub url: Option<String>,
}

/// The providers whose scheme Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PresetName {
    /// `X-Hub-Signature-256` over the body; the event id is `X-GitHub-Delivery`.
    GitHub,
    /// A secret token in `X-Gitlab-Token`; where the secret begins with `whsec_`, it is a signing token and the scheme that of
    /// Standard Webhooks. The event id is `Idempotency-Key`, where that is missing a hash of the body.
    GitLab,
    /// `X-Shopify-Hmac-Sha256` over the body; the event id is `X-Shopify-Webhook-Id`.
    Shopify,
    /// `X-Slack-Signature` over time and body. A `url_verification` challenge is answered and not written. The event id is
    /// `/event_id` of the body, where that is missing (commands, interactions) a hash of the body.
    Slack,
    /// The Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`. A secret is symmetric
    /// (`whsec_...`) or an Ed25519 public key (`whpk_...`).
    StandardWebhooks,
    /// `Stripe-Signature` over time and body; the event id is `/id` of the body.
    Stripe,
    /// As StandardWebhooks, with `svix-id`, `svix-timestamp` and `svix-signature`.
    Svix,
    /// `X-Twilio-Signature` over the address and the form's fields or a hash of the body. The event id is
    /// `I-Twilio-Idempotency-Token`, where that is missing a hash of the body.
    Twilio,
}

/// An HMAC signature in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.signedContent.contains('{timestamp}') == has(self.timestampHeader)")
    .message("hmac: signedContent with {timestamp} needs timestampHeader, and timestampHeader needs {timestamp} in signedContent; otherwise the time would not be signed"))]
#[x_kube(validation = Rule::new("self.signedContent.contains('{body}')")
    .message("hmac: signedContent must contain {body}"))]
#[serde(rename_all = "camelCase")]
pub struct Hmac {
    /// Header that carries the signature.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: String,
    /// Hash function.
    #[serde(default)]
    pub algorithm: HmacAlgorithm,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// Text before the signature in the header, such as `sha256=`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub prefix: String,
    /// Text between several signatures in the header, such as `,`; one that is right is enough, and those without `prefix`
    /// do not count. Default: the header holds one signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub separator: Option<String>,
    /// What is signed: text with the placeholders `{body}`, `{timestamp}` and `{header:<name>}`, the value of a header of the
    /// request.
    #[serde(default = "Hmac::default_signed_content")]
    #[schemars(length(min = 1, max = 256))]
    pub signed_content: String,
    /// Header that carries the time of sending, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub timestamp_header: Option<String>,
    /// The signing secrets, as they are: their bytes are the key. A request is genuine if any of them signed it.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
}

impl Hmac {
    fn default_signed_content() -> String {
        "{body}".to_owned()
    }
}

/// Hash functions for HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HmacAlgorithm {
    /// SHA-1, only for senders that offer nothing better.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How the bytes of a signature are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// Hexadecimal digits, in either case.
    #[default]
    Hex,
    /// RFC 4648 section 4, with padding.
    Base64,
    /// RFC 4648 section 5, with or without padding.
    Base64Url,
}

/// A token in `Authorization: Bearer <token>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bearer {
    /// The tokens, any of which is accepted. A line end after a token is not part of it.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
}

/// A user name and a password in `Authorization: Basic ...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The user name.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[^:]+$"))]
    pub username: String,
    /// The passwords, any of which is accepted. A line end after a password is not part of it.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
}

/// A key in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Header that carries the key.
    #[serde(default = "ApiKey::default_header")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: String,
    /// The keys, any of which is accepted. A line end after a key is not part of it.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
}

impl ApiKey {
    fn default_header() -> String {
        "X-Api-Key".to_owned()
    }
}

/// A JSON Web Token (RFC 7519) with an asymmetric signature. It says who the sender is; the body is not signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// The token's `iss`, exactly.
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: String,
    /// The token's `aud` must name one of these.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 2048)))]
    pub audience: Vec<String>,
    /// The token's `sub` must be one of these. Default: anybody to whom the issuer gives such a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub subjects: Vec<String>,
    /// Where the issuer publishes its keys (RFC 7517). They are kept while it cannot be reached, and asked for again when a
    /// token names a key that is not known yet.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^/?#\s]+(/[^#\s]*)?$"))]
    pub jwks_uri: String,
}

/// The client's certificate, which the gateway has verified and forwards in a header. The gateway must remove that header
/// from what clients send, and `proxies` keep others from writing it who reach the receiver without the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.format != 'Rfc9440' || self.allowed.all(one, has(one.sha256))")
    .message("clientCertificate: with format Rfc9440 write allowed: [{sha256: ...}]"))]
#[x_kube(validation = Rule::new("self.format != 'Text' || self.allowed.all(one, has(one.subject))")
    .message("clientCertificate: with format Text write allowed: [{subject: ...}]"))]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// How the gateway writes the header.
    #[serde(default)]
    pub format: CertificateFormat,
    /// Header that carries the identity. Default: `X-Forwarded-Client-Cert` for `Envoy`, `Client-Cert` for `Rfc9440`,
    /// `Ssl-Client-Subject-Dn` for `Text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: Option<String>,
    /// The certificates that are accepted.
    #[schemars(length(min = 1, max = 64))]
    pub allowed: Vec<CertificateIdentity>,
    /// Networks that the gateway's proxies connect from, such as `10.0.3.0/24`: what comes from elsewhere is refused,
    /// whatever its header says. Default: any, so that nobody but the gateway may reach the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    pub proxies: Vec<String>,
}

/// How a gateway forwards a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CertificateFormat {
    /// `X-Forwarded-Client-Cert` as Envoy, Contour, Envoy Gateway and Istio write it: `Hash=..;Subject="..";URI=..;DNS=..`.
    /// Of several elements, which proxies on the way have added, none is trusted.
    #[default]
    Envoy,
    /// `Client-Cert` of RFC 9440: the certificate itself, known by its `sha256`.
    Rfc9440,
    /// The subject as plain text, as NGINX writes `$ssl_client_s_dn`.
    Text,
}

/// One certificate that is accepted, by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.uri), has(self.dns), has(self.subject), has(self.sha256)].filter(given, given).size() == 1")
    .message("clientCertificate.allowed: write exactly one of uri, dns, subject, sha256"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateIdentity {
    /// A URI among its alternative names, such as `spiffe://partner.example/sender`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub uri: Option<String>,
    /// A DNS name among its alternative names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub dns: Option<String>,
    /// Its subject, written exactly as the gateway writes it, such as `CN=sender,O=Partner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// The SHA-256 of the certificate (DER), 64 hexadecimal digits in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}
