//! Slack: HMAC-SHA256 of `v0:<time>:<body>` in `X-Slack-Signature: v0=<hex>` (docs.slack.dev, "Verifying requests from Slack"),
//! and the challenge by which it makes sure that an endpoint is its user's.

use std::borrow::Cow;

use serde::Deserialize;
use sluice_crds::{Encoding, HmacAlgorithm};

use super::{
    Freshness, Refusal, Signed, header,
    hmac::decode,
    key::{InvalidSecret, Key, signed_by_any, without_line_end},
};

const SIGNATURE: &str = "x-slack-signature";
const TIMESTAMP: &str = "x-slack-request-timestamp";
pub(super) const ID: &str = "/event_id";
pub(super) const TYPE: &str = "/event/type";
pub(super) const KEPT: [&str; 3] = [TIMESTAMP, "x-slack-retry-num", "x-slack-retry-reason"];

pub(super) fn key(secret: &[u8]) -> Result<Key, InvalidSecret> {
    Key::hmac(HmacAlgorithm::Sha256, without_line_end(secret))
}

pub(super) fn verify(request: Signed<'_>, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    let [timestamp, signature] = [TIMESTAMP, SIGNATURE].map(|name| header::single(request.headers, name));
    let (timestamp, signature) = (timestamp?, signature?);
    freshness.check(timestamp)?;
    let signature = signature.strip_prefix(b"v0=").ok_or(Refusal::SignatureMalformed)?;
    signed_by_any(keys, &[decode(Encoding::Hex, signature)?], &[b"v0:", timestamp, b":", request.body])
}

/// What the body asks to be answered, where it is a challenge (docs.slack.dev, "url_verification event").
pub(super) fn challenge(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Challenge<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        challenge: Cow<'a, str>,
    }
    let asked: Challenge<'_> = serde_json::from_slice(body).ok()?;
    (asked.kind == "url_verification").then(|| asked.challenge.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn a_challenge_is_answered_with_its_own_text(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let body = serde_json::json!({"type": "url_verification", "challenge": text}).to_string();
            prop_assert_eq!(challenge(body.as_bytes()), Some(text));
            prop_assert_eq!(challenge(&bytes), None);
        }
    }

    #[test]
    fn only_a_challenge_is_answered() {
        let asked = br#"{"token": "t", "challenge": "3eZbrw1a\u0042", "type": "url_verification"}"#;
        assert_eq!(challenge(asked).as_deref(), Some("3eZbrw1aB"));
        for other in [r#"{"type": "event_callback", "challenge": "x"}"#, r#"{"type": "url_verification"}"#, "a=b", ""] {
            assert_eq!(challenge(other.as_bytes()), None, "{other}");
        }
    }
}
