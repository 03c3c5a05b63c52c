//! GitLab: a secret token in `X-Gitlab-Token`, or a signing token, with which it signs as Standard Webhooks say
//! (docs.gitlab.com, "Webhooks").

use super::{
    Freshness, Refusal, Signed, header,
    key::{InvalidSecret, Key, equals_any},
    standard_webhooks,
};

const TOKEN: &str = "x-gitlab-token";
/// Equal to `webhook-id` where a request is signed, and the same for every attempt.
pub(super) const ID: &str = "idempotency-key";
pub(super) const TYPE: &str = "x-gitlab-event";
pub(super) const KEPT: [&str; 7] = [
    ID,
    TYPE,
    "x-gitlab-event-uuid",
    "x-gitlab-instance",
    "x-gitlab-webhook-uuid",
    standard_webhooks::STANDARD.id,
    standard_webhooks::STANDARD.timestamp,
];

/// The form of the secret tells its use, so that nobody can present a signing token as if it were a secret token.
pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    if secret.starts_with(b"whsec_") { standard_webhooks::key(secret) } else { Key::text(secret) }
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    if request.headers.contains_key(standard_webhooks::STANDARD.signature) && keys.iter().any(is_signing_token) {
        standard_webhooks::verify(request, &standard_webhooks::STANDARD, keys, freshness)
    } else {
        equals_any(keys, header::single(request.headers, TOKEN)?)
    }
}

fn is_signing_token(key: &Key) -> bool {
    matches!(key, Key::Hmac(_))
}
