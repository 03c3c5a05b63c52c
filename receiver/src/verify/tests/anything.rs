//! Whatever a sender writes is judged without a panic, and nothing is genuine that nobody signed.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};
use sluice_crds::{Encoding, HmacAlgorithm, PresetName, wire::Verification};

use super::{
    super::{Key, Rules, Scheme, Signed, published_keys},
    request::{NOW, PEER, Request, at, genuine, hmac_scheme, preset},
};
use crate::cases::cases;

const PRESETS: [PresetName; 8] = [
    PresetName::GitHub,
    PresetName::GitLab,
    PresetName::Shopify,
    PresetName::Slack,
    PresetName::StandardWebhooks,
    PresetName::Stripe,
    PresetName::Svix,
    PresetName::Twilio,
];

static GENUINE: LazyLock<Vec<Request>> = LazyLock::new(|| genuine(b"{\"a\": 1}"));

/// Bytes of a header: any, or pieces of what the schemes write.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = vec(
        any::<u8>().prop_filter("no byte of a header", |byte| *byte == b'\t' || (*byte >= 32 && *byte != 127)),
        0..80,
    );
    let pieces = [
        "v1,",
        "v1a,",
        "v0=",
        "t=",
        "v1=",
        "sha256=",
        "Bearer ",
        "Basic ",
        "bearer",
        ",",
        ";",
        " ",
        "=",
        ":",
        ".",
        "\"",
        "\\",
        "AAAA",
        "00",
        "1700000000",
        "Hash=",
        "URI=",
        "Subject=",
        "whsec_",
        "-",
        "+",
        "\u{e9}",
        "==",
    ];
    prop_oneof![any_bytes, vec(select(pieces.to_vec()), 0..20).prop_map(|pieces| pieces.concat().into_bytes())]
}

fn query() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("(bodySHA256=|[!-~]){0,30}")
}

/// What is left of a request when some of its headers are other bytes.
fn headers(request: &Request, changed: &[(Index, Vec<u8>)]) -> HeaderMap {
    let mut values: Vec<_> = request.headers.iter().map(|(name, value)| (*name, value.clone().into_bytes())).collect();
    for (index, value) in changed {
        let at = index.index(values.len());
        values[at].1.clone_from(value);
    }
    values.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(&value).unwrap())).collect()
}

fn keys(request: &Request) -> Vec<Key> {
    request.secrets.iter().map(|secret| request.scheme.key(secret).unwrap()).collect()
}

/// Whether a bearer of a token is let in.
fn is_let_in(authorization: &str) -> bool {
    let rules = Rules { issuer: "https://id.example".into(), audience: vec!["hooks".into()], subjects: vec![] };
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, authorization.parse().unwrap())]);
    let request = Signed { peer: PEER, headers: &headers, query: None, body: b"{}" };
    Scheme::Jwt(rules).verify(request, &PUBLISHED, &at(NOW)).is_ok()
}

/// The public key of RFC 8037, appendix A.2, and one of RFC 7515, appendix A.3.
static PUBLISHED: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let set = br#"{"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
    ]}"#;
    published_keys(set).unwrap()
});

fn json_piece() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"alg\"",
        "\"EdDSA\"",
        "\"ES256\"",
        "\"none\"",
        "\"HS256\"",
        "\"kid\"",
        "\"crit\"",
        "\"keys\"",
        "\"kty\"",
        "\"EC\"",
        "\"OKP\"",
        "\"RSA\"",
        "\"oct\"",
        "\"crv\"",
        "\"Ed25519\"",
        "\"P-256\"",
        "\"x\"",
        "\"y\"",
        "\"n\"",
        "\"e\"",
        "\"AQAB\"",
        "\"use\"",
        "\"sig\"",
        "\"exp\"",
        "\"iss\"",
        "\"aud\"",
        "1e400",
        "-1",
        "null",
        "\"\\ud800\"",
        "\"11qYAYKxCrfVS_7T\"",
    ];
    vec(select(pieces.to_vec()), 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_is_genuine_that_nobody_signed(
        which in any::<Index>(),
        changed in vec((any::<Index>(), value()), 1..3),
        query in query(),
        body in proptest::option::of(vec(any::<u8>(), 0..100)),
    ) {
        let request = &GENUINE[which.index(GENUINE.len())];
        let headers = headers(request, &changed);
        let body = body.as_deref().unwrap_or(&request.body);
        let verdict = request.scheme.verify(Signed { peer: PEER, headers: &headers, query: query.as_deref(), body }, &keys(request), &at(NOW));
        // Which bytes are changed is chance: some become what they were.
        let is_as_before = headers == self::headers(request, &[]);
        prop_assert!(verdict.is_err() || is_as_before, "{:?} {:?}", &request.scheme, headers);
    }

    #[test]
    fn no_token_is_genuine_that_its_issuer_did_not_sign(
        header in json_piece(), claims in json_piece(), signature in vec(any::<u8>(), 0..70), cut in any::<Index>(),
    ) {
        let parts = [header.as_bytes(), claims.as_bytes(), &signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        let whole = format!("Bearer {}", parts.join("."));
        for text in [whole.as_str(), &whole[..cut.index(whole.len())]] {
            prop_assert!(!is_let_in(text), "{}", text);
        }
    }

    #[test]
    fn any_key_set_is_read_or_refused(text in json_piece(), bytes in vec(any::<u8>(), 0..100)) {
        for set in [text.as_bytes(), &bytes, format!("{{\"keys\":[{{{text}}}]}}").as_bytes()] {
            // A set without a key is refused, so that nobody takes it for one that lets nobody in.
            prop_assert!(published_keys(set).map_or(true, |keys| !keys.is_empty()));
        }
    }

    #[test]
    fn any_secret_is_a_key_or_is_refused(secret in prop_oneof![vec(any::<u8>(), 0..100), value()]) {
        for name in PRESETS {
            let key = preset(name).key(&secret);
            prop_assert!(key.is_err() || !secret.trim_ascii().is_empty(), "{:?}", name);
        }
    }

    #[test]
    fn any_template_is_a_scheme_or_is_refused(content in "(\\{body\\}|\\{timestamp\\}|\\{header:|[a-z:{} \u{e9}]){0,12}", separator in ".{0,2}") {
        let verification = Verification::Hmac {
            header: "X-Signature".into(), algorithm: HmacAlgorithm::Sha256, encoding: Encoding::Hex, prefix: String::new(),
            separator: Some(separator), signed_content: content.clone(), timestamp_header: None, secrets: Vec::new(),
        };
        let covers_body = content.contains("{body}");
        prop_assert!(Scheme::of(&verification).is_err() || covers_body, "{}", content);
    }

    #[test]
    fn any_list_of_signatures_is_judged(items in vec(value(), 0..6), separator in "[,; ]") {
        let scheme = hmac_scheme(HmacAlgorithm::Sha512, Encoding::Base64Url, Some(&separator));
        let keys = [scheme.key(b"secret").unwrap()];
        let list = items.join(separator.as_bytes());
        let headers: HeaderMap = [("x-signature", list.as_slice()), ("x-id", b"e-1"), ("x-timestamp", b"1700000000")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap()))
            .collect();
        let verdict = scheme.verify(Signed { peer: PEER, headers: &headers, query: None, body: b"{}" }, &keys, &at(NOW));
        prop_assert!(verdict.is_err(), "{:?}", headers);
    }
}
