//! A secret, ready to check signatures.

use aws_lc_rs::{
    constant_time,
    hmac::{self, Context, Tag},
};
use sluice_crds::HmacAlgorithm;

use super::Refusal;

/// A signing secret. It prints without its bytes.
#[derive(Debug)]
pub struct Key(hmac::Key);

/// Why a secret is no key; a sentence that follows the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("is empty; anybody could sign with it")]
    Empty,
    #[error("is not base64, with or without \"whsec_\" before it")]
    NotBase64,
    #[error("is not used: nothing is verified")]
    Unused,
}

impl Key {
    pub(super) fn new(algorithm: HmacAlgorithm, secret: &[u8]) -> Result<Self, InvalidSecret> {
        if secret.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        let algorithm = match algorithm {
            HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
            HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Ok(Self(hmac::Key::new(algorithm, secret)))
    }

    fn sign(&self, parts: &[&[u8]]) -> Tag {
        let mut context = Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

/// Accepts a list of signatures if any of the keys made any of them of the parts, one after the other.
///
/// One HMAC per key, however long the list is: its length is the sender's choice. The time that a comparison takes does not
/// tell how much of a signature is right.
pub(super) fn signed_by_any(keys: &[Key], signatures: &[Vec<u8>], parts: &[&[u8]]) -> Result<(), Refusal> {
    let made = |tag: &Tag, signature: &[u8]| constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok();
    let genuine = keys.iter().map(|key| key.sign(parts)).any(|tag| signatures.iter().any(|given| made(&tag, given)));
    genuine.then_some(()).ok_or(Refusal::SignatureWrong)
}

/// A secret that is text, as an editor or `echo` leaves it: without the end of its line.
pub(super) fn without_line_end(secret: &[u8]) -> &[u8] {
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    secret.strip_suffix(b"\r").unwrap_or(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_without_its_bytes() {
        let printed = format!("{:?}", Key::new(HmacAlgorithm::Sha256, b"top-secret").unwrap());
        assert!(!printed.contains("top-secret") && !printed.contains("116"), "{printed}");
    }

    #[test]
    fn only_one_line_end_is_no_part_of_a_text() {
        for (secret, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(without_line_end(secret.as_bytes()), expected.as_bytes());
        }
    }
}
