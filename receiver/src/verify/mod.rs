//! Who sent a request: the schemes by which senders prove it, checked over raw bytes, in constant time, against several secrets.
//!
//! - one file per provider or scheme.
//! - `key`: a secret, ready to check what senders present.
//! - `header`, `time`: what the schemes share: a header that stands there once, a time that is near enough.

mod authorization;
mod client_certificate;
mod github;
mod gitlab;
mod header;
mod hmac;
mod jwt;
mod key;
mod shopify;
mod slack;
mod standard_webhooks;
mod stripe;
mod time;
mod twilio;

use std::{fmt, net::IpAddr};

use http::{HeaderMap, HeaderName};
use sluice_crds::{
    PresetName,
    wire::{FieldSource, Verification},
};

pub(crate) use self::jwt::published_keys;
pub use self::{
    client_certificate::Certificates,
    hmac::{InvalidTemplate, Template},
    jwt::Rules,
    key::{InvalidSecret, Key},
    standard_webhooks::Names,
    time::Freshness,
};

/// How senders prove who they are. Adding a preset is an arm in each `match` below, and a file.
#[derive(Debug)]
pub enum Scheme {
    GitHub,
    GitLab,
    Shopify,
    Slack,
    StandardWebhooks(Names),
    Stripe,
    /// With the addresses by which Twilio may know the endpoint.
    Twilio(Vec<String>),
    Hmac(Template),
    Bearer,
    /// With the user name.
    Basic(String),
    /// With the header that carries the key.
    ApiKey(HeaderName),
    Jwt(Rules),
    ClientCertificate(Certificates),
    /// Nobody proves anything; every request is taken.
    None,
}

/// What is verified.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Who sent it over its connection: the last proxy on the way.
    pub peer: IpAddr,
    pub headers: &'a HeaderMap,
    /// As it was sent, without the question mark.
    pub query: Option<&'a str>,
    pub body: &'a [u8],
}

/// Why a request is not genuine. For logs and metrics: the sender is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    HeaderMissing,
    HeaderRepeated,
    SignatureMalformed,
    SignatureWrong,
    BodyUnsigned,
    FormTooLarge,
    TimestampMalformed,
    TimestampTooOld,
    TimestampTooNew,
    CredentialMalformed,
    CredentialWrong,
    KeyUnknown,
    ClaimWrong,
    ProxyUnknown,
}

impl Refusal {
    /// Every cause.
    pub const ALL: [Self; 14] = [
        Self::HeaderMissing,
        Self::HeaderRepeated,
        Self::SignatureMalformed,
        Self::SignatureWrong,
        Self::BodyUnsigned,
        Self::FormTooLarge,
        Self::TimestampMalformed,
        Self::TimestampTooOld,
        Self::TimestampTooNew,
        Self::CredentialMalformed,
        Self::CredentialWrong,
        Self::KeyUnknown,
        Self::ClaimWrong,
        Self::ProxyUnknown,
    ];
}

/// What an event is called where the Webhook says nothing about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Where the provider puts an event's id. None: events with the same body are the same event.
    pub id: Option<FieldSource>,
    /// The provider leaves it out now and then: then the body is the id.
    pub id_may_be_missing: bool,
    /// Where the provider puts an event's type.
    pub event_type: Option<FieldSource>,
}

impl Scheme {
    /// The scheme that a configuration asks for.
    pub fn of(verification: &Verification) -> Result<Self, InvalidTemplate> {
        Ok(match verification {
            Verification::Preset { name, urls, .. } => Self::of_preset(*name, urls),
            Verification::Hmac { .. } => Self::Hmac(Template::of(verification)?),
            Verification::Bearer { .. } => Self::Bearer,
            Verification::Basic { username, .. } => Self::Basic(username.clone()),
            Verification::ApiKey { header, .. } => Self::ApiKey(hmac::header_name(header)?),
            Verification::Jwt { issuer, audience, subjects, .. } => {
                Self::Jwt(Rules { issuer: issuer.clone(), audience: audience.clone(), subjects: subjects.clone() })
            }
            Verification::ClientCertificate { format, header, allowed, proxies } => {
                Self::ClientCertificate(Certificates {
                    format: *format,
                    header: hmac::header_name(header)?,
                    allowed: allowed.clone(),
                    proxies: proxies.clone(),
                })
            }
            Verification::None => Self::None,
        })
    }

    fn of_preset(name: PresetName, urls: &[String]) -> Self {
        match name {
            PresetName::GitHub => Self::GitHub,
            PresetName::GitLab => Self::GitLab,
            PresetName::Shopify => Self::Shopify,
            PresetName::Slack => Self::Slack,
            PresetName::StandardWebhooks => Self::StandardWebhooks(standard_webhooks::STANDARD),
            PresetName::Stripe => Self::Stripe,
            PresetName::Svix => Self::StandardWebhooks(standard_webhooks::SVIX),
            PresetName::Twilio => Self::Twilio(urls.to_vec()),
        }
    }

    /// Makes a key of the content of a secret's file.
    pub fn key(&self, secret: &[u8]) -> Result<Key, InvalidSecret> {
        match self {
            Self::GitHub => github::key(secret),
            Self::GitLab => gitlab::key(secret),
            Self::Shopify => shopify::key(secret),
            Self::Slack => slack::key(secret),
            Self::StandardWebhooks(_) => standard_webhooks::key(secret),
            Self::Stripe => stripe::key(secret),
            Self::Twilio(_) => twilio::key(secret),
            Self::Hmac(template) => template.key(secret),
            Self::Bearer | Self::Basic(_) | Self::ApiKey(_) => Key::text(secret),
            Self::Jwt(_) | Self::ClientCertificate(_) | Self::None => Err(InvalidSecret::Unused),
        }
    }

