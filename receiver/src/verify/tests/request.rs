//! A request to verify, and one of each scheme that is genuine.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use aws_lc_rs::{
    digest::{self, SHA256},
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::HeaderMap;
use jiff::Timestamp;
use sluice_crds::{
    CertificateFormat, Encoding, HmacAlgorithm, PresetName,
    wire::{CertificateName, Verification},
};

use super::super::{Freshness, Key, Refusal, Scheme, Signed};

/// A request, and all that is needed to verify it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) scheme: Scheme,
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) peer: IpAddr,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) query: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) now: i64,
}

/// When the genuine requests were signed.
pub(super) const NOW: i64 = 1_700_000_000;
/// A proxy of the gateway.
pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 9));
pub(super) const SECRET: &str = "It's a Secret to Everybody";

impl Request {
    pub(super) fn new(scheme: Scheme, secret: &[u8], body: &[u8]) -> Self {
        let (secrets, body) = (vec![secret.to_vec()], body.to_vec());
        Self { scheme, secrets, peer: PEER, headers: Vec::new(), query: None, body, now: NOW }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    pub(super) fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    pub(super) fn verdict(&self) -> Result<(), Refusal> {
        let keys: Vec<Key> = self.secrets.iter().map(|secret| self.scheme.key(secret).unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, value.parse().unwrap());
        }
        let signed = Signed { peer: self.peer, headers: &headers, query: self.query.as_deref(), body: &self.body };
        self.scheme.verify(signed, &keys, &at(self.now))
    }
}

pub(super) fn at(second: i64) -> Freshness {
    Freshness { now: Timestamp::from_second(second).unwrap(), tolerance: Duration::from_mins(5) }
}

pub(super) fn preset(name: PresetName) -> Scheme {
    let urls = vec!["https://other.example/sms".to_owned(), "https://hooks.example/sms".to_owned()];
    Scheme::of(&Verification::Preset { name, secrets: Vec::new(), urls }).unwrap()
}

pub(super) fn hmac_scheme(algorithm: HmacAlgorithm, encoding: Encoding, separator: Option<&str>) -> Scheme {
    let verification = Verification::Hmac {
        header: "X-Signature".into(),
        algorithm,
        encoding,
        prefix: "v0=".into(),
        separator: separator.map(str::to_owned),
        signed_content: "v0:{timestamp}:{header:X-Id}:{body}".into(),
        timestamp_header: Some("X-Timestamp".into()),
        secrets: Vec::new(),
    };
    Scheme::of(&verification).unwrap()
}

/// A genuine request of every scheme, except for tokens, which have tests of their own.
pub(super) fn genuine(body: &[u8]) -> Vec<Request> {
    let mut requests = vec![
        github(body),
        gitlab_token(body),
        standard_webhooks(PresetName::GitLab, body),
        shopify(body),
        slack(body),
        standard_webhooks(PresetName::StandardWebhooks, body),
        asymmetric(body),
        standard_webhooks(PresetName::Svix, body),
        stripe(body),
        twilio_form(),
        twilio_json(body),
        Request::new(Scheme::Bearer, SECRET.as_bytes(), body).header("authorization", format!("Bearer {SECRET}")),
        basic(body),
        Request::new(Scheme::ApiKey("x-api-key".parse().unwrap()), SECRET.as_bytes(), body).header("x-api-key", SECRET),
        certificate(body),
    ];
    for algorithm in [HmacAlgorithm::Sha1, HmacAlgorithm::Sha256, HmacAlgorithm::Sha512] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            requests.push(generic(algorithm, encoding, body));
        }
    }
    requests
}

fn github(body: &[u8]) -> Request {
    let signature = hex::encode(tag(hmac::HMAC_SHA256, SECRET.as_bytes(), body));
    Request::new(Scheme::GitHub, SECRET.as_bytes(), body).header("x-hub-signature-256", format!("sha256={signature}"))
}

fn gitlab_token(body: &[u8]) -> Request {
    Request::new(Scheme::GitLab, SECRET.as_bytes(), body).header("x-gitlab-token", SECRET)
}

fn shopify(body: &[u8]) -> Request {
    let signature = STANDARD.encode(tag(hmac::HMAC_SHA256, SECRET.as_bytes(), body));
    Request::new(Scheme::Shopify, SECRET.as_bytes(), body).header("x-shopify-hmac-sha256", signature)
}

fn slack(body: &[u8]) -> Request {
    let content = [format!("v0:{NOW}:").as_bytes(), body].concat();
    let signature = hex::encode(tag(hmac::HMAC_SHA256, SECRET.as_bytes(), &content));
    let request = Request::new(Scheme::Slack, SECRET.as_bytes(), body);
    request.header("x-slack-request-timestamp", NOW.to_string()).header("x-slack-signature", format!("v0={signature}"))
}

