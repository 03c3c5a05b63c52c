//! What becomes of records that cannot be delivered or processed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use sluice_crds::{
    Delivery, Duration as Text, OnDataError, Retry,
    wire::{HttpSinkConfig, SinkConfig, WorkerConfig, WorkerStatus},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Answer, Api, status},
    kafka::{Place, Seen},
    running::{Worker, config, map, numbered},
};

#[tokio::test]
async fn an_api_that_is_busy_is_asked_again_when_it_said() {
    let place = Place::new("busy", 1).await;
    let api = Api::scripted(|request| match request.before {
        0 | 1 => Answer { headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(1))]), ..status(503) },
        _ => status(201),
    })
    .await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1)).await;
    place.until_no_lag().await;

    let requests = api.requests();
    let waits: Vec<_> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert_eq!(requests.len(), 3);
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(990)), "{waits:?}");
    assert!(requests.windows(2).all(|pair| pair[0].headers["idempotency-key"] == pair[1].headers["idempotency-key"]));
    let told = worker.until_status("it is told", |told| told.delivered == 1).await;
    assert_eq!((told.retries, told.dead_lettered), (2, 0));
}

#[tokio::test]
async fn an_api_that_is_busy_gets_no_other_record_before_it_said() {
    let place = Place::new("busy-for-all", 2).await;
    let api = Api::scripted(|request| match (request.body["n"].as_i64(), request.before) {
        (Some(0), 0) => Answer { headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(2))]), ..status(429) },
        _ => status(201),
    })
    .await;
    let mut config = config(&place, &api.url);
    config.delivery.max_in_flight = 1;
    place.write(numbered(0..50)).await;
    let worker = Worker::start(&config);
    place.until_no_lag().await;

    let requests = api.requests();
    let busy = requests.iter().position(|request| request.body["n"] == 0).unwrap();
    assert_eq!(requests.len(), 51);
    assert!(requests[busy + 1].at - requests[busy].at >= Duration::from_millis(1_990), "nobody is sent meanwhile");
    let told = worker.until_status("all are told", |told| told.delivered == 50).await;
    assert_eq!((told.retries, told.dead_lettered), (1, 0));
}

#[tokio::test]
async fn a_refused_record_becomes_a_dead_letter_with_everything() {
    let place = Place::new("refused", 1).await;
    let api = Api::scripted(|request| Answer {
        body: format!("amount\u{7} is\r\nnegative, {}", request.headers["authorization"].to_str().unwrap()).into(),
        ..status(422)
    })
    .await;
    let headers = [("Authorization".to_owned(), "Bearer s3cr3t-token".to_owned())].into();
    let sink = SinkConfig::Http(HttpSinkConfig { headers, ..HttpSinkConfig::new(&api.url) });
    let worker = Worker::start(&WorkerConfig { sink, ..config(&place, &api.url) });
    let original = OutgoingRecord {
        key: Some(vec![0, 159, 146, 150].into()),
        headers: vec![
            sluice_kafka::Header { name: "trace".into(), value: Some(vec![0xff, 0].into()) },
            sluice_kafka::Header { name: "trace".into(), value: None },
        ],
        timestamp: Some(1_795_478_400_123),
        ..OutgoingRecord::new(place.topic.as_str(), "{ \"n\" : -1.50 }")
    };
    place.write_records([original]).await;
    let mut letters = place.dead_letters(1).await;
    place.until_no_lag().await;

    let first_failed_at = take(&mut letters[0], "sluice-first-failed-at");
    assert_eq!(first_failed_at.len(), "2026-11-24T12:00:00.000Z".len(), "{first_failed_at}");
    let reasons = [
        ("sluice-error-class", "DeliveryError"),
        ("sluice-error-stage", "http"),
        ("sluice-error-code", "422"),
        ("sluice-error-message", "the API answered 422 Unprocessable Entity: amount  is  negative, ***"),
        ("sluice-attempts", "1"),
        ("sluice-original-topic", place.topic.as_str()),
        ("sluice-original-partition", "0"),
        ("sluice-original-offset", "0"),
        ("sluice-original-timestamp", "1795478400123"),
        ("sluice-integration", "shop/payments-to-ledger"),
        ("sluice-generation", "4"),
        ("sluice-replay-count", "0"),
    ];
    let mut headers = vec![("trace".to_owned(), Some(vec![0xff, 0])), ("trace".to_owned(), None)];
    headers.extend(reasons.map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec()))));
    let expected = Seen {
        key: Some(vec![0, 159, 146, 150]),
        value: Some(b"{ \"n\" : -1.50 }".to_vec()),
        timestamp: Some(1_795_478_400_123),
        headers,
    };
    assert_eq!(letters, [expected]);
    worker.until_status("it is told", |status| status.dead_lettered == 1).await;
}

