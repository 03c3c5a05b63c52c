//! The schemes against their providers' own examples, and against every way to get a request wrong.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use sluice_crds::{Encoding, HmacAlgorithm};

use super::*;

const GITHUB_SECRET: &[u8] = b"It's a Secret to Everybody";
const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const STANDARD_SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_TIME: i64 = 1_614_265_330;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn at(second: i64) -> Freshness {
    Freshness { now: Timestamp::from_second(second).unwrap(), tolerance: Duration::from_mins(5) }
}

fn github(secrets: &[&[u8]], signatures: &[&str], body: &[u8]) -> Result<(), Refusal> {
    let pairs: Vec<_> = signatures.iter().map(|signature| ("x-hub-signature-256", *signature)).collect();
    let keys: Vec<_> = secrets.iter().map(|secret| Scheme::GitHub.key(secret).unwrap()).collect();
    Scheme::GitHub.verify(Signed { headers: &headers(&pairs), body }, &keys, &at(0))
}

fn standard_webhooks(pairs: &[(&'static str, &str)], now: i64) -> Result<(), Refusal> {
    let keys = [Scheme::StandardWebhooks.key(STANDARD_SECRET).unwrap()];
    let headers = headers(pairs);
    Scheme::StandardWebhooks.verify(Signed { headers: &headers, body: STANDARD_BODY }, &keys, &at(now))
}

fn standard_headers(signature: &str) -> [(&'static str, &str); 3] {
    [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", signature),
    ]
}

#[test]
fn github_signs_as_its_documentation_shows() {
    assert_eq!(github(&[GITHUB_SECRET], &[GITHUB_SIGNATURE], b"Hello, World!"), Ok(()));
    assert_eq!(github(&[b"It's a Secret to Everybody\n"], &[GITHUB_SIGNATURE], b"Hello, World!"), Ok(()));
    assert_eq!(github(&[GITHUB_SECRET], &[GITHUB_SIGNATURE], b"Hello, World"), Err(Refusal::SignatureWrong));
}

#[test]
fn standard_webhooks_sign_as_the_specification_shows() {
    assert_eq!(standard_webhooks(&standard_headers(STANDARD_SIGNATURE), STANDARD_TIME), Ok(()));
}

#[test]
fn any_live_secret_is_enough() {
    let secrets: [&[u8]; 3] = [b"old", GITHUB_SECRET, b"next"];
    assert_eq!(github(&secrets, &[GITHUB_SIGNATURE], b"Hello, World!"), Ok(()));
    assert_eq!(github(&[b"old", b"next"], &[GITHUB_SIGNATURE], b"Hello, World!"), Err(Refusal::SignatureWrong));
    assert_eq!(github(&[], &[GITHUB_SIGNATURE], b"Hello, World!"), Err(Refusal::SignatureWrong));
}

#[test]
fn a_repeated_signature_header_is_refused_even_where_both_are_right() {
    let twice = [GITHUB_SIGNATURE, GITHUB_SIGNATURE];
    assert_eq!(github(&[GITHUB_SECRET], &twice, b"Hello, World!"), Err(Refusal::HeaderRepeated));
    for repeated in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut pairs = standard_headers(STANDARD_SIGNATURE).to_vec();
        pairs.extend(standard_headers(STANDARD_SIGNATURE).iter().filter(|(name, _)| *name == repeated));
        assert_eq!(standard_webhooks(&pairs, STANDARD_TIME), Err(Refusal::HeaderRepeated), "{repeated}");
    }
}

#[test]
fn a_missing_signature_header_is_refused() {
    assert_eq!(github(&[GITHUB_SECRET], &[], b"Hello, World!"), Err(Refusal::HeaderMissing));
    for missing in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut pairs = standard_headers(STANDARD_SIGNATURE).to_vec();
        pairs.retain(|(name, _)| *name != missing);
        assert_eq!(standard_webhooks(&pairs, STANDARD_TIME), Err(Refusal::HeaderMissing), "{missing}");
    }
}

#[test]
fn a_signature_is_refused_that_is_written_otherwise() {
    let hex = GITHUB_SIGNATURE.strip_prefix("sha256=").unwrap();
    for text in ["", "sha256=", hex, &format!("sha1={hex}"), &format!("SHA256={hex}"), &format!("sha256= {hex}")] {
        let refusal = github(&[GITHUB_SECRET], &[text], b"Hello, World!").unwrap_err();
        assert!(matches!(refusal, Refusal::SignatureMalformed | Refusal::SignatureWrong), "{text:?}");
    }
    let upper = format!("sha256={}", hex.to_uppercase());
    assert_eq!(github(&[GITHUB_SECRET], &[&upper], b"Hello, World!"), Ok(()));
}

#[test]
fn one_right_signature_of_a_list_is_enough() {
    let good = STANDARD_SIGNATURE;
    let bad = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for list in [format!("{bad} {good}"), format!("{good} {bad}"), format!("v1a,xyz  v2,abc {good} v1,!")] {
        assert_eq!(standard_webhooks(&standard_headers(&list), STANDARD_TIME), Ok(()), "{list}");
    }
    for (list, refusal) in [
        (bad.to_owned(), Refusal::SignatureWrong),
        (good.replace("v1,", "v2,"), Refusal::SignatureMalformed),
        (good.replace("v1,", ""), Refusal::SignatureMalformed),
        (format!("{bad},{good}"), Refusal::SignatureMalformed),
    ] {
        assert_eq!(standard_webhooks(&standard_headers(&list), STANDARD_TIME), Err(refusal), "{list}");
    }
}

#[test]
fn a_signed_time_may_lie_five_minutes_off_and_no_further() {
    let pairs = standard_headers(STANDARD_SIGNATURE);
    for (offset, expected) in
        [(-301, Err(Refusal::TimestampTooNew)), (-300, Ok(())), (300, Ok(())), (301, Err(Refusal::TimestampTooOld))]
    {
        assert_eq!(standard_webhooks(&pairs, STANDARD_TIME + offset), expected, "{offset}");
    }
}

#[test]
fn a_secret_that_is_no_key_is_refused_with_the_reason() {
    for scheme in [Scheme::GitHub, Scheme::StandardWebhooks, Scheme::Hmac(template(Encoding::Hex))] {
        assert_eq!(scheme.key(b"").unwrap_err(), InvalidSecret::Empty);
    }
    assert_eq!(Scheme::GitHub.key(b"\n").unwrap_err(), InvalidSecret::Empty);
    assert_eq!(Scheme::StandardWebhooks.key(b"whsec_").unwrap_err(), InvalidSecret::Empty);
    assert_eq!(Scheme::StandardWebhooks.key(b"whsec_a secret").unwrap_err(), InvalidSecret::NotBase64);
}

#[test]
fn a_template_is_refused_that_would_leave_something_unsigned() {
    for (content, timestamp_header, header, expected) in [
        ("{timestamp}", Some("x-timestamp"), "x-signature", InvalidTemplate::NoBody),
        ("{timestamp}.{body}", None, "x-signature", InvalidTemplate::UnsignedTime),
        ("{body}", Some("x-timestamp"), "x-signature", InvalidTemplate::UnsignedTime),
        ("{body}", None, "x signature", InvalidTemplate::Header("x signature".into())),
    ] {
        let verification = Verification::Hmac {
            header: header.into(),
            algorithm: HmacAlgorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            signed_content: content.into(),
            timestamp_header: timestamp_header.map(str::to_owned),
            secrets: Vec::new(),
        };
        assert_eq!(Scheme::of(&verification).unwrap_err(), expected);
    }
}

fn template(encoding: Encoding) -> Template {
    let verification = Verification::Hmac {
        header: "X-Signature".into(),
        algorithm: HmacAlgorithm::Sha512,
        encoding,
        prefix: "v0=".into(),
        signed_content: "v0:{timestamp}:{body}".into(),
        timestamp_header: Some("X-Timestamp".into()),
        secrets: Vec::new(),
    };
    Template::of(&verification).unwrap()
}

/// An independent signer would share no code; this one shares at least none of ours.
fn sign(secret: &[u8], encoding: Encoding, content: &[u8]) -> String {
    use aws_lc_rs::hmac;
    use base64::{Engine, engine::general_purpose};
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, secret), content);
    let text = match encoding {
        Encoding::Hex => hex::encode(tag),
        Encoding::Base64 => general_purpose::STANDARD.encode(tag),
        Encoding::Base64Url => general_purpose::URL_SAFE_NO_PAD.encode(tag),
    };
    format!("v0={text}")
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Hex), Just(Encoding::Base64), Just(Encoding::Base64Url)]
}

