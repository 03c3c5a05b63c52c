//! Standard Webhooks (standardwebhooks.com, specification 1.0): HMAC-SHA256 of `id.timestamp.body`, in a list of `v1,<base64>`.

use base64::{Engine, engine::general_purpose::STANDARD};
use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Freshness, Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "webhook-signature";
const TIMESTAMP: &str = "webhook-timestamp";
pub(super) const ID: &str = "webhook-id";
pub(super) const KEPT: [&str; 2] = [ID, TIMESTAMP];

/// The key is written as base64, after `whsec_` or, as the reference libraries allow, without it.
pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    let text = without_line_end(secret);
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    Key::new(HmacAlgorithm::Sha256, &STANDARD.decode(text).map_err(|_| InvalidSecret::NotBase64)?)
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    let [id, timestamp, signatures] = [ID, TIMESTAMP, SIGNATURE].map(|name| header::single(request.headers, name));
    let (id, timestamp, signatures) = (id?, timestamp?, signatures?);
    freshness.check(timestamp)?;
    // A sender that rotates signs with the old and the new secret, and may sign in ways that are not known here.
    let signatures: Vec<_> = signatures
        .split(|byte| *byte == b' ')
        .filter_map(|signature| decode(Encoding::Base64, signature.strip_prefix(b"v1,")?).ok())
        .collect();
    if signatures.is_empty() {
        return Err(Refusal::SignatureMalformed);
    }
    signed_by_any(keys, &signatures, &[id, b".", timestamp, b".", request.body])
}
