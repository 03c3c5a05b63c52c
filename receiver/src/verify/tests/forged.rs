//! What differs from a genuine request in any way.

use http::HeaderValue;
use proptest::prelude::*;
use sluice_crds::PresetName;

use super::{
    super::{Refusal, Scheme},
    request::{NOW, Request, certificate, genuine, preset},
};

/// Whether a scheme says anything about the body: tokens and keys only say who sends.
fn signs_body(request: &Request) -> bool {
    let by_token = request.headers.iter().any(|(name, _)| *name == "x-gitlab-token");
    !by_token
        && !matches!(
            request.scheme,
            Scheme::Bearer | Scheme::Basic(_) | Scheme::ApiKey(_) | Scheme::ClientCertificate(_)
        )
}

fn has_time(request: &Request) -> bool {
    request.headers.iter().any(|(name, _)| name.ends_with("timestamp") || *name == "stripe-signature")
}

#[test]
fn a_time_may_lie_five_minutes_off_and_no_further() {
    for mut request in genuine(b"{}") {
        for (offset, expected) in
            [(-301, Err(Refusal::TimestampTooNew)), (-300, Ok(())), (300, Ok(())), (301, Err(Refusal::TimestampTooOld))]
        {
            request.now = NOW + offset;
            let expected = if has_time(&request) { expected } else { Ok(()) };
            assert_eq!(request.verdict(), expected, "{request:?}");
        }
    }
}

#[test]
fn a_header_of_the_signature_stands_there_once() {
    for request in genuine(b"{}") {
        for index in 0..request.headers.len() {
            let (name, value) = request.headers[index].clone();
            if name == "content-type" {
                continue;
            }
            let mut twice = Request { headers: request.headers.clone(), ..copy(&request) };
            twice.headers.push((name, value));
            assert_eq!(twice.verdict(), Err(Refusal::HeaderRepeated), "{name} {:?}", request.scheme);
            let mut without = copy(&request);
            without.headers.remove(index);
            assert!(without.verdict().is_err(), "{name} {:?}", request.scheme);
        }
    }
}

#[test]
fn a_certificate_is_believed_from_the_gateways_proxies_and_from_nobody_else() {
    for (peer, expected) in [
        ("10.0.3.255", Ok(())),
        ("::ffff:10.0.3.1", Ok(())),
        ("2001:db8::1", Ok(())),
        ("10.0.4.1", Err(Refusal::ProxyUnknown)),
        ("127.0.0.1", Err(Refusal::ProxyUnknown)),
        ("2001:db9::1", Err(Refusal::ProxyUnknown)),
    ] {
        let request = Request { peer: peer.parse().unwrap(), ..certificate(b"{}") };
        assert_eq!(request.verdict(), expected, "{peer}");
    }
}

#[test]
fn without_any_key_nobody_is_genuine() {
    for mut request in genuine(b"{}").into_iter().filter(|request| !request.secrets.is_empty()) {
        request.secrets.clear();
        let refusal = request.verdict().unwrap_err();
        assert!(refusal.may_be_of_another_key() || refusal == Refusal::HeaderMissing, "{refusal:?} {request:?}");
    }
}

#[test]
fn gitlabs_two_kinds_of_secrets_do_not_stand_in_for_each_other() {
    let signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let presented = Request::new(Scheme::GitLab, signing.as_bytes(), b"{}").header("x-gitlab-token", signing);
    assert_eq!(presented.verdict(), Err(Refusal::CredentialWrong));
    // A signature that cannot be checked does not spoil a token that can.
    let both = Request::new(Scheme::GitLab, b"token", b"{}").header("x-gitlab-token", "token");
    assert_eq!(both.header("webhook-signature", "v1,AAAA").verdict(), Ok(()));
}

#[test]
fn twilios_body_is_signed_in_one_way_or_the_other() {
    let [form, json] = genuine(b"{}")
        .into_iter()
        .filter(|request| matches!(request.scheme, Scheme::Twilio(_)))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let mut retyped = copy(&form);
    retyped.headers[0].1 = "application/json".into();
    assert_eq!(retyped.verdict(), Err(Refusal::BodyUnsigned));
    let mut elsewhere = copy(&form);
    elsewhere.scheme = Scheme::Twilio(vec!["https://forged.example/sms".into()]);
    assert_eq!(elsewhere.verdict(), Err(Refusal::SignatureWrong));
    let mut twice = copy(&json);
    twice.query = Some(format!("{0}&{0}", json.query.as_ref().unwrap()));
    assert_eq!(twice.verdict(), Err(Refusal::SignatureWrong));
    let mut other_body = copy(&json);
    other_body.body = b"[]".to_vec();
    assert_eq!(other_body.verdict(), Err(Refusal::SignatureWrong));
}