    /// Whether the request is genuine: one of the keys fits, and the request is recent where the scheme has a time.
    pub fn verify(&self, request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
        match self {
            Self::GitHub => github::verify(request, keys),
            Self::GitLab => gitlab::verify(request, keys, freshness),
            Self::Shopify => shopify::verify(request, keys),
            Self::Slack => slack::verify(request, keys, freshness),
            Self::StandardWebhooks(names) => standard_webhooks::verify(request, names, keys, freshness),
            Self::Stripe => stripe::verify(request, keys, freshness),
            Self::Twilio(urls) => twilio::verify(request, urls, keys),
            Self::Hmac(template) => template.verify(request, keys, freshness),
            Self::Bearer => authorization::verify_bearer(request, keys),
            Self::Basic(username) => authorization::verify_basic(request, username, keys),
            Self::ApiKey(header) => authorization::verify_api_key(request, header, keys),
            Self::Jwt(rules) => jwt::verify(request, rules, keys, freshness),
            Self::ClientCertificate(certificates) => certificates.verify(request),
            Self::None => Ok(()),
        }
    }

    /// What the provider itself calls an event.
    pub fn defaults(&self) -> Defaults {
        match self {
            Self::GitHub => Defaults::id(header(github::ID)).event_type(header(github::TYPE)),
            Self::GitLab => Defaults::id(header(gitlab::ID)).or_body().event_type(header(gitlab::TYPE)),
            Self::Shopify => Defaults::id(header(shopify::ID)).event_type(header(shopify::TYPE)),
            Self::Slack => Defaults::id(pointer(slack::ID)).or_body().event_type(pointer(slack::TYPE)),
            Self::StandardWebhooks(names) => {
                Defaults::id(header(names.id)).event_type(pointer(standard_webhooks::TYPE))
            }
            Self::Stripe => Defaults::id(pointer(stripe::ID)).event_type(pointer(stripe::TYPE)),
            Self::Twilio(_) => Defaults::id(header(twilio::ID)).or_body(),
            Self::Hmac(_)
            | Self::Bearer
            | Self::Basic(_)
            | Self::ApiKey(_)
            | Self::Jwt(_)
            | Self::ClientCertificate(_)
            | Self::None => Defaults::default(),
        }
    }

    /// The provider's headers that stay with the event. None of them is a credential.
    pub fn kept_headers(&self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &github::KEPT,
            Self::GitLab => &gitlab::KEPT,
            Self::Shopify => &shopify::KEPT,
            Self::Slack => &slack::KEPT,
            Self::StandardWebhooks(_) => &standard_webhooks::KEPT,
            Self::Stripe => &stripe::KEPT,
            Self::Twilio(_) => &twilio::KEPT,
            Self::Hmac(_)
            | Self::Bearer
            | Self::Basic(_)
            | Self::ApiKey(_)
            | Self::Jwt(_)
            | Self::ClientCertificate(_)
            | Self::None => &[],
        }
    }

    /// The text that a genuine request asks to be answered, where it is a provider's test of the endpoint and no event.
    pub fn challenge(&self, body: &[u8]) -> Option<String> {
        if let Self::Slack = self { slack::challenge(body) } else { None }
    }

    /// What an answer 401 says in `WWW-Authenticate` (RFC 9110): how to log in, not what was wrong.
    pub fn authenticate(&self) -> Option<&'static str> {
        match self {
            Self::Bearer | Self::Jwt(_) => Some("Bearer"),
            Self::Basic(_) => Some("Basic realm=\"webhook\""),
            _ => None,
        }
    }
}

fn header(name: &str) -> FieldSource {
    FieldSource::Header(name.to_owned())
}

fn pointer(pointer: &str) -> FieldSource {
    FieldSource::JsonPointer(pointer.to_owned())
}

impl Defaults {
    fn id(id: FieldSource) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    fn or_body(self) -> Self {
        Self { id_may_be_missing: true, ..self }
    }

    fn event_type(self, event_type: FieldSource) -> Self {
        Self { event_type: Some(event_type), ..self }
    }
}

impl Refusal {
    /// Whether a key that is not known here could have made the request genuine.
    pub fn may_be_of_another_key(self) -> bool {
        matches!(self, Self::SignatureWrong | Self::CredentialWrong | Self::KeyUnknown)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HeaderMissing => "a header of the signature is missing",
            Self::HeaderRepeated => "a header of the signature is repeated",
            Self::SignatureMalformed => "the signature is not written as the scheme writes it",
            Self::SignatureWrong => "no secret made this signature",
            Self::BodyUnsigned => "the signature does not cover the body",
            Self::FormTooLarge => "the form has more than 1,000 fields or 128 KiB, which Twilio sends none of",
            Self::TimestampMalformed => "the timestamp is no number of seconds",
            Self::TimestampTooOld => "the timestamp is too long ago",
            Self::TimestampTooNew => "the timestamp is too far in the future",
            Self::CredentialMalformed => "the credential is not written as the scheme writes it",
            Self::CredentialWrong => "the credential is none of those that are accepted",
            Self::KeyUnknown => "the token names a key that its issuer does not publish",
            Self::ClaimWrong => "the token is of another issuer, for another audience or about another subject",
            Self::ProxyUnknown => "it did not come from a proxy of the gateway",
        })
    }
}

#[cfg(test)]
mod tests;
