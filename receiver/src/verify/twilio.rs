//! Twilio: HMAC-SHA1 of the endpoint's address and the form's fields in `X-Twilio-Signature: <base64>`; where the body is no form,
//! its SHA-256 is in the address (twilio.com/docs, "Webhooks security"). It signs no time.

use std::{borrow::Cow, collections::BTreeSet};

use aws_lc_rs::digest::{self, SHA256};
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;
use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "x-twilio-signature";
pub(super) const ID: &str = "i-twilio-idempotency-token";
pub(super) const KEPT: [&str; 2] = [ID, "x-home-region"];
const FORM: &[u8] = b"application/x-www-form-urlencoded";
const BODY_HASH: &[u8] = b"bodySHA256";

/// The fields of a form, as Twilio signs them: by name, then by value, each pair once.
type Fields<'a> = BTreeSet<Field<'a>>;
/// A name and a value; a copy only where something in it was escaped.
type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// More fields than Twilio sends, in a larger form. Whether it was Twilio is not known before they are sorted and signed, once for each
/// address and key: until then they are anybody's.
const FIELDS: usize = 1000;
/// In bytes.
const LARGEST_FORM: usize = 128 * 1024;

pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    Key::hmac(HmacAlgorithm::Sha1, without_line_end(secret))
}

/// `urls` are the addresses by which Twilio may know the endpoint. What the request says of its address, and what proxies
/// say, is not asked: it is the sender's choice.
pub(super) fn verify(request: Signed<'_>, urls: &[String], keys: &[Key]) -> Result<(), Refusal> {
    let signature = [decode(Encoding::Base64, header::single(request.headers, SIGNATURE)?)?];
    let query = request.query.unwrap_or_default();
    let fields = signed_fields(request, query)?;
    let mark = if query.is_empty() { "" } else { "?" };
    let signed_at = |url: &String| {
        let address = [url.as_bytes(), mark.as_bytes(), query.as_bytes()];
        let fields = fields.iter().flat_map(|(name, value)| [&**name, &**value]);
        signed_by_any(keys, &signature, &address.into_iter().chain(fields).collect::<Vec<_>>())
    };
    urls.iter().map(signed_at).find(Result::is_ok).unwrap_or(Err(Refusal::SignatureWrong))
}

/// What is signed of the body: the fields of a form, or nothing where the signed address has the body's hash.
fn signed_fields<'a>(request: Signed<'a>, query: &str) -> Result<Fields<'a>, Refusal> {
    let hashes: Vec<_> = pairs(query.as_bytes()).filter(|(name, _)| **name == *BODY_HASH).collect();
    match hashes.as_slice() {
        [] if is_form(request) => fields(request.body),
        // Such a body would not be signed at all.
        [] => Err(Refusal::BodyUnsigned),
        [(_, hash)] if decode(Encoding::Hex, hash)? == digest::digest(&SHA256, request.body).as_ref() => {
            Ok(Fields::new())
        }
        _ => Err(Refusal::SignatureWrong),
    }
}

fn fields(form: &[u8]) -> Result<Fields<'_>, Refusal> {
    if form.len() > LARGEST_FORM || raw_pairs(form).nth(FIELDS).is_some() {
        return Err(Refusal::FormTooLarge);
    }
    Ok(pairs(form).collect())
}

/// Whether the body is a form. That it says so matters: a form that was signed must not be read as anything else.
fn is_form(request: Signed<'_>) -> bool {
    let essence = |value: &[u8]| value.split(|byte| *byte == b';').next().map(|text| text.trim_ascii().to_vec());
    let content_type = header::single(request.headers, CONTENT_TYPE.as_str()).ok().and_then(essence);
    request.body.is_empty() || content_type.is_some_and(|essence| essence.eq_ignore_ascii_case(FORM))
}

/// The pairs of a form or query (URL standard, "application/x-www-form-urlencoded"), as bytes.
fn pairs(form: &[u8]) -> impl Iterator<Item = Field<'_>> {
    raw_pairs(form).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        (unescape(name), unescape(value))
    })
}

fn raw_pairs(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty())
}

fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn a_form_is_read_as_it_was_written(fields in vec((vec(any::<u8>(), 1..8), vec(any::<u8>(), 0..8)), 0..6)) {
            let escape = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string().replace("%20", "+");
            let form: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
            let read: Vec<_> = pairs(form.join("&").as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            prop_assert_eq!(read, fields);
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        let read: Vec<_> = pairs(b"b=1+2&a=%2B%c3%a9&&c&d==&b=1+2").map(|(n, v)| (text(n), text(v))).collect();
        let expected = [("b", "1 2"), ("a", "+é"), ("c", ""), ("d", "="), ("b", "1 2")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
