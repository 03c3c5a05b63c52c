//! CloudEvents are taken in each of their modes and become the same records.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use http::Method;
use serde_json::json;
use sluice_crds::{
    CloudEvents, Encoding, HmacAlgorithm,
    wire::{DeferredBecause, FieldSource, RejectedBecause, Verification},
};
use tokio::time::interval;

use crate::{
    kafka::{Record, connection, records, topic},
    running::{CONTAINER, PATH, Running, SECRET, Setup},
    sender::{Answer, Sender, full, sign},
};

async fn receiver(accept: CloudEvents) -> (String, Running) {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.verification = Verification::None;
    setup.config.event.cloud_events = accept;
    setup.config.event.key = Some(FieldSource::JsonPointer("/customer".into()));
    setup.config.event.sequence = Some(FieldSource::Header("x-count".into()));
    setup.config.event.headers = vec!["x-tenant".into()];
    (topic, setup.ready().await)
}

async fn send(receiver: &Running, headers: &[(&str, &str)], body: &str) -> Answer {
    let sender = Sender::to(receiver.endpoint);
    let mut request = sender.request(Method::POST, PATH).header("x-tenant", "acme").header("x-count", "7");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send(request.body(full(body.to_owned())).unwrap()).await.unwrap()
}

/// Without the time, which is the receiver's.
fn headers(record: &Record) -> BTreeMap<&str, &str> {
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, _)| *name != "ce_time").collect()
}

#[tokio::test]
async fn an_event_is_the_same_record_in_binary_and_in_structured_mode() {
    let (topic, receiver) = receiver(CloudEvents::Accept).await;
    let data = r#"{"customer": "c-1", "amount": 1.10}"#;
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/partner"),
        ("ce-type", "order.paid"),
        ("content-type", "application/json"),
        ("authorization", "Bearer secret"),
    ];
    assert_eq!(send(&receiver, &binary, data).await.status, 202);
    let structured = format!(
        r#"{{"specversion": "1.0", "id": "e-2", "source": "/partner", "type": "order.paid", "datacontenttype": "application/json", "data": {data}}}"#
    );
    let content_type = [("content-type", "application/cloudevents+json")];
    assert_eq!(send(&receiver, &content_type, &structured).await.status, 202);
    // Another source may use the same id; the same source says it again.
    assert_eq!(send(&receiver, &content_type, &structured.replace("/partner", "/other")).await.status, 202);
    assert_eq!(send(&receiver, &content_type, &structured).await.status, 202);

    let written = records(&connection(), &topic).await;
    assert_eq!(written.len(), 3);
    for (record, id) in written.iter().zip(["e-1", "e-2"]) {
        assert_eq!((record.key.as_deref(), record.value.as_slice()), (Some(&b"c-1"[..]), data.as_bytes()));
        let expected = [
            ("ce_id", id),
            ("ce_sequence", "7"),
            ("ce_source", "/partner"),
            ("ce_specversion", "1.0"),
            ("ce_type", "order.paid"),
            ("content-type", "application/json"),
            ("x-tenant", "acme"),
        ];
        assert_eq!(headers(record), expected.into());
    }
    assert_eq!((receiver.status().await.accepted, receiver.status().await.duplicates), (3, 1));
}

/// The operator's default with `hmac`.
#[tokio::test]
async fn who_replays_a_signed_request_cannot_give_it_another_id() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    let secrets = vec![setup.secret("current")];
    setup.config.event.cloud_events = CloudEvents::AcceptStructured;
    setup.config.verification = Verification::Hmac {
        header: "X-Signature".into(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: "sha256=".into(),
        separator: None,
        signed_content: "{body}".into(),
        timestamp_header: None,
        secrets,
    };
    let receiver = setup.ready().await;
    let signed = sign(SECRET, b"{}");
    for id in ["e-1", "e-2"] {
        let binary = [
            ("x-signature", signed.as_str()),
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/partner"),
            ("ce-type", "order.paid"),
        ];
        assert_eq!(send(&receiver, &binary, "{}").await.status, 202);
    }
    let structured = r#"{"specversion": "1.0", "id": "e-3", "source": "/partner", "type": "order.paid", "data": {}}"#;
    let signed = sign(SECRET, structured.as_bytes());
    for id in ["e-3", "e-4"] {
        let headers =
            [("x-signature", signed.as_str()), ("content-type", "application/cloudevents+json"), ("ce-id", id)];
        assert_eq!(send(&receiver, &headers, structured).await.status, 202);
    }
    let written = records(&connection(), &topic).await;
    let sources: Vec<_> = written.iter().map(|record| record.header("ce_source").unwrap()).collect();
    assert_eq!(sources, ["/shop/webhooks/github", "/partner"]);
    assert_eq!(written[1].header("ce_id"), Some("e-3"));
}

