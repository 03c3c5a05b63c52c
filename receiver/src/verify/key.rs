//! A secret, ready to check what senders present.

use std::fmt;

use aws_lc_rs::{
    constant_time,
    digest::{self, SHA256},
    hmac::{self, Context, Tag},
    signature::{ED25519, ParsedPublicKey},
};
use sluice_crds::HmacAlgorithm;

use super::{Refusal, jwt::PublishedKey};

/// A secret, or a public key. It prints without its bytes.
#[derive(Debug)]
pub enum Key {
    Hmac(Box<hmac::Key>),
    Ed25519(ParsedPublicKey),
    Text(Token),
    Published(Box<PublishedKey>),
}

/// A text that the sender presents as it is, known by its hash: comparing hashes tells nothing about the length either.
pub struct Token([u8; 32]);

/// Why a secret is no key; a sentence that follows the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("is empty; anybody could sign with it")]
    Empty,
    #[error("is not base64, with or without \"whsec_\" before it")]
    NotBase64,
    #[error("is not \"whpk_\" and the base64 of an Ed25519 public key of 32 bytes")]
    NoPublicKey,
    #[error("is a private key (\"whsk_\"), which stays with the sender; write its public key (\"whpk_\")")]
    PrivateKey,
    #[error("is not used: nothing is verified with it")]
    Unused,
}

impl Key {
    pub(super) fn hmac(algorithm: HmacAlgorithm, secret: &[u8]) -> Result<Self, InvalidSecret> {
        if secret.trim_ascii().is_empty() {
            return Err(InvalidSecret::Empty);
        }
        let algorithm = match algorithm {
            HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
            HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Ok(Self::Hmac(Box::new(hmac::Key::new(algorithm, secret))))
    }

    pub(super) fn ed25519(public: &[u8]) -> Result<Self, InvalidSecret> {
        ParsedPublicKey::new(&ED25519, public).map(Self::Ed25519).map_err(|_| InvalidSecret::NoPublicKey)
    }

    /// A text, as an editor or `echo` leaves it.
    pub(super) fn text(secret: &[u8]) -> Result<Self, InvalidSecret> {
        let text = without_line_end(secret);
        if text.trim_ascii().is_empty() { Err(InvalidSecret::Empty) } else { Ok(Self::Text(Token::of(text))) }
    }
}

impl Token {
    fn of(text: &[u8]) -> Self {
        let hash = digest::digest(&SHA256, text);
        Self(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    fn equals(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

/// Accepts a list of signatures if any of the keys made any of them of the parts, one after the other.
///
/// One HMAC per key, however long the list is: its length is the sender's choice. The time that a comparison takes does not
/// tell how much of a signature is right.
pub(super) fn signed_by_any(keys: &[Key], signatures: &[Vec<u8>], parts: &[&[u8]]) -> Result<(), Refusal> {
    let made = |tag: &Tag, signature: &[u8]| constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok();
    let mut tags = keys.iter().filter_map(|key| if let Key::Hmac(key) = key { Some(sign(key, parts)) } else { None });
    let genuine = tags.any(|tag| signatures.iter().any(|given| made(&tag, given)));
    genuine.then_some(()).ok_or(Refusal::SignatureWrong)
}

fn sign(key: &hmac::Key, parts: &[&[u8]]) -> Tag {
    let mut context = Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Accepts a text that is one of the keys.
pub(super) fn equals_any(keys: &[Key], text: &[u8]) -> Result<(), Refusal> {
    let given = Token::of(text);
    let known = keys.iter().any(|key| matches!(key, Key::Text(token) if token.equals(&given)));
    known.then_some(()).ok_or(Refusal::CredentialWrong)
}

/// Whether two texts are equal; the time that it takes does not tell where they differ.
pub(super) fn same_text(one: &[u8], other: &[u8]) -> bool {
    Token::of(one).equals(&Token::of(other))
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
        let keys = [Key::hmac(HmacAlgorithm::Sha256, b"top-secret").unwrap(), Key::text(b"top-secret").unwrap()];
        for key in keys {
            let printed = format!("{key:?}");
            assert!(!printed.contains("top-secret") && !printed.contains("116"), "{printed}");
        }
    }

    #[test]
    fn only_one_line_end_is_no_part_of_a_text() {
        for (secret, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(without_line_end(secret.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn a_text_is_equal_to_itself_only() {
        let keys = [Key::text(b"one\n").unwrap(), Key::text(b"two").unwrap()];
        for (text, expected) in [("one", true), ("two", true), ("one\n", false), ("tw", false), ("", false)] {
            assert_eq!(equals_any(&keys, text.as_bytes()).is_ok(), expected, "{text:?}");
        }
    }
}
