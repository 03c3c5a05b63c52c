//! Who sent a request: the schemes by which senders sign, checked over raw bytes, in constant time, against several secrets.
//!
//! - `github`, `standard_webhooks`, `hmac`: one file per scheme.
//! - `key`: a secret, ready to check signatures.
//! - `header`, `time`: what the schemes share: a header that stands there once, a time that is near enough.

mod github;
mod header;
mod hmac;
mod key;
mod standard_webhooks;
mod time;

use std::fmt;

use http::HeaderMap;
use sluice_crds::{PresetName, wire::Verification};

pub use self::{
    hmac::{InvalidTemplate, Template},
    key::{InvalidSecret, Key},
    time::Freshness,
};

/// How senders sign. Adding a preset is an arm in each `match` below, and a file.
#[derive(Debug)]
pub enum Scheme {
    GitHub,
    StandardWebhooks,
    Hmac(Template),
    /// Nobody signs; every request is taken.
    None,
}

/// What is verified.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Why a request is not genuine. For logs and metrics: the sender is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    HeaderMissing,
    HeaderRepeated,
    SignatureMalformed,
    SignatureWrong,
    TimestampMalformed,
    TimestampTooOld,
    TimestampTooNew,
}

/// The header that carries an event's id, where the provider has one.
pub type IdHeader = Option<&'static str>;

impl Scheme {
    /// The scheme that a configuration asks for.
    pub fn of(verification: &Verification) -> Result<Self, InvalidTemplate> {
        match verification {
            Verification::Preset { name: PresetName::GitHub, .. } => Ok(Self::GitHub),
            Verification::Preset { name: PresetName::StandardWebhooks, .. } => Ok(Self::StandardWebhooks),
            Verification::Hmac { .. } => Template::of(verification).map(Self::Hmac),
            Verification::None => Ok(Self::None),
        }
    }

    /// Makes a key of the content of a secret's file.
    pub fn key(&self, secret: &[u8]) -> Result<Key, InvalidSecret> {
        match self {
            Self::GitHub => github::key(secret),
            Self::StandardWebhooks => standard_webhooks::key(secret),
            Self::Hmac(template) => template.key(secret),
            Self::None => Err(InvalidSecret::Unused),
        }
    }

    /// Whether one of the keys signed the request, recently enough where the scheme has a time.
    pub fn verify(&self, request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
        match self {
            Self::GitHub => github::verify(request, keys),
            Self::StandardWebhooks => standard_webhooks::verify(request, keys, freshness),
            Self::Hmac(template) => template.verify(request, keys, freshness),
            Self::None => Ok(()),
        }
    }

    /// Where the provider puts an event's id.
    pub fn id_header(&self) -> IdHeader {
        match self {
            Self::GitHub => Some(github::ID),
            Self::StandardWebhooks => Some(standard_webhooks::ID),
            Self::Hmac(_) | Self::None => None,
        }
    }

    /// The provider's headers that stay with the event. None of them is a credential.
    pub fn kept_headers(&self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &github::KEPT,
            Self::StandardWebhooks => &standard_webhooks::KEPT,
            Self::Hmac(_) | Self::None => &[],
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HeaderMissing => "a header of the signature is missing",
            Self::HeaderRepeated => "a header of the signature is repeated",
            Self::SignatureMalformed => "the signature is not written as the scheme writes it",
            Self::SignatureWrong => "no secret made this signature",
            Self::TimestampMalformed => "the timestamp is no number of seconds",
            Self::TimestampTooOld => "the timestamp is too long ago",
            Self::TimestampTooNew => "the timestamp is too far in the future",
        })
    }
}

#[cfg(test)]
mod tests;
