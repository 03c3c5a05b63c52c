//! The generic scheme: an HMAC in a header, over a text that the Webhook describes.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use http::HeaderName;
use sluice_crds::{Encoding, HmacAlgorithm, wire::Verification};

use super::{
    Freshness, Refusal, Signed, header,
    key::{InvalidSecret, Key, signed_by_any},
};

/// How a sender signs, in a form that cannot be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    header: HeaderName,
    algorithm: HmacAlgorithm,
    encoding: Encoding,
    prefix: String,
    signed_content: Vec<Part>,
    timestamp_header: Option<HeaderName>,
}

/// A part of the text that is signed.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
}

/// Why there is no such scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    #[error("{0:?} is no name of a header")]
    Header(String),
    #[error("signedContent must contain {{body}}; otherwise the body would not be signed")]
    NoBody,
    #[error("signedContent with {{timestamp}} needs timestampHeader, and the other way round")]
    UnsignedTime,
    #[error("this is no HMAC scheme")]
    OtherScheme,
}

const BODY: &str = "{body}";
const TIMESTAMP: &str = "{timestamp}";

/// RFC 4648 section 5, with or without padding.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Template {
    pub(super) fn of(verification: &Verification) -> Result<Self, InvalidTemplate> {
        let Verification::Hmac { header, algorithm, encoding, prefix, signed_content, timestamp_header, .. } =
            verification
        else {
            return Err(InvalidTemplate::OtherScheme);
        };
        let signed_content = parts(signed_content);
        if !signed_content.contains(&Part::Body) {
            return Err(InvalidTemplate::NoBody);
        }
        if signed_content.contains(&Part::Timestamp) != timestamp_header.is_some() {
            return Err(InvalidTemplate::UnsignedTime);
        }
        Ok(Self {
            header: header_name(header)?,
            algorithm: *algorithm,
            encoding: *encoding,
            prefix: prefix.clone(),
            signed_content,
            timestamp_header: timestamp_header.as_deref().map(header_name).transpose()?,
        })
    }

    pub(super) fn key(&self, secret: &[u8]) -> Result<Key, InvalidSecret> {
        Key::new(self.algorithm, secret)
    }

    pub(super) fn verify(&self, request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
        let signature = header::single(request.headers, self.header.as_str())?;
        let timestamp = match &self.timestamp_header {
            Some(name) => header::single(request.headers, name.as_str())?,
            None => &[],
        };
        if self.timestamp_header.is_some() {
            freshness.check(timestamp)?;
        }
        let signature = signature.strip_prefix(self.prefix.as_bytes()).ok_or(Refusal::SignatureMalformed)?;
        let signed: Vec<&[u8]> = self.signed_content.iter().map(|part| part.bytes(request.body, timestamp)).collect();
        signed_by_any(keys, &[decode(self.encoding, signature)?], &signed)
    }
}

impl Part {
    fn bytes<'a>(&'a self, body: &'a [u8], timestamp: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Body => body,
            Self::Timestamp => timestamp,
        }
    }
}

/// Splits a template at its placeholders; other braces are text.
fn parts(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((at, placeholder, part)) = first_placeholder(rest) {
        parts.extend(text(&rest[..at]));
        parts.push(part);
        rest = &rest[at + placeholder.len()..];
    }
    parts.extend(text(rest));
    parts
}

fn first_placeholder(text: &str) -> Option<(usize, &'static str, Part)> {
    let body = text.find(BODY).map(|at| (at, BODY, Part::Body));
    let timestamp = text.find(TIMESTAMP).map(|at| (at, TIMESTAMP, Part::Timestamp));
    body.into_iter().chain(timestamp).min_by_key(|(at, ..)| *at)
}

fn text(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Text(text.to_owned()))
}

fn header_name(name: &str) -> Result<HeaderName, InvalidTemplate> {
    name.parse().map_err(|_| InvalidTemplate::Header(name.to_owned()))
}

/// The bytes of a signature as it is written. One signature has one spelling, except for the case of hex digits and the
/// padding of base64url.
pub(super) fn decode(encoding: Encoding, signature: &[u8]) -> Result<Vec<u8>, Refusal> {
    let decoded = match encoding {
        Encoding::Hex => hex::decode(signature).ok(),
        Encoding::Base64 => STANDARD.decode(signature).ok(),
        Encoding::Base64Url => BASE64_URL.decode(signature).ok(),
    };
    decoded.ok_or(Refusal::SignatureMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_at_its_placeholders() {
        let text = |text: &str| Part::Text(text.to_owned());
        let cases = [
            ("{body}", vec![Part::Body]),
            ("v0:{timestamp}:{body}", vec![text("v0:"), Part::Timestamp, text(":"), Part::Body]),
            ("{body}{body}!", vec![Part::Body, Part::Body, text("!")]),
            ("{{body}}{id}", vec![text("{"), Part::Body, text("}{id}")]),
            ("{timestamp", vec![text("{timestamp")]),
        ];
        for (template, expected) in cases {
            assert_eq!(parts(template), expected, "{template}");
        }
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let bytes = [0xfb, 0xff];
        for (encoding, right, wrong) in [
            (Encoding::Hex, vec!["fbff", "FBFF", "fBfF"], vec!["fbf", "0xfbff", "fb ff", "fbfg"]),
            (Encoding::Base64, vec!["+/8="], vec!["+/8", "-_8=", "+/9=", "+/8=\n", " +/8="]),
            (Encoding::Base64Url, vec!["-_8=", "-_8"], vec!["+/8=", "-_9=", "-_8=="]),
        ] {
            for text in right {
                assert_eq!(decode(encoding, text.as_bytes()).as_deref(), Ok(&bytes[..]), "{text}");
            }
            for text in wrong {
                assert_eq!(decode(encoding, text.as_bytes()), Err(Refusal::SignatureMalformed), "{text}");
            }
        }
    }
}
