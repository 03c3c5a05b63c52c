//! An event is acknowledged when it is in Kafka, as it came, once.

use futures::future::join_all;
use http::Method;
use jiff::Timestamp;
use sluice_crds::{
    Encoding, HmacAlgorithm, PresetName,
    wire::{DeferredBecause, EventSources, FieldSource, IdSource, RejectedBecause, Verification},
};

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, SECRET, Setup},
    sender::{Sender, fresh_id, full, sign},
    until,
};

#[tokio::test]
async fn an_acknowledged_event_is_in_kafka_as_it_came() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.event.key = Some(FieldSource::JsonPointer("/customer/id".into()));
    setup.config.event.event_type = Some(FieldSource::Header("x-github-event".into()));
    let receiver = setup.ready().await;
    let body = b"{ \"customer\":\t{\"id\": \"c-1\"} ,\"text\":\"\\u00e9 \xc3\xa9\"}\n".as_slice();
    let sender = Sender::to(receiver.endpoint);
    let mut request = sender.event(SECRET, "e-1", body);
    let sent = [
        ("content-type", "application/json; charset=utf-8"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
    ];
    for (name, value) in sent {
        request.headers_mut().insert(name, value.parse().unwrap());
    }

    let before = Timestamp::now().as_millisecond();
    let answer = sender.send(request).await.unwrap();
    let after = Timestamp::now().as_millisecond();

    assert_eq!((answer.status, answer.body.as_ref()), (202, &b""[..]));
    let [record] = records(&connection(), &topic).await.try_into().unwrap();
    assert_eq!((record.key.as_deref(), record.value.as_slice()), (Some(&b"c-1"[..]), body));
    assert!((before..=after).contains(&record.timestamp), "{before} <= {} <= {after}", record.timestamp);
    let time: Timestamp = record.header("ce_time").unwrap().parse().unwrap();
    assert_eq!(time.as_millisecond(), record.timestamp);
    let expected = [
        ("ce_id", "e-1"),
        ("ce_source", "/shop/webhooks/github"),
        ("ce_specversion", "1.0"),
        ("ce_time", record.header("ce_time").unwrap()),
        ("ce_type", "push"),
        ("content-type", "application/json; charset=utf-8"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-github-delivery", "e-1"),
        ("x-github-event", "push"),
    ];
    assert_eq!(record.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn a_forged_event_is_refused_without_a_hint_and_not_written() {
    let topic = topic(&connection(), &[]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    let sender = Sender::to(receiver.endpoint);
    let wrong = sender.signed(b"another secret", "e-1", "{}").await.unwrap();
    let unsigned = sender.send(sender.request(Method::POST, PATH).body(full("{}")).unwrap()).await.unwrap();
    let mut twice = sender.event(SECRET, "e-1", "{}");
    twice.headers_mut().append("x-hub-signature-256", sign(SECRET, b"{}").parse().unwrap());
    let twice = sender.send(twice).await.unwrap();
    let told = |answer: &crate::sender::Answer| (answer.status, answer.body.clone());
    assert_eq!((told(&wrong), told(&unsigned)), ((401, "unauthorized\n".into()), (401, "unauthorized\n".into())));
    assert_eq!(told(&twice), told(&wrong));

    assert_eq!(records(&connection(), &topic).await, []);
    assert_eq!(receiver.status().await.rejected, [(RejectedBecause::Signature, 3)].into());
    let metrics = receiver.metrics().await;
    let cause =
        r#"sluice_receiver_signatures_refused_total{namespace="shop",webhook="github",reason="HeaderRepeated"} 1"#;
    assert!(metrics.contains(cause), "{metrics}");
}

#[tokio::test]
async fn a_duplicate_is_answered_like_the_original_and_not_written() {
    let topic = topic(&connection(), &[]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    let sender = Sender::to(receiver.endpoint);
    let mut answers = Vec::new();
    for id in ["e-1", "e-1", "e-2"] {
        let mut answer = sender.signed(SECRET, id, "{}").await.unwrap();
        answer.headers.remove("date");
        answers.push(answer);
    }
    assert_eq!((answers[0].status, &answers[0]), (202, &answers[1]));

    let ids: Vec<_> =
        records(&connection(), &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(ids, ["e-1", "e-2"]);
    let status = receiver.status().await;
    assert_eq!((status.generation, status.accepted, status.duplicates), (3, 2, 1));
    until(async || receiver.status().await.trouble, Option::is_none).await;
}

#[tokio::test]
async fn an_event_that_is_sent_many_times_at_once_is_written_once() {
    let topic = topic(&connection(), &[]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    let sender = Sender::to(receiver.endpoint);
    let answers = join_all((0..100).map(|_| sender.signed(SECRET, "e-1", "{}"))).await;
    let statuses: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().status).collect();
    assert!(statuses.contains(&202) && statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
    assert_eq!(records(&connection(), &topic).await.len(), 1);
    let status = receiver.status().await;
    let deferred = status.deferred.get(&DeferredBecause::InProgress).unwrap_or(&0);
    assert_eq!((status.accepted, status.duplicates + deferred), (1, 99));
}

#[tokio::test]
async fn a_genuine_event_without_its_id_is_told_where_it_was_looked_for() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.event.id = Some(IdSource::JsonPointer("/id".into()));
    let receiver = setup.ready().await;
    let answer = receiver.post(r#"{"name": "x"}"#).await;
    assert_eq!(answer.status, 422);
    assert!(std::str::from_utf8(&answer.body).unwrap().contains("/id of the JSON body"), "{answer:?}");
    assert_eq!(receiver.post(r#"{"id": 7}"#).await.status, 202);
    assert_eq!(records(&connection(), &topic).await[0].header("ce_id"), Some("7"));
}

#[tokio::test]
async fn an_event_that_the_topic_does_not_take_is_too_large() {
    let topic = topic(&connection(), &[("max.message.bytes", "2000")]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    assert_eq!(receiver.post(vec![b'x'; 3000]).await.status, 413);
    assert_eq!(receiver.post("{}").await.status, 202);
    assert_eq!(receiver.status().await.rejected, [(RejectedBecause::Size, 1)].into());
}

#[tokio::test]
async fn an_event_that_the_topic_takes_only_with_a_key_is_asked_for_again_and_told() {
    let topic = topic(&connection(), &[("cleanup.policy", "compact")]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.event.key = Some(FieldSource::JsonPointer("/customer".into()));
    let receiver = setup.ready().await;
    let answer = receiver.post("{}").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("60")));
    assert_eq!(receiver.status().await.deferred, [(DeferredBecause::Refused, 1)].into());
    let is_told = |told: &Option<String>| {
        told.as_ref().is_some_and(|told| told.contains(&topic) && told.contains("none without a key"))
    };
    until(async || receiver.status().await.kafka_trouble, is_told).await;
    assert!(receiver.is_ready().await);

    assert_eq!(receiver.post(r#"{"customer": 7}"#).await.status, 202);
    until(async || receiver.status().await.kafka_trouble, Option::is_none).await;
    assert_eq!(records(&connection(), &topic).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_events_are_taken_beside_one_that_the_topic_does_not_take() {
    const SMALL: usize = 200;
    let topic = topic(&connection(), &[("max.message.bytes", "2000")]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    let sender = Sender::to(receiver.endpoint);
    let bodies = (0..SMALL).map(|number| if number == SMALL / 2 { vec![b'x'; 3000] } else { b"{}".to_vec() });
    let post = async |body| sender.signed(SECRET, &fresh_id(), body).await;
    let answers = join_all(bodies.map(post)).await;
    let refused: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().status)
        .enumerate()
        .filter(|(_, status)| *status != 202)
        .collect();
    assert_eq!(refused, [(SMALL / 2, 413)]);
    assert_eq!(records(&connection(), &topic).await.len(), SMALL - 1);
}

#[tokio::test]
async fn each_scheme_takes_what_it_signed() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    let secrets = vec![setup.secret("current")];
    setup.config.event = EventSources::default();
    setup.config.verification = Verification::Hmac {
        header: "X-Signature".into(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: "sha256=".into(),
        separator: None,
        signed_content: "{timestamp}.{body}".into(),
        timestamp_header: Some("X-Timestamp".into()),
        secrets,
    };
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    for (seconds, expected) in [(0, 202), (-240, 202), (-310, 401), (360, 401)] {
        let second = Timestamp::now().as_second() + seconds;
        let request = sender.request(Method::POST, PATH).header("x-timestamp", second.to_string());
        let request = request.header("x-signature", sign(SECRET, format!("{second}.{second}").as_bytes()));
        let answer = sender.send(request.body(full(second.to_string())).unwrap()).await.unwrap();
        assert_eq!(answer.status, expected, "{seconds} s");
    }

    let mut open = Setup::new(connection(), &topic);
    open.config.verification = Verification::None;
    let receiver = open.ready().await;
    let sender = Sender::to(receiver.endpoint);
    let answer = sender.send(sender.request(Method::POST, PATH).body(full("anything")).unwrap()).await.unwrap();
    assert_eq!(answer.status, 202);
    assert_eq!(records(&connection(), &topic).await.len(), 3);
}

#[tokio::test]
async fn standard_webhooks_are_taken_with_their_id_and_kept_headers() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    std::fs::write(setup.secret("current"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    setup.preset(PresetName::StandardWebhooks, &["current"]);
    // The example of the specification was signed in 2021.
    setup.config.tolerance = "876000h".parse().unwrap();
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    let request = sender
        .request(Method::POST, PATH)
        .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header("webhook-timestamp", "1614265330")
        .header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let answer = sender.send(request.body(full(r#"{"test": 2432232314}"#)).unwrap()).await.unwrap();
    assert_eq!(answer.status, 202);
    let [record] = records(&connection(), &topic).await.try_into().unwrap();
    assert_eq!(record.header("ce_id"), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    assert_eq!(record.header("webhook-timestamp"), Some("1614265330"));
    assert_eq!(record.header("webhook-signature"), None);
}

#[tokio::test]
async fn a_challenge_is_answered_when_it_is_genuine_and_not_written() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.preset(PresetName::Slack, &["current"]);
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    let body = r#"{"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#;
    let now = Timestamp::now().as_second();
    let signature = sign(SECRET, format!("v0:{now}:{body}").as_bytes()).replace("sha256=", "v0=");
    for (signature, expected) in [("v0=00".to_owned(), 401), (signature, 200)] {
        let request = sender.request(Method::POST, PATH).header("x-slack-request-timestamp", now.to_string());
        let answer =
            sender.send(request.header("x-slack-signature", signature).body(full(body)).unwrap()).await.unwrap();
        assert_eq!(answer.status, expected);
        assert_eq!(answer.body.starts_with(b"3eZbrw1aBm2r"), expected == 200, "{answer:?}");
    }
    assert_eq!(records(&connection(), &topic).await, []);
    assert!(
        receiver
            .metrics()
            .await
            .contains("sluice_receiver_challenges_answered_total{namespace=\"shop\",webhook=\"github\"} 1")
    );
}