/// Before anything of it is copied: anybody can send one.
#[test]
fn a_form_that_twilio_does_not_send_is_refused_unread() {
    let form = |fields: usize, size: usize| {
        let body = [b"ab&".repeat(fields), vec![b'x'; size]].concat();
        let request = Request::new(preset(PresetName::Twilio), b"12345", &body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=").verdict()
    };
    assert_eq!(form(1000, 0), Err(Refusal::SignatureWrong));
    assert_eq!(form(1001, 0), Err(Refusal::FormTooLarge));
    assert_eq!(form(1, 128 * 1024 - 3), Err(Refusal::SignatureWrong));
    assert_eq!(form(1, 128 * 1024 - 2), Err(Refusal::FormTooLarge));
}

#[test]
fn credentials_are_refused_that_are_written_otherwise() {
    let authorization =
        |scheme: Scheme, value: &str| Request::new(scheme, b"secret", b"{}").header("authorization", value).verdict();
    for (value, expected) in [
        ("Bearer secret", Ok(())),
        ("bearer  secret", Ok(())),
        ("Bearersecret", Err(Refusal::CredentialMalformed)),
        ("Basic secret", Err(Refusal::CredentialMalformed)),
        ("secret", Err(Refusal::CredentialMalformed)),
        ("", Err(Refusal::CredentialMalformed)),
        ("Bearer ", Err(Refusal::CredentialWrong)),
        ("Bearer secret2", Err(Refusal::CredentialWrong)),
    ] {
        assert_eq!(authorization(Scheme::Bearer, value), expected, "{value:?}");
    }
    for (pair, expected) in [
        ("cGFydG5lcjpzZWNyZXQ=", Ok(())),
        // partner:secret2, other:secret, secret
        ("cGFydG5lcjpzZWNyZXQy", Err(Refusal::CredentialWrong)),
        ("b3RoZXI6c2VjcmV0", Err(Refusal::CredentialWrong)),
        ("c2VjcmV0", Err(Refusal::CredentialMalformed)),
        ("!", Err(Refusal::CredentialMalformed)),
    ] {
        assert_eq!(authorization(Scheme::Basic("partner".into()), &format!("Basic {pair}")), expected, "{pair}");
    }
}

fn copy(request: &Request) -> Request {
    let scheme = match &request.scheme {
        Scheme::Twilio(urls) => Scheme::Twilio(urls.clone()),
        Scheme::GitHub => Scheme::GitHub,
        Scheme::GitLab => Scheme::GitLab,
        Scheme::Shopify => Scheme::Shopify,
        Scheme::Slack => Scheme::Slack,
        Scheme::Stripe => Scheme::Stripe,
        other => return copy_of(other, request),
    };
    Request { scheme, ..parts(request) }
}

/// The schemes that are made of a configuration are found again among the genuine requests.
fn copy_of(scheme: &Scheme, request: &Request) -> Request {
    let printed = format!("{scheme:?}");
    let same = genuine(&request.body).into_iter().find(|other| format!("{:?}", other.scheme) == printed).unwrap();
    Request { scheme: same.scheme, ..parts(request) }
}

fn parts(request: &Request) -> Request {
    Request {
        scheme: Scheme::None,
        secrets: request.secrets.clone(),
        peer: request.peer,
        headers: request.headers.clone(),
        query: request.query.clone(),
        body: request.body.clone(),
        now: request.now,
    }
}

proptest! {
    #![proptest_config(crate::cases::cases())]

    #[test]
    fn what_a_secret_signed_is_genuine_and_what_differs_by_a_bit_is_not(
        body in prop::collection::vec(any::<u8>(), 1..2000),
        bit in any::<prop::sample::Index>(),
    ) {
        for mut request in genuine(&body) {
            prop_assert_eq!(request.verdict(), Ok(()), "{:?}", &request.scheme);
            if signs_body(&request) && request.query.as_deref() != Some("a=1&b=%20") {
                let at_bit = bit.index(request.body.len() * 8);
                request.body[at_bit / 8] ^= 1 << (at_bit % 8);
                prop_assert_eq!(request.verdict(), Err(Refusal::SignatureWrong), "{:?}", &request.scheme);
            }
        }
    }

    #[test]
    fn no_other_secret_makes_a_request_genuine(other in prop::collection::vec(any::<u8>(), 1..100)) {
        for mut request in genuine(b"{}").into_iter().filter(|request| !request.secrets.is_empty()) {
            prop_assume!(!request.secrets.contains(&other));
            if request.scheme.key(&other).is_ok() {
                request.secrets = vec![other.clone()];
                prop_assert!(request.verdict().is_err(), "{:?}", &request.scheme);
            }
        }
    }

    #[test]
    fn any_headers_are_judged_without_a_panic(value in "[ -~\u{80}-\u{ff}]{0,120}", query in "[!-~]{0,60}", index in any::<prop::sample::Index>()) {
        prop_assume!(HeaderValue::from_str(&value).is_ok());
        for mut request in genuine(b"{}") {
            let at = index.index(request.headers.len());
            prop_assume!(request.headers[at].1 != value);
            request.headers[at].1.clone_from(&value);
            request.query = Some(query.clone());
            // Whatever it is, it is not what was signed; only a scheme's spelling may vary.
            if let Ok(()) = request.verdict() {
                prop_assert!(["content-type", "authorization"].contains(&request.headers[at].0), "{:?}", &request);
            }
        }
    }

    #[test]
    fn any_form_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let request = Request::new(preset(PresetName::Twilio), b"12345", &body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        prop_assert!(request.header("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=").verdict().is_err());
    }
}
