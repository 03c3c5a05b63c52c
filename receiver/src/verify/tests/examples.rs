//! What the providers' documentation shows.

use sluice_crds::{Encoding, HmacAlgorithm, PresetName, wire::Verification};

use super::{
    super::{InvalidSecret, InvalidTemplate, Refusal, Scheme},
    request::{Request, hmac_scheme, preset, stripe, tag},
};

const GITHUB_SECRET: &[u8] = b"It's a Secret to Everybody";
const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const STANDARD_SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_TIME: i64 = 1_614_265_330;

fn github(secrets: &[&[u8]], signature: &str, body: &[u8]) -> Result<(), Refusal> {
    let mut request = Request::new(Scheme::GitHub, b"", body).header("x-hub-signature-256", signature);
    request.secrets = secrets.iter().map(|secret| secret.to_vec()).collect();
    request.verdict()
}

fn standard(signature: &str) -> Request {
    let request = Request::new(preset(PresetName::StandardWebhooks), STANDARD_SECRET, br#"{"test": 2432232314}"#);
    let request =
        request.header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek").header("webhook-timestamp", "1614265330");
    request.header("webhook-signature", signature).at(STANDARD_TIME)
}

#[test]
fn github_signs_as_its_documentation_shows() {
    assert_eq!(github(&[GITHUB_SECRET], GITHUB_SIGNATURE, b"Hello, World!"), Ok(()));
    assert_eq!(github(&[b"It's a Secret to Everybody\n"], GITHUB_SIGNATURE, b"Hello, World!"), Ok(()));
    assert_eq!(github(&[GITHUB_SECRET], GITHUB_SIGNATURE, b"Hello, World"), Err(Refusal::SignatureWrong));
}

#[test]
fn standard_webhooks_sign_as_the_specification_shows() {
    assert_eq!(standard(STANDARD_SIGNATURE).verdict(), Ok(()));
}

#[test]
fn svix_signs_as_its_documentation_shows() {
    let body = br#"{"event_type":"ping","data":{"success":true}}"#;
    let request = Request::new(preset(PresetName::Svix), b"whsec_plJ3nmyCDGBKInavdOK15jsl", body);
    let request = request.header("svix-id", "msg_loFOjxBNrRLzqYUf").header("svix-timestamp", "1731705121");
    let request = request.header("svix-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    assert_eq!(request.at(1_731_705_121).verdict(), Ok(()));
}

#[test]
fn slack_signs_as_its_documentation_shows() {
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=\
        https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let request = Request::new(Scheme::Slack, b"8f742231b10e8888abcd99yyyzzz85a5", body);
    let request = request.header("x-slack-request-timestamp", "1531420618").header("x-slack-signature", signature);
    assert_eq!(request.at(1_531_420_618).verdict(), Ok(()));
}

#[test]
fn twilio_signs_as_its_documentation_shows() {
    let scheme = Scheme::Twilio(vec!["https://mycompany.com/myapp.php".into()]);
    let body = b"Digits=1234&To=%2B18005551212&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
    let request = Request::new(scheme, b"12345", body).query("foo=1&bar=2");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(request.header("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=").verdict(), Ok(()));
}

#[test]
fn any_live_secret_is_enough() {
    let secrets: [&[u8]; 3] = [b"old", GITHUB_SECRET, b"next"];
    assert_eq!(github(&secrets, GITHUB_SIGNATURE, b"Hello, World!"), Ok(()));
    assert_eq!(github(&[b"old", b"next"], GITHUB_SIGNATURE, b"Hello, World!"), Err(Refusal::SignatureWrong));
    assert_eq!(github(&[], GITHUB_SIGNATURE, b"Hello, World!"), Err(Refusal::SignatureWrong));
}

#[test]
fn a_signature_is_refused_that_is_written_otherwise() {
    let hex = GITHUB_SIGNATURE.strip_prefix("sha256=").unwrap();
    for text in ["", "sha256=", hex, &format!("sha1={hex}"), &format!("SHA256={hex}"), &format!("sha256= {hex}")] {
        let refusal = github(&[GITHUB_SECRET], text, b"Hello, World!").unwrap_err();
        assert!(matches!(refusal, Refusal::SignatureMalformed | Refusal::SignatureWrong), "{text:?}");
    }
    let upper = format!("sha256={}", hex.to_uppercase());
    assert_eq!(github(&[GITHUB_SECRET], &upper, b"Hello, World!"), Ok(()));
}

#[test]
fn one_right_signature_of_a_list_is_enough() {
    let good = STANDARD_SIGNATURE;
    let bad = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for list in [format!("{bad} {good}"), format!("{good} {bad}"), format!("v1a,xyz  v2,abc {good} v1,!")] {
        assert_eq!(standard(&list).verdict(), Ok(()), "{list}");
    }
    for (list, refusal) in [
        (bad.to_owned(), Refusal::SignatureWrong),
        (good.replace("v1,", "v2,"), Refusal::SignatureMalformed),
        (good.replace("v1,", "v1a,"), Refusal::SignatureWrong),
        (good.replace("v1,", ""), Refusal::SignatureMalformed),
        (format!("{bad},{good}"), Refusal::SignatureMalformed),
    ] {
        assert_eq!(standard(&list).verdict(), Err(refusal), "{list}");
    }
}

#[test]
fn a_rolled_secret_of_stripe_signs_beside_the_old_one() {
    let mut request = stripe(b"{}");
    let (_, header) = &mut request.headers[0];
    let signature = header.split(',').nth(1).unwrap().to_owned();
    for (written, expected) in [
        (format!("t=1700000000,v1=00,{signature}"), Ok(())),
        (format!("{signature},t=1700000000"), Ok(())),
        (format!("t=1700000000,v0={}", &signature[3..]), Err(Refusal::SignatureMalformed)),
        (format!("t=1700000000,t=1700000000,{signature}"), Err(Refusal::SignatureMalformed)),
        (format!("t=1700000001,{signature}"), Err(Refusal::SignatureWrong)),
        (signature.clone(), Err(Refusal::SignatureMalformed)),
    ] {
        request.headers[0].1.clone_from(&written);
        assert_eq!(request.verdict(), expected, "{written}");
    }
}

#[test]
fn a_list_of_signatures_is_split_where_the_webhook_says() {
    let content = b"v0:1700000000:e-1:{}";
    let good = format!("v0={}", hex::encode(tag(aws_lc_rs::hmac::HMAC_SHA256, b"secret", content)));
    for (separator, value, expected) in [
        (Some(","), format!("v0=00, {good}"), Ok(())),
        (Some(","), format!("{good},other"), Ok(())),
        (Some(","), "other,another".to_owned(), Err(Refusal::SignatureMalformed)),
        (Some(" "), format!("v0=00,{good}"), Err(Refusal::SignatureMalformed)),
        (None, format!("{good},{good}"), Err(Refusal::SignatureMalformed)),
    ] {
        let scheme = hmac_scheme(HmacAlgorithm::Sha256, Encoding::Hex, separator);
        let request = Request::new(scheme, b"secret", b"{}").header("x-signature", &value).header("x-id", "e-1");
        assert_eq!(request.header("x-timestamp", "1700000000").verdict(), expected, "{value}");
    }
}

#[test]
fn a_secret_that_is_no_key_is_refused_with_the_reason() {
    let schemes =
        [Scheme::GitHub, Scheme::GitLab, Scheme::Slack, Scheme::Stripe, Scheme::Bearer, Scheme::Twilio(vec![])];
    for scheme in schemes {
        assert_eq!(
            (scheme.key(b"").unwrap_err(), scheme.key(b"\n").unwrap_err()),
            (InvalidSecret::Empty, InvalidSecret::Empty)
        );
    }
    let hmac = hmac_scheme(HmacAlgorithm::Sha256, Encoding::Hex, None);
    assert_eq!(hmac.key(b"").unwrap_err(), InvalidSecret::Empty);
    let standard = preset(PresetName::StandardWebhooks);
    for (secret, expected) in [
        ("", InvalidSecret::Empty),
        ("whsec_", InvalidSecret::Empty),
        ("whsec_a secret", InvalidSecret::NotBase64),
        ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", InvalidSecret::PrivateKey),
        ("whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", InvalidSecret::NoPublicKey),
        ("whpk_!", InvalidSecret::NoPublicKey),
    ] {
        assert_eq!(standard.key(secret.as_bytes()).unwrap_err(), expected, "{secret}");
    }
    assert!(standard.key(b"whsec_YQ").is_ok() && standard.key(b"YQ==\n").is_ok());
}

#[test]
fn a_template_is_refused_that_would_leave_something_unsigned() {
    for (content, timestamp_header, header, expected) in [
        ("{timestamp}", Some("x-timestamp"), "x-signature", InvalidTemplate::NoBody),
        ("{timestamp}.{body}", None, "x-signature", InvalidTemplate::UnsignedTime),
        ("{body}", Some("x-timestamp"), "x-signature", InvalidTemplate::UnsignedTime),
        ("{body}", None, "x signature", InvalidTemplate::Header("x signature".into())),
        ("{header:x id}{body}", None, "x-signature", InvalidTemplate::Header("x id".into())),
    ] {
        let verification = Verification::Hmac {
            header: header.into(),
            algorithm: HmacAlgorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            separator: None,
            signed_content: content.into(),
            timestamp_header: timestamp_header.map(str::to_owned),
            secrets: Vec::new(),
        };
        assert_eq!(Scheme::of(&verification).unwrap_err(), expected);
    }
}
