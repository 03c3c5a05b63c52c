//! Stripe: HMAC-SHA256 of `<time>.<body>` in `Stripe-Signature: t=<time>,v1=<hex>[,v1=<hex>]` (docs.stripe.com, "Resolve webhook
//! signature verification errors"). While a secret is rolled there is a signature for the old and for the new one.

use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Freshness, Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "stripe-signature";
pub(super) const ID: &str = "/id";
pub(super) const TYPE: &str = "/type";
pub(super) const KEPT: [&str; 0] = [];

/// The key is the whole text, `whsec_` included.
pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    Key::hmac(HmacAlgorithm::Sha256, without_line_end(secret))
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    let header = header::single(request.headers, SIGNATURE)?;
    let values = |name: &'static [u8]| {
        header.split(|byte| *byte == b',').filter_map(move |item| item.strip_prefix(name)?.strip_prefix(b"="))
    };
    let mut times = values(b"t");
    let (Some(timestamp), None) = (times.next(), times.next()) else { return Err(Refusal::SignatureMalformed) };
    freshness.check(timestamp)?;
    // `v0` is the signature of test events, with another key.
    let signatures: Vec<_> = values(b"v1").filter_map(|signature| decode(Encoding::Hex, signature).ok()).collect();
    if signatures.is_empty() {
        return Err(Refusal::SignatureMalformed);
    }
    signed_by_any(keys, &signatures, &[timestamp, b".", request.body])
}
