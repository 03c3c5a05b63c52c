//! How a sender of webhooks proves who it is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Empty;
use crate::{Duration, SecretReference};

/// How a sender proves who it is. Exactly one scheme; it is checked over the raw bytes before anything is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.preset), has(self.hmac), has(self.none)].filter(given, given).size() == 1")
    .message("verify: write exactly one of preset, hmac, none; `none: {}` accepts every request"))]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// A provider's own scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// An HMAC signature in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preset {
    /// The provider.
    pub name: PresetName,
    /// The signing secrets. A request is genuine if any of them signed it, so that one can be rotated.
    #[schemars(length(min = 1, max = 8))]
    pub secret_refs: Vec<SecretReference>,
}

/// The providers whose scheme Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PresetName {
    /// `X-Hub-Signature-256` over the body; the event id is `X-GitHub-Delivery`.
    GitHub,
    /// The Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    StandardWebhooks,
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
    /// What is signed: text with the placeholders `{body}` and `{timestamp}`.
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
