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
    /// What stands between several signatures, where there may be several.
    separator: Option<String>,
    signed_content: Vec<Part>,
    timestamp_header: Option<HeaderName>,
}

/// A part of the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
    Header(HeaderName),
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

/// RFC 4648 section 5, with or without padding.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Template {
    pub(super) fn of(verification: &Verification) -> Result<Self, InvalidTemplate> {
        let Verification::Hmac {
            header,
            algorithm,
            encoding,
            prefix,
            separator,
            signed_content,
            timestamp_header,
            secrets: _,
        } = verification
        else {
            return Err(InvalidTemplate::OtherScheme);
        };
        let signed_content = parts(signed_content)?;
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
            separator: separator.clone().filter(|separator| !separator.is_empty()),
            signed_content,
            timestamp_header: timestamp_header.as_deref().map(header_name).transpose()?,
        })
    }

    pub(super) fn key(&self, secret: &[u8]) -> Result<Key, InvalidSecret> {
        Key::hmac(self.algorithm, secret)
    }

    pub(super) fn verify(&self, request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
        let signatures = self.signatures(header::single(request.headers, self.header.as_str())?)?;
        let timestamp = match &self.timestamp_header {
            Some(name) => header::single(request.headers, name.as_str())?,
            None => &[],
        };
        if self.timestamp_header.is_some() {
            freshness.check(timestamp)?;
        }
        let signed = self.signed_content.iter().map(|part| part.bytes(request, timestamp));
        signed_by_any(keys, &signatures, &signed.collect::<Result<Vec<_>, _>>()?)
    }

    /// The signatures of the header, at least one. Of several, those that are written otherwise are of another scheme.
    fn signatures(&self, header: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        let Some(separator) = &self.separator else { return Ok(vec![self.signature(header)?]) };
        let text = std::str::from_utf8(header).map_err(|_| Refusal::SignatureMalformed)?;
        let items = text.split(separator.as_str());
        let signatures: Vec<_> = items.filter_map(|item| self.signature(item.trim().as_bytes()).ok()).collect();
        if signatures.is_empty() { Err(Refusal::SignatureMalformed) } else { Ok(signatures) }
    }

    fn signature(&self, text: &[u8]) -> Result<Vec<u8>, Refusal> {
        decode(self.encoding, text.strip_prefix(self.prefix.as_bytes()).ok_or(Refusal::SignatureMalformed)?)
    }
}

impl Part {
    fn bytes<'a>(&'a self, request: Signed<'a>, timestamp: &'a [u8]) -> Result<&'a [u8], Refusal> {
        match self {
            Self::Text(text) => Ok(text.as_bytes()),
            Self::Body => Ok(request.body),
            Self::Timestamp => Ok(timestamp),
            Self::Header(name) => header::single(request.headers, name.as_str()),
        }
    }
}

/// Splits a template at its placeholders; other braces are text.
fn parts(template: &str) -> Result<Vec<Part>, InvalidTemplate> {
    let mut parts = Vec::new();
    let (mut text, mut rest) = (String::new(), template);
    while let Some(character) = rest.chars().next() {
        if let Some((part, after)) = placeholder(rest)? {
            parts.extend((!text.is_empty()).then(|| Part::Text(std::mem::take(&mut text))));
            parts.push(part);
            rest = after;
        } else {
            text.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    parts.extend((!text.is_empty()).then_some(Part::Text(text)));
    Ok(parts)
}

/// The placeholder with which the text begins, and what follows it.
fn placeholder(text: &str) -> Result<Option<(Part, &str)>, InvalidTemplate> {
    if let Some(after) = text.strip_prefix("{body}") {
        return Ok(Some((Part::Body, after)));
    }
    if let Some(after) = text.strip_prefix("{timestamp}") {
        return Ok(Some((Part::Timestamp, after)));
    }
    let named = text.strip_prefix("{header:").and_then(|after| after.split_once('}'));
    named.map(|(name, after)| Ok((Part::Header(header_name(name)?), after))).transpose()
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, InvalidTemplate> {
    name.parse().map_err(|_| InvalidTemplate::Header(name.to_owned()))
}

/// The bytes of a signature as it is written. One signature has one spelling, except for the case of hex digits and the
/// padding of base64url.
pub(super) fn decode(encoding: Encoding, signature: &[u8]) -> Result<Vec<u8>, Refusal> {
    let decoded = match encoding {
        Encoding::Hex => of_hex(signature),
        Encoding::Base64 => STANDARD.decode(signature).ok(),
        Encoding::Base64Url => BASE64_URL.decode(signature).ok(),
    };
    decoded.ok_or(Refusal::SignatureMalformed)
}

/// As `hex::decode`, with all its room from the beginning.
fn of_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len() / 2];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_at_its_placeholders() {
        let text = |text: &str| Part::Text(text.to_owned());
        let header = |name: &'static str| Part::Header(HeaderName::from_static(name));
        let cases = [
            ("{body}", vec![Part::Body]),
            ("v0:{timestamp}:{body}", vec![text("v0:"), Part::Timestamp, text(":"), Part::Body]),
            ("{body}{body}!", vec![Part::Body, Part::Body, text("!")]),
            ("{{body}}{id}", vec![text("{"), Part::Body, text("}{id}")]),
            ("{timestamp", vec![text("{timestamp")]),
            ("{header:X-Id}.{body}é", vec![header("x-id"), text("."), Part::Body, text("é")]),
            ("{header:x", vec![text("{header:x")]),
        ];
        for (template, expected) in cases {
            assert_eq!(parts(template), Ok(expected), "{template}");
        }
        assert_eq!(parts("{header:a b}"), Err(InvalidTemplate::Header("a b".into())));
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