#[tokio::test]
async fn each_event_of_a_batch_is_a_record_and_is_written_once_in_order() {
    let (topic, receiver) = receiver(CloudEvents::AcceptBatches).await;
    let event =
        |id: usize| json!({"specversion": "1.0", "id": id.to_string(), "source": "/a", "type": "t", "data": id});
    let content_type = [("content-type", "application/cloudevents-batch+json")];
    let first = json!((0..100).map(event).collect::<Vec<_>>()).to_string();
    let overlapping = json!((50..150).map(event).collect::<Vec<_>>()).to_string();
    for batch in [&first, &overlapping, &first] {
        assert_eq!(send(&receiver, &content_type, batch).await.status, 202);
    }
    let broken = json!([event(200), {"specversion": "1.0"}]).to_string();
    let answer = send(&receiver, &content_type, &broken).await;
    assert_eq!((answer.status, answer.body.as_ref()), (422, &b"the cloud event has no attribute id\n"[..]));

    let written = records(&connection(), &topic).await;
    let ids: Vec<usize> = written.iter().map(|record| record.header("ce_id").unwrap().parse().unwrap()).collect();
    assert_eq!(ids, (0..150).collect::<Vec<_>>());
    let status = receiver.status().await;
    assert_eq!((status.accepted, status.duplicates), (150, 150));
    assert_eq!(status.rejected, [(RejectedBecause::CloudEvent, 1)].into());
}

const BATCH: &str = "application/cloudevents-batch+json";

/// A thousand events in 80 KiB take some fifty times that on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_find_no_memory_come_again_and_none_of_their_events_is_lost() {
    const BATCHES: usize = 64;
    const EVENTS: usize = 1000;
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.verification = Verification::None;
    setup.config.event.cloud_events = CloudEvents::AcceptBatches;
    setup.config.event.headers = vec!["x-kept".into()];
    let receiver = setup.ready().await;
    let batch = |number: usize| {
        let event = |event: usize| {
            let id = format!("{number}-{event}");
            json!({"specversion": "1.0", "id": id, "source": "a", "type": "t", "data": 1})
        };
        json!((0..EVENTS).map(event).collect::<Vec<_>>()).to_string()
    };
    let batches: Vec<String> = (0..BATCHES).map(batch).collect();
    join_all(batches.iter().map(|batch| send_until_taken(&receiver, batch))).await;
    let memory = receiver.peak_memory();
    assert!(memory < CONTAINER, "{memory} bytes");
    let status = receiver.status().await;
    assert!(status.deferred.get(&DeferredBecause::Busy).is_some_and(|times| *times > 0), "{:?}", status.deferred);
    let written = records(&connection(), &topic).await;
    let written: BTreeSet<_> = written.iter().map(|record| record.header("ce_id").unwrap()).collect();
    assert_eq!(written.len(), BATCHES * EVENTS);

    // There would never be as much memory as that: its sender is to make smaller batches.
    let long = "x".repeat(10 * 1024);
    let refused = send(&receiver, &[("content-type", BATCH), ("x-kept", long.as_str())], &batch(BATCHES)).await;
    assert_eq!(refused.status, 413);
    assert_eq!(receiver.status().await.accepted, status.accepted);
}

async fn send_until_taken(receiver: &Running, batch: &str) {
    let kept = "x".repeat(1024);
    // Nobody comes again at once.
    let mut pace = interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        let answer = send(receiver, &[("content-type", BATCH), ("x-kept", kept.as_str())], batch).await;
        if answer.status == 202 {
            return;
        }
        assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_safe_of_a_batch_that_fails_is_counted_and_not_written_again() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.body_limit = "4Mi".parse().unwrap();
    setup.config.verification = Verification::None;
    setup.config.event.cloud_events = CloudEvents::AcceptBatches;
    let receiver = setup.ready().await;
    let content_type = [("content-type", "application/cloudevents-batch+json")];
    let event = |id: &str, size: usize| json!({"specversion": "1.0", "id": id, "source": "/a", "type": "t", "data": "x".repeat(size)});
    // Kafka takes records of 1 MiB.
    let batch = json!([event("1", 10), event("2", 1_200_000), event("3", 10)]).to_string();
    for _ in 0..2 {
        assert_eq!(send(&receiver, &content_type, &batch).await.status, 413);
    }
    assert_eq!(records(&connection(), &topic).await.len(), 2);
    let status = receiver.status().await;
    assert_eq!((status.accepted, status.duplicates), (2, 2));
    assert_eq!(status.rejected, [(RejectedBecause::Size, 2)].into());
}

#[tokio::test]
async fn a_batch_is_refused_where_it_is_not_switched_on() {
    let (topic, receiver) = receiver(CloudEvents::Accept).await;
    let answer = send(&receiver, &[("content-type", "application/cloudevents-batch+json")], "[]").await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.starts_with(b"batches of cloud events are not switched on"), "{answer:?}");
    assert_eq!(records(&connection(), &topic).await, []);
}
