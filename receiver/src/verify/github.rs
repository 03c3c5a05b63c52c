//! GitHub: HMAC-SHA256 of the body in `X-Hub-Signature-256: sha256=<hex>`
//! (docs.github.com, "Validating webhook deliveries"). It signs no time: only the event's id keeps old events out.

use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "x-hub-signature-256";
pub(super) const ID: &str = "x-github-delivery";
pub(super) const TYPE: &str = "x-github-event";
pub(super) const KEPT: [&str; 5] =
    [ID, TYPE, "x-github-hook-id", "x-github-hook-installation-target-id", "x-github-hook-installation-target-type"];

pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    Key::hmac(HmacAlgorithm::Sha256, without_line_end(secret))
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key]) -> Result<(), Refusal> {
    let signature = header::single(request.headers, SIGNATURE)?;
    let signature = signature.strip_prefix(b"sha256=").ok_or(Refusal::SignatureMalformed)?;
    signed_by_any(keys, &[decode(Encoding::Hex, signature)?], &[request.body])
}
