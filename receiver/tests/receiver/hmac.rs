//! The generic scheme in the forms that a Webhook can describe: what OpenSSL signs is taken, what differs from it is not.

use std::{fs, path::PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_crds::{
    Encoding, HmacAlgorithm,
    wire::{SharedWebhook, Verification},
};

use crate::{
    kafka::{connection, records, topic},
    many,
    running::Setup,
    sender::{Sender, fresh_id},
    signers::{Sent, flip, flip_body, send, sign},
};

/// As they stand in their files: a line end is a part of the key.
const SECRETS: [&str; 2] = ["5up3r s3cret\n", "Ünï\u{2713} another"];
/// What is signed: without the time, and with it.
const TIMELESS: [&str; 3] = ["{body}", "{body}.{header:X-Event-Id}!", "{{body}}{id}"];
const TIMED: [&str; 3] = ["v0:{timestamp}:{body}", "{header:X-Event-Id}.{timestamp}.{body}", "{timestamp}{body}{body}"];
/// How far from now the requests of each scheme are sent, in seconds, and whether that is near enough.
const TIMES: [(i64, bool); 4] = [(-240, true), (240, true), (-400, false), (400, false)];

/// Each hash and each way to write it, with and without the time, and any of the rest.
fn schemes(secrets: &[PathBuf]) -> Vec<Verification> {
    let mut schemes = Vec::new();
    for algorithm in [HmacAlgorithm::Sha1, HmacAlgorithm::Sha256, HmacAlgorithm::Sha512] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            for (contents, timestamp_header) in [(TIMELESS, None), (TIMED, Some("X-Sent-At".to_owned()))] {
                schemes.push(Verification::Hmac {
                    header: "X-Partner-Signature".into(),
                    algorithm,
                    encoding,
                    prefix: any(&["", "sha=", "v1:"]).into(),
                    separator: any(&[None, Some(","), Some(", "), Some(";"), Some(" ")]).map(str::to_owned),
                    signed_content: any(&contents).into(),
                    timestamp_header,
                    secrets: secrets.to_vec(),
                });
            }
        }
    }
    schemes
}

fn any<T: Copy>(all: &[T]) -> T {
    *fastrand::choice(all).unwrap()
}

/// A Webhook at `/shop/<name>`.
fn webhook(topic: &str, name: &str, verification: Verification) -> SharedWebhook {
    let mut config = Setup::new(connection(), topic).config;
    name.clone_into(&mut config.webhook.name);
    config.path = format!("/shop/{name}");
    config.verification = verification;
    SharedWebhook { revision: "1".into(), generation: 1, paused: false, hostnames: Vec::new(), header: None, config }
}

/// What the signer is asked for: any text, any of the secrets.
fn order(scheme: &Verification, time: i64) -> Value {
    let id = fresh_id();
    let text: String = (0..fastrand::usize(..200)).map(|_| fastrand::char(..)).collect();
    let body = json!({"id": id, "text": text}).to_string();
    let scheme = json!(scheme)["hmac"].take();
    let (secret, padded) = (any(&SECRETS), fastrand::bool());
    json!({"signer": "Hmac", "scheme": scheme, "secret": secret, "padded": padded, "id": id, "time": time, "body": body})
}

/// Requests that differ from a genuine one in something that is signed, or in the signature.
fn forgeries(scheme: &Verification, genuine: &Sent) -> Vec<Sent> {
    let Verification::Hmac { header, separator, signed_content, timestamp_header, .. } = scheme else { panic!() };
    let with = |header: &str, value: String| {
        let mut forged = genuine.clone();
        forged.headers[header] = json!(value);
        forged
    };
    let text = |header: &str| genuine.headers[header].as_str().unwrap();
    // No header holds a line end. What is shorter than a signature is none.
    let separator = separator.as_deref().unwrap_or("\n");
    let flipped = |item: &str| if item.len() < 24 { item.to_owned() } else { flip(item) };
    let signatures: Vec<String> = text(header).split(separator).map(flipped).collect();

    let mut forged = vec![flip_body(genuine), with(header, signatures.join(separator))];
    if timestamp_header.is_some() {
        let time: i64 = text("x-sent-at").parse().unwrap();
        forged.push(with("x-sent-at", (time + 1).to_string()));
    }
    if signed_content.contains("{header:") {
        forged.push(with("x-event-id", format!("{}0", text("x-event-id"))));
    }
    forged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_signed_in_any_form_is_taken_and_what_differs_by_a_bit_is_not() {
    let topic = topic(&connection(), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = ["current", "next"].map(|name| folder.path().join(name));
    for (file, secret) in secrets.iter().zip(SECRETS) {
        fs::write(file, secret).unwrap();
    }
    let numbered = schemes(&secrets).into_iter().enumerate();
    let webhooks: Vec<_> =
        numbered.map(|(number, scheme)| webhook(&topic, &format!("hmac-{number}"), scheme)).collect();
    let receiver = many::ready(&webhooks).await;
    let sender = Sender::to(receiver.endpoint);

    let now = Timestamp::now().as_second();
    let of_each =
        |webhook: &SharedWebhook| TIMES.map(|(seconds, _)| order(&webhook.config.verification, now + seconds));
    let orders: Vec<Value> = webhooks.iter().flat_map(of_each).collect();
    let signed = sign("sign.mjs", &orders);
    let mut taken = Vec::new();
    for (webhook, requests) in webhooks.iter().zip(signed.chunks(TIMES.len())) {
        let (scheme, path) = (&webhook.config.verification, &webhook.config.path);
        let has_time = matches!(scheme, Verification::Hmac { timestamp_header: Some(_), .. });
        for (request, (_, is_near)) in requests.iter().zip(TIMES) {
            for forged in forgeries(scheme, request) {
                assert_eq!(send(&sender, path, &forged).await, 401, "{scheme:?} {forged:?} of {request:?}");
            }
            let expected = if is_near || !has_time { 202 } else { 401 };
            assert_eq!(send(&sender, path, request).await, expected, "{scheme:?} {request:?}");
            taken.extend((expected == 202).then_some(request.body.as_bytes()));
        }
    }
    let written = records(&connection(), &topic).await;
    assert_eq!(written.iter().map(|record| record.value.as_slice()).collect::<Vec<_>>(), taken);
}