#[tokio::test]
async fn what_cannot_be_processed_becomes_a_dead_letter_and_the_partition_goes_on() {
    let (place, api) = (Place::new("malformed", 1).await, Api::willing().await);
    let steps = vec![map("amount", ".amount = int!(.amount)")];
    let _worker = Worker::start(&WorkerConfig { steps, ..config(&place, &api.url) });
    let deep = "[".repeat(100_000);
    let values = [r#"{"n": 1, "amount": "x"}"#, "{", deep.as_str(), r#"{"n": 4, "amount": 4}"#];
    place.write(values.map(|value| ("key".to_owned(), value.to_owned()))).await;
    let mut letters = place.dead_letters(3).await;
    place.until_no_lag().await;

    assert_eq!(api.numbers(), [(4, 1)].into());
    let reasons = letters.iter_mut().map(|letter| {
        ["class", "stage", "code", "attempts"]
            .map(|reason| take(letter, &format!("sluice-{}{reason}", if reason == "attempts" { "" } else { "error-" })))
    });
    let expected = [
        ["DataError", "amount", "StepFailed", "1"],
        ["DataError", "decode", "InvalidJson", "1"],
        ["DataError", "decode", "TooDeep", "1"],
    ];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn used_up_attempts_end_in_a_dead_letter_and_data_errors_may_be_dropped() {
    let place = Place::new("used-up", 1).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_secs(5), ..status(200) }).await;
    let usual = config(&place, &api.url);
    let retry = Retry { max_attempts: 3, ..usual.delivery.retry.clone() };
    let delivery =
        Delivery { retry, timeout: Text::from_millis(200), on_data_error: OnDataError::Drop, ..usual.delivery.clone() };
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    place.write([("key".to_owned(), "{".to_owned()), ("key".to_owned(), r#"{"n": 1}"#.to_owned())]).await;
    let mut letters = place.dead_letters(1).await;

    assert_eq!(take(&mut letters[0], "sluice-attempts"), "3");
    assert_eq!(take(&mut letters[0], "sluice-error-code"), "Timeout");
    let message = take(&mut letters[0], "sluice-error-message");
    assert!(message.ends_with("(all 3 attempts used)"), "{message}");
    let told = worker.until_status("all settled", |status| status.unsettled == 0 && status.received == 2).await;
    assert_eq!((told.delivered, told.skipped, told.dead_lettered, told.retries), (0, 1, 1, 2));
}

#[tokio::test]
async fn records_wait_while_their_dead_letters_cannot_be_written() {
    let place = Place::without_topics("no-letters", 1);
    place.create(&place.topic).await;
    let api = Api::scripted(|request| status(if request.body["n"] == 1 { 400 } else { 200 })).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..10)).await;
    let waits = |trouble: &String| trouble.contains(&place.dead_letters) && trouble.contains("wait");
    let is_told = |status: &WorkerStatus| status.delivered == 9 && status.trouble.as_ref().is_some_and(waits);
    let told = worker.until_status("that a dead letter waits", is_told).await;
    assert_eq!(told.unsettled, 1);
    crate::until("it is the wall", async || place.committed().await, |seen| *seen == [(0, 1)].into()).await;

    place.create(&place.dead_letters).await;
    place.until_no_lag().await;
    worker.until_status("well again", |status| status.dead_lettered == 1 && status.trouble.is_none()).await;
}

/// Takes the value of a header away.
fn take(letter: &mut Seen, name: &str) -> String {
    let index = letter.headers.iter().position(|header| header.0 == name).expect(name);
    String::from_utf8(letter.headers.remove(index).1.unwrap()).unwrap()
}
