//! Standard Webhooks (standardwebhooks.com, specification 1.0), which Svix and GitLab use too: a list of signatures of
//! `id.timestamp.body`, symmetric (`v1,<base64>`, HMAC-SHA256) or asymmetric (`v1a,<base64>`, Ed25519).

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Freshness, Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

/// The headers of a signed request.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub(super) id: &'static str,
    pub(super) timestamp: &'static str,
    pub(super) signature: &'static str,
}

pub(super) const STANDARD: Names =
    Names { id: "webhook-id", timestamp: "webhook-timestamp", signature: "webhook-signature" };
pub(super) const SVIX: Names = Names { id: "svix-id", timestamp: "svix-timestamp", signature: "svix-signature" };
pub(super) const KEPT: [&str; 4] = [STANDARD.id, STANDARD.timestamp, SVIX.id, SVIX.timestamp];
/// The specification wants a type in the body.
pub(super) const TYPE: &str = "/type";

/// Some senders give out their keys without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A symmetric key is written as base64 after `whsec_` or, as the reference libraries allow, without it; a public one after
/// `whpk_`.
pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    let text = without_line_end(secret);
    if text.starts_with(b"whsk_") {
        return Err(InvalidSecret::PrivateKey);
    }
    if let Some(public) = text.strip_prefix(b"whpk_") {
        return Key::ed25519(&BASE64.decode(public).map_err(|_| InvalidSecret::NoPublicKey)?);
    }
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    Key::hmac(HmacAlgorithm::Sha256, &BASE64.decode(text).map_err(|_| InvalidSecret::NotBase64)?)
}

pub(super) fn verify(request: Signed<'_>, names: &Names, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    let [id, timestamp, list] =
        [names.id, names.timestamp, names.signature].map(|name| header::single(request.headers, name));
    let (id, timestamp, list) = (id?, timestamp?, list?);
    freshness.check(timestamp)?;
    let symmetric = signatures(list, b"v1,");
    let asymmetric = signatures(list, b"v1a,");
    if symmetric.is_empty() && asymmetric.is_empty() {
        return Err(Refusal::SignatureMalformed);
    }
    let parts = [id, b".", timestamp, b".", request.body];
    signed_by_any(keys, &symmetric, &parts)
        .or_else(|wrong| if signed_by_owner(keys, &asymmetric, &parts) { Ok(()) } else { Err(wrong) })
}

/// The signatures of one version. A sender that rotates signs with the old and the new secret, and may sign in ways that are
/// not known here.
fn signatures(list: &[u8], version: &[u8]) -> Vec<Vec<u8>> {
    let items = list.split(|byte| *byte == b' ');
    items.filter_map(|signature| decode(Encoding::Base64, signature.strip_prefix(version)?).ok()).collect()
}

/// More than a sender that rotates makes. Each one costs a verification for each key, and the list is the sender's choice.
const SIGNATURES: usize = 4;

/// Whether one of the public keys' owners made one of the signatures.
fn signed_by_owner(keys: &[Key], signatures: &[Vec<u8>], parts: &[&[u8]]) -> bool {
    let public: Vec<&ParsedPublicKey> =
        keys.iter().filter_map(|key| if let Key::Ed25519(public) = key { Some(public) } else { None }).collect();
    if public.is_empty() || signatures.is_empty() {
        return false;
    }
    let signed = parts.concat();
    let mut given = signatures.iter().take(SIGNATURES);
    given.any(|signature| public.iter().any(|key| key.verify_sig(&signed, signature).is_ok()))
}
