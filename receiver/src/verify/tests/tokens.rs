//! JSON Web Tokens.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{
    super::{Key, Refusal, Rules, Scheme, Signed, published_keys},
    request::{NOW, PEER, at},
};

/// An issuer with one key.
struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    id: &'static str,
    jwk: Value,
}

impl Issuer {
    fn new(algorithm: Algorithm, id: &'static str) -> Self {
        let random = SystemRandom::new();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if algorithm == Algorithm::EdDSA {
            let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": text(pair.public_key().as_ref())});
            return Self { algorithm, key: EncodingKey::from_ed_der(document.as_ref()), id, jwk };
        }
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": text(x), "y": text(y)});
        Self { algorithm, key: EncodingKey::from_ec_der(document.as_ref()), id, jwk }
    }

    fn published(&self) -> Vec<Key> {
        published_keys(&set(&[&self.jwk])).unwrap()
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn set(keys: &[&Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": ["hooks"], "sub": "partner", "exp": NOW + 60})
}

fn verdict(subjects: &[&str], keys: &[Key], token: &str) -> Result<(), Refusal> {
    let scheme = Scheme::Jwt(Rules {
        issuer: "https://id.example".into(),
        audience: vec!["other".into(), "hooks".into()],
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
    });
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    scheme.verify(Signed { peer: PEER, headers: &headers, query: None, body: b"{}" }, keys, &at(NOW))
}

#[test]
fn a_token_of_the_issuer_is_taken_whatever_its_signature() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let issuer = Issuer::new(algorithm, "k1");
        assert_eq!(verdict(&[], &issuer.published(), &issuer.token(&claims())), Ok(()), "{algorithm:?}");
    }
}

#[test]
fn a_token_says_what_it_must() {
    let issuer = Issuer::new(Algorithm::ES256, "k1");
    let changed = |key: &str, value: Value| {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(key);
        } else {
            claims[key] = value;
        }
        verdict(&["partner"], &issuer.published(), &issuer.token(&claims))
    };
    for (key, value, expected) in [
        ("aud", json!("hooks"), Ok(())),
        ("aud", json!("another"), Err(Refusal::ClaimWrong)),
        ("aud", json!(null), Err(Refusal::ClaimWrong)),
        ("iss", json!("https://id.example/"), Err(Refusal::ClaimWrong)),
        ("iss", json!(null), Err(Refusal::ClaimWrong)),
        ("sub", json!("other"), Err(Refusal::ClaimWrong)),
        ("sub", json!(null), Err(Refusal::ClaimWrong)),
        ("exp", json!(NOW - 60), Ok(())),
        ("exp", json!(NOW - 61), Err(Refusal::TimestampTooOld)),
        ("exp", json!(null), Err(Refusal::CredentialMalformed)),
        ("nbf", json!(NOW + 60), Ok(())),
        ("nbf", json!(NOW + 61), Err(Refusal::TimestampTooNew)),
    ] {
        assert_eq!(changed(key, value.clone()), expected, "{key} {value}");
    }
}

#[test]
fn a_key_that_is_not_published_is_told_from_a_wrong_signature() {
    let (issuer, next) = (Issuer::new(Algorithm::ES256, "k1"), Issuer::new(Algorithm::ES256, "k2"));
    let imposter = Issuer::new(Algorithm::ES256, "k1");
    let keys = issuer.published();
    assert_eq!(verdict(&[], &keys, &next.token(&claims())), Err(Refusal::KeyUnknown));
    assert_eq!(verdict(&[], &keys, &imposter.token(&claims())), Err(Refusal::SignatureWrong));
    let both = published_keys(&set(&[&issuer.jwk, &next.jwk])).unwrap();
    assert_eq!(verdict(&[], &both, &next.token(&claims())), Ok(()));
}

#[test]
fn a_signature_that_anybody_could_make_is_none() {
    let issuer = Issuer::new(Algorithm::ES256, "k1");
    let keys = issuer.published();
    // The public key as if it were a shared secret, the classic confusion.
    let shared = EncodingKey::from_secret(issuer.jwk.to_string().as_bytes());
    let symmetric = encode(&Header { kid: Some("k1".into()), ..Header::default() }, &claims(), &shared).unwrap();
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    let none = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k1"}"#));
    let good = issuer.token(&claims());
    let mut parts: Vec<_> = good.split('.').collect();
    let other =
        URL_SAFE_NO_PAD.encode(json!({"iss": "https://id.example", "aud": "hooks", "exp": NOW + 9}).to_string());
    parts[1] = &other;
    for (token, expected) in [
        (symmetric, Refusal::CredentialMalformed),
        (none, Refusal::CredentialMalformed),
        (parts.join("."), Refusal::SignatureWrong),
        ("a.b".into(), Refusal::CredentialMalformed),
        (String::new(), Refusal::CredentialMalformed),
    ] {
        assert_eq!(verdict(&[], &keys, &token), Err(expected), "{token}");
    }
}

#[test]
fn a_set_without_a_usable_key_is_refused_with_the_reason() {
    let oct = br#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#;
    assert!(published_keys(oct).unwrap_err().to_string().contains("has no public key"));
    assert!(published_keys(b"<html>").unwrap_err().to_string().contains("is no JSON Web Key Set"));
    let mut encryption = Issuer::new(Algorithm::ES256, "k1").jwk;
    encryption["use"] = json!("enc");
    assert!(published_keys(&set(&[&encryption])).is_err());
}