proptest! {
    #[test]
    fn what_a_secret_signed_is_genuine_and_what_differs_by_a_bit_is_not(
        secret in prop::collection::vec(any::<u8>(), 1..200),
        body in prop::collection::vec(any::<u8>(), 0..2000),
        encoding in encodings(),
        second in 0_i64..4_000_000_000,
        bit in any::<prop::sample::Index>(),
    ) {
        let scheme = Scheme::Hmac(template(encoding));
        let keys = [scheme.key(&secret).unwrap()];
        let content = [format!("v0:{second}:").as_bytes(), &body].concat();
        let timestamp = second.to_string();
        let signature = sign(&secret, encoding, &content);
        let headers = headers(&[("x-signature", signature.as_str()), ("x-timestamp", timestamp.as_str())]);
        prop_assert_eq!(scheme.verify(Signed { headers: &headers, body: &body }, &keys, &at(second)), Ok(()));

        let mut forged = body.clone();
        forged.push(0);
        let at_bit = bit.index(forged.len() * 8);
        forged[at_bit / 8] ^= 1 << (at_bit % 8);
        let verdict = scheme.verify(Signed { headers: &headers, body: &forged }, &keys, &at(second));
        prop_assert_eq!(verdict, Err(Refusal::SignatureWrong));
    }

    #[test]
    fn no_signature_but_the_right_one_is_taken(given in "(sha256=)?[0-9a-fA-F]{0,70}") {
        prop_assume!(!given.eq_ignore_ascii_case(GITHUB_SIGNATURE));
        prop_assert!(github(&[GITHUB_SECRET], &[&given], b"Hello, World!").is_err());
    }

    #[test]
    fn any_header_is_judged_without_a_panic(id in "[ -~]{0,40}", time in "[ -~]{0,20}", list in "[ -~]{0,80}") {
        let pairs = [("webhook-id", id.as_str()), ("webhook-timestamp", time.as_str()), ("webhook-signature", list.as_str())];
        prop_assert!(standard_webhooks(&pairs, STANDARD_TIME).is_err());
    }
}
