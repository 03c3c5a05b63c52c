//! What an API gets.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use sluice_crds::{
    Decode, Delivery, Format, Ordering,
    wire::{HttpSinkConfig, Operation, SinkConfig, StepConfig, WorkerConfig, WorkerStatus},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Answer, Api, Request, status},
    kafka::Place,
    running::{Worker, config, filter, map, numbered},
};

#[tokio::test]
async fn records_arrive_in_order_per_key_as_the_steps_made_them() {
    let (place, api) = (Place::new("order", 3).await, Api::willing().await);
    let steps =
        vec![filter("no-multiples-of-ten", "mod!(.n, 10) != 0"), map("rename", ". = {\"n\": .n, \"key\": %key}")];
    let worker = Worker::start(&WorkerConfig { steps, ..config(&place, &api.url) });
    place.write(numbered(0..500)).await;
    api.until_numbers(450).await;
    place.until_no_lag().await;

    let mut last = BTreeMap::new();
    for body in api.taken() {
        let n = body["n"].as_i64().unwrap();
        assert_eq!(body, serde_json::json!({"n": n, "key": format!("key-{}", n % 10)}));
        let before = last.insert(n % 10, n).unwrap_or(-1);
        assert!(before < n, "{n} came after {before}");
    }
    let is_well = |status: &WorkerStatus| status.unsettled == 0 && status.received == 500 && status.trouble.is_none();
    let told = worker.until_status("all settled", is_well).await;
    assert_eq!((told.delivered, told.skipped, told.dead_lettered, told.partitions), (450, 50, 0, 3));
    assert_eq!(told.generation, 4);
    let (code, metrics) = worker.get("/metrics").await;
    assert_eq!(code, 200);
    let labels = r#"{namespace="shop",integration="payments-to-ledger"}"#;
    assert!(metrics.contains(&format!("sluice_worker_records_received_total{labels} 500")), "{metrics}");
    assert!(metrics.contains(&format!("sluice_worker_delivery_duration_seconds_count{labels} 450")), "{metrics}");
    assert_eq!((worker.get("/healthz").await.0, worker.get("/readyz").await.0), (200, 200));
}