pub(super) fn stripe(body: &[u8]) -> Request {
    let content = [format!("{NOW}.").as_bytes(), body].concat();
    let signature = hex::encode(tag(hmac::HMAC_SHA256, SECRET.as_bytes(), &content));
    let request = Request::new(Scheme::Stripe, SECRET.as_bytes(), body);
    request.header("stripe-signature", format!("t={NOW},v1={signature},v0=00"))
}

fn standard_webhooks(name: PresetName, body: &[u8]) -> Request {
    let [id, timestamp, signature] = match name {
        PresetName::Svix => ["svix-id", "svix-timestamp", "svix-signature"],
        _ => ["webhook-id", "webhook-timestamp", "webhook-signature"],
    };
    let content = [format!("msg_1.{NOW}.").as_bytes(), body].concat();
    let signed = STANDARD.encode(tag(hmac::HMAC_SHA256, SECRET.as_bytes(), &content));
    let secret = format!("whsec_{}", STANDARD.encode(SECRET));
    let request = Request::new(preset(name), secret.as_bytes(), body).header(id, "msg_1");
    request.header(timestamp, NOW.to_string()).header(signature, format!("v1,{signed}"))
}

fn asymmetric(body: &[u8]) -> Request {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let content = [format!("msg_1.{NOW}.").as_bytes(), body].concat();
    let public = format!("whpk_{}", STANDARD.encode(pair.public_key()));
    let request = Request::new(preset(PresetName::StandardWebhooks), public.as_bytes(), body);
    let request = request.header("webhook-id", "msg_1").header("webhook-timestamp", NOW.to_string());
    request.header("webhook-signature", format!("v1a,{}", STANDARD.encode(pair.sign(&content))))
}

fn twilio_form() -> Request {
    let content = "https://hooks.example/sms?a=1&b=%20Body+ &xFrom+15550100To+15550199";
    let signature = STANDARD.encode(tag(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes(), content.as_bytes()));
    let body = b"To=%2B15550199&From=%2B15550100&Body=%2B+%26x";
    let request = Request::new(preset(PresetName::Twilio), SECRET.as_bytes(), body).query("a=1&b=%20");
    let request = request.header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    request.header("x-twilio-signature", signature)
}

fn twilio_json(body: &[u8]) -> Request {
    let query = format!("bodySHA256={}", hex::encode(digest::digest(&SHA256, body)));
    let content = format!("https://hooks.example/sms?{query}");
    let signature = STANDARD.encode(tag(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes(), content.as_bytes()));
    let request = Request::new(preset(PresetName::Twilio), SECRET.as_bytes(), body).query(query);
    request.header("content-type", "application/json").header("x-twilio-signature", signature)
}

fn basic(body: &[u8]) -> Request {
    let pair = STANDARD.encode(format!("partner:{SECRET}"));
    let request = Request::new(Scheme::Basic("partner".into()), SECRET.as_bytes(), body);
    request.header("authorization", format!("Basic {pair}"))
}

pub(super) fn certificate(body: &[u8]) -> Request {
    let verification = Verification::ClientCertificate {
        format: CertificateFormat::Envoy,
        header: "X-Forwarded-Client-Cert".into(),
        allowed: vec![CertificateName::Uri("spiffe://partner/sender".into())],
        proxies: vec!["10.0.3.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
    };
    let mut request = Request::new(Scheme::of(&verification).unwrap(), b"", body);
    request.secrets.clear();
    request.header("x-forwarded-client-cert", r#"Subject="CN=a,O=b";URI=spiffe://partner/sender"#)
}

fn generic(algorithm: HmacAlgorithm, encoding: Encoding, body: &[u8]) -> Request {
    let hash = match algorithm {
        HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let content = [format!("v0:{NOW}:e-1:").as_bytes(), body].concat();
    let tag = tag(hash, SECRET.as_bytes(), &content);
    let text = match encoding {
        Encoding::Hex => hex::encode(tag),
        Encoding::Base64 => STANDARD.encode(tag),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(tag),
    };
    let request = Request::new(hmac_scheme(algorithm, encoding, None), SECRET.as_bytes(), body);
    let request = request.header("x-signature", format!("v0={text}")).header("x-id", "e-1");
    request.header("x-timestamp", NOW.to_string())
}

pub(super) fn tag(algorithm: hmac::Algorithm, secret: &[u8], content: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), content).as_ref().to_vec()
}
