//! Shopify: HMAC-SHA256 of the body in `X-Shopify-Hmac-Sha256: <base64>` (shopify.dev, "Verify webhook deliveries"). It signs
//! no time.

use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "x-shopify-hmac-sha256";
pub(super) const ID: &str = "x-shopify-webhook-id";
pub(super) const TYPE: &str = "x-shopify-topic";
pub(super) const KEPT: [&str; 6] =
    [ID, TYPE, "x-shopify-api-version", "x-shopify-event-id", "x-shopify-shop-domain", "x-shopify-triggered-at"];

pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    Key::hmac(HmacAlgorithm::Sha256, without_line_end(secret))
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key]) -> Result<(), Refusal> {
    let signature = header::single(request.headers, SIGNATURE)?;
    signed_by_any(keys, &[decode(Encoding::Base64, signature)?], &[request.body])
}