#[tokio::test]
async fn a_request_carries_its_headers_and_the_untouched_body() {
    let (place, api) = (Place::new("headers", 1).await, Api::willing().await);
    let headers =
        [("X-Tenant", "shop"), ("Accept", "application/json")].map(|(name, value)| (name.into(), value.into()));
    let sink = HttpSinkConfig { method: "PUT".into(), headers: headers.into(), ..HttpSinkConfig::new(&api.url) };
    let sink = SinkConfig::Http(sink);
    let _worker = Worker::start(&WorkerConfig { sink, ..config(&place, &api.url) });
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    place
        .write_records([OutgoingRecord {
            headers: vec![Place::header("traceparent", trace), Place::header("X-Tenant", "not from the record")],
            timestamp: Some(1_795_478_400_000),
            ..OutgoingRecord::new(place.topic.as_str(), r#"{ "n":1 }"#)
        }])
        .await;
    api.until_numbers(1).await;

    let request = &api.requests()[0];
    let header = |name| request.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(header("content-type"), ["application/json"]);
    assert_eq!(header("content-length"), ["9"]);
    assert_eq!(header("x-tenant"), ["shop"]);
    assert_eq!(header("traceparent"), [trace]);
    let key = format!("shop/payments-to-ledger/{}/0/0/1795478400000", place.topic);
    assert_eq!(header("idempotency-key"), [key]);
}

#[tokio::test]
async fn texts_and_bytes_arrive_as_they_were_written() {
    for (format, content_type, body) in [
        (Format::Text, "text/plain; charset=utf-8", "no { JSON: ä\r\n".as_bytes()),
        (Format::Bytes, "application/octet-stream", &b"\xff\x00{\xfe"[..]),
    ] {
        let (place, api) = (Place::new("format", 1).await, Api::willing().await);
        let (decode, steps) = (Decode { format, ..Decode::default() }, vec![filter("wanted", r#". != "unwanted""#)]);
        let _worker = Worker::start(&WorkerConfig { decode, steps, ..config(&place, &api.url) });
        let written = [&b"unwanted"[..], body].map(|body| OutgoingRecord::new(place.topic.as_str(), body.to_vec()));
        place.write_records(written).await;
        place.until_no_lag().await;
        let requests = api.requests();
        let kind = |request: &Request| request.headers["content-type"].to_str().unwrap().to_owned();
        let seen: Vec<_> = requests.iter().map(|request| (kind(request), &request.bytes[..])).collect();
        assert_eq!(seen, [(content_type.to_owned(), body)], "{format:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_not_as_the_schema_says_is_a_dead_letter_and_its_neighbours_are_delivered() {
    let (place, api) = (Place::new("schema", 1).await, Api::willing().await);
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 5}}});
    let steps = vec![StepConfig { name: "small".to_owned(), operation: Operation::Validate(schema) }];
    let worker = Worker::start(&WorkerConfig { steps, ..config(&place, &api.url) });
    place.write(numbered(4..7)).await;
    api.until_numbers(2).await;
    let letters = place.dead_letters(1).await;
    place.until_no_lag().await;
    assert_eq!(api.numbers(), [(4, 1), (5, 1)].into());
    assert_eq!(letters[0].value.as_deref(), Some(&br#"{"n": 6}"#[..]));
    let header = |name: &str| {
        let found = letters[0].headers.iter().find(|(found, _)| found == name).unwrap();
        String::from_utf8(found.1.clone().unwrap()).unwrap()
    };
    let reasons = ["class", "stage", "code"].map(|reason| header(&format!("sluice-error-{reason}")));
    assert_eq!(reasons, ["DataError", "small", "SchemaMismatch"]);
    let told = worker.until_status("all settled", |status| status.unsettled == 0 && status.received == 3).await;
    assert_eq!((told.delivered, told.skipped, told.dead_lettered), (2, 0, 1));
}

#[tokio::test]
async fn a_partition_arrives_in_order_across_its_keys_however_much_may_be_in_flight() {
    let place = Place::new("whole", 3).await;
    let api = Api::scripted(|request| {
        let n = request.body["n"].as_u64().unwrap();
        let answer = status(if n % 20 == 7 && request.before == 0 { 503 } else { 200 });
        Answer { after: Duration::from_millis(n * 7 % 5), ..answer }
    })
    .await;
    let usual = config(&place, &api.url);
    let delivery = Delivery { ordering: Ordering::Partition, max_in_flight: 64, ..usual.delivery.clone() };
    let _worker = Worker::start(&WorkerConfig { delivery, ..usual });
    let record = |n: i32| OutgoingRecord {
        partition: Some(n % 3),
        key: Some(format!("key-{}", n % 10).into()),
        ..OutgoingRecord::new(place.topic.as_str(), format!(r#"{{"n": {n}}}"#))
    };
    place.write_records((0..300).map(record)).await;
    api.until_numbers(300).await;
    place.until_no_lag().await;
    let mut last = BTreeMap::new();
    for request in api.requests() {
        let n = request.body["n"].as_i64().unwrap();
        let before = last.insert(n % 3, n).unwrap_or(-1);
        assert!(before <= n, "{n} came after {before}");
    }
    assert!(api.numbers().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_blocked_key_holds_up_no_other() {
    let place = Place::new("blocked", 1).await;
    let api =
        Api::scripted(|request| status(if request.body["n"].as_i64().unwrap() % 10 == 3 { 503 } else { 200 })).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..400)).await;
    api.until_numbers(360).await;

    let wall = [(0, 3)].into();
    crate::until("the first blocked record is the wall", async || place.committed().await, |seen| *seen == wall).await;
    let counted = |told: &WorkerStatus| (told.delivered, told.unsettled) == (360, 40);
    worker.until_status("all others are delivered", counted).await;
    let blocked: Vec<_> = api.requests().into_iter().filter(|request| !request.taken).collect();
    assert!(blocked.iter().all(|request| request.body["n"] == 3), "those behind it wait for it");
}

#[tokio::test]
async fn a_blocked_partition_is_paused_and_read_to_its_end_later() {
    let place = Place::new("paused", 1).await;
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = std::sync::Arc::clone(&open);
    let api =
        Api::scripted(move |_| status(if gate.load(std::sync::atomic::Ordering::Relaxed) { 200 } else { 503 })).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..20_000)).await;
    let full = worker.until_status("full", |status| status.unsettled >= 1_000 && status.retries > 200).await;
    assert!(full.unsettled < 10_000, "memory is bounded: {full:?}");
    open.store(true, std::sync::atomic::Ordering::Relaxed);
    api.until_numbers(20_000).await;
    place.until_no_lag().await;
    assert!(api.numbers().values().all(|times| *times == 1));
}
