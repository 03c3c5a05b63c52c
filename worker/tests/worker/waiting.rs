//! Records that wait: for a sink that is down, for their turn under a rate limit, for a person.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sluice_crds::{
    Backoff, CircuitBreaker, Delivery, Duration as Text, FailureShare, OnDataError, OnDeliveryError, Ordering,
    RateLimit, Retry,
    wire::{Circuit, WorkerConfig, WorkerStatus},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Api, status},
    kafka::Place,
    running::{Worker, config, map, numbered},
};

#[tokio::test]
async fn an_outage_opens_the_circuit_and_uses_no_retry_budget() {
    const FAILURES: u32 = 10;
    let place = Place::new("outage", 2).await;
    let down = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&down);
    let api = Api::scripted(move |_| status(if gate.load(Relaxed) { 503 } else { 200 })).await;
    let usual = config(&place, &api.url);
    let open_for = Text::from_millis(100);
    let circuit_breaker = Some(CircuitBreaker { failures: FAILURES, failure_share: None, open_for });
    // Whichever record the failures fall on, it has one attempt left.
    let retry = Retry { max_attempts: FAILURES + 1, ..usual.delivery.retry.clone() };
    let delivery = Delivery { circuit_breaker, retry, ..usual.delivery.clone() };
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    place.write(numbered(0..3)).await;
    worker.until_status("it is left alone", is_left_alone).await;
    // More than the budgets of all three records.
    crate::until("probes", async || api.requests().len(), |seen| *seen >= 45).await;
    place.write(numbered(3..200)).await;
    let told = worker.status().await;
    assert_eq!((told.dead_lettered, told.delivered, told.partitions), (0, 0, 2), "{told:?}");
    let (_, metrics) = worker.get("/metrics").await;
    assert!(
        metrics.lines().any(|line| line.starts_with("sluice_worker_circuit_open{") && line.ends_with(" 1")),
        "{metrics}"
    );

    down.store(false, Relaxed);
    api.until_numbers(200).await;
    place.until_no_lag().await;
    let is_well =
        |status: &WorkerStatus| status.circuit == Circuit::Closed && status.unsettled == 0 && status.trouble.is_none();
    let told = worker.until_status("closed", is_well).await;
    assert_eq!((told.dead_lettered, told.delivered), (0, 200));
}

/// Whether the circuit is not closed, and it is told why.
fn is_left_alone(status: &WorkerStatus) -> bool {
    let why = |trouble: &String| trouble.contains("the sink is left alone") && trouble.contains("503");
    status.circuit != Circuit::Closed && status.trouble.as_ref().is_some_and(why)
}

#[tokio::test]
async fn a_share_of_failures_opens_the_circuit_though_others_succeed_in_between() {
    let place = Place::new("share", 1).await;
    let down = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&down);
    // Every second record fails.
    let api = Api::scripted(move |request| {
        let fails = request.body["n"].as_i64().unwrap() % 2 == 1 && gate.load(Relaxed);
        status(if fails { 503 } else { 200 })
    })
    .await;
    let usual = config(&place, &api.url);
    let failure_share = Some(FailureShare { percent: 50, attempts: 20 });
    let circuit_breaker = Some(CircuitBreaker { failures: 0, failure_share, open_for: Text::from_millis(500) });
    // One after the other, and failures wait until the others are through.
    let backoff = Backoff { initial: Text::from_secs(60), factor: 1, max: Text::from_secs(60) };
    let retry = Retry { backoff, ..usual.delivery.retry.clone() };
    let delivery =
        Delivery { circuit_breaker, retry, max_in_flight: 1, ordering: Ordering::None, ..usual.delivery.clone() };
    place.write(numbered(0..16)).await;
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    let few = worker.until_status("fewer attempts than count", |told| told.delivered == 8).await;
    assert_eq!(few.circuit, Circuit::Closed, "{few:?}");
    place.write(numbered(16..40)).await;
    worker.until_status("it is left alone", is_left_alone).await;

    down.store(false, Relaxed);
    worker.until_status("closed", |told| told.circuit == Circuit::Closed).await;
    api.until_numbers(20).await;
}

#[tokio::test]
async fn a_circuit_that_is_open_for_longer_than_a_session_keeps_the_worker_in_its_group() {
    // A worker that gives no sign of life for 10 s is no member of its group any more.
    const OPEN_FOR: Duration = Duration::from_secs(15);
    let place = Place::new("long-open", 2).await;
    let down = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&down);
    let api = Api::scripted(move |_| status(if gate.load(Relaxed) { 503 } else { 200 })).await;
    let usual = config(&place, &api.url);
    let open_for = Text::from_secs(OPEN_FOR.as_secs());
    let circuit_breaker = Some(CircuitBreaker { failures: 1, failure_share: None, open_for });
    let delivery = Delivery { circuit_breaker, max_in_flight: 1, ..usual.delivery.clone() };
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    place.write(numbered(0..50)).await;
    worker.until_status("open", |told| told.circuit == Circuit::Open).await;
    let member = place.members().await;
    assert_eq!(member.len(), 1);
    down.store(false, Relaxed);
    api.until_numbers(50).await;
    place.until_no_lag().await;

    let requests = api.requests();
    assert!(requests[1].at - requests[0].at >= OPEN_FOR, "nothing is sent meanwhile");
    assert_eq!(place.members().await, member, "the same member of the group");
    assert_eq!(worker.times_logged("Partition assigned"), 2, "no partition has come or gone");
    let told = worker.until_status("all are told", |told| told.delivered == 50).await;
    assert_eq!((told.dead_lettered, told.partitions), (0, 2), "{told:?}");
}

#[tokio::test]
async fn a_rate_limit_is_kept() {
    let (place, api) = (Place::new("rate", 1).await, Api::willing().await);
    let usual = config(&place, &api.url);
    let rate_limit = Some(RateLimit { per_second: 50, burst: Some(10) });
    let delivery = Delivery { rate_limit, ..usual.delivery.clone() };
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    worker.until_status("its partition", |status| status.partitions == 1).await;
    // The first request may come to the API later than the worker has begun with it, and the last one comes no earlier.
    let begin = Instant::now();
    place.write(numbered(0..110)).await;
    api.until_numbers(110).await;
    let took = api.requests()[109].at - begin;
    assert!(took >= Duration::from_millis(1_990), "{took:?} for 10 at once and 100 at 50 a second");
}

#[tokio::test]
async fn a_halted_partition_says_so_and_others_go_on() {
    let place = Place::new("halted", 4).await;
    let mended = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&mended);
    let api =
        Api::scripted(move |request| status(if request.body["n"] == 7 && !gate.load(Relaxed) { 422 } else { 200 }))
            .await;
    let usual = config(&place, &api.url);
    let delivery = Delivery { on_delivery_error: OnDeliveryError::Halt, ..usual.delivery.clone() };
    let config = WorkerConfig { delivery, ..usual };
    let worker = Worker::start(&config);
    place.write(numbered(0..200)).await;
    let told = worker.until_status("halted", |status| !status.halted.is_empty()).await;
    let halted = told.halted[0].clone();
    assert_eq!((halted.topic.as_str(), told.halted.len()), (place.topic.as_str(), 1));
    assert!(halted.reason.starts_with("http: 422:"), "{halted:?}");
    assert!(told.trouble.unwrap().contains(&format!("[{}] stopped at offset {}", halted.partition, halted.offset)));
    let (_, metrics) = worker.get("/metrics").await;
    assert!(
        metrics.lines().any(|line| line.starts_with("sluice_worker_partitions_halted{") && line.ends_with(" 1")),
        "{metrics}"
    );
    let others_at_end = |(committed, ends): &(BTreeMap<i32, i64>, BTreeMap<i32, i64>)| {
        ends.iter().all(|(partition, end)| *partition == halted.partition || committed.get(partition) == Some(end))
    };
    let look = async || (place.committed().await, place.ends().await);
    crate::until("the others at their ends", look, others_at_end).await;
    crate::until("it is the wall", look, |(committed, _)| committed[&halted.partition] == halted.offset).await;
    worker.terminate();
    assert!(worker.ended().await.success());

    mended.store(true, Relaxed);
    let worker = Worker::start(&config);
    api.until_numbers(200).await;
    place.until_no_lag().await;
    assert_eq!(worker.status().await.halted, []);
    assert_eq!(api.requests().iter().filter(|request| request.body["n"] == 7).count(), 2);
}

#[tokio::test]
async fn a_record_that_cannot_be_processed_may_halt_its_partition() {
    let (place, api) = (Place::new("halted-data", 1).await, Api::willing().await);
    let usual = config(&place, &api.url);
    let delivery = Delivery { on_data_error: OnDataError::Halt, ..usual.delivery.clone() };
    let steps = vec![map("amount", ".amount = int!(.amount)")];
    let worker = Worker::start(&WorkerConfig { delivery, steps, ..usual });
    let values = [r#"{"n": 1, "amount": 1}"#, r#"{"n": 2}"#, r#"{"n": 3, "amount": 3}"#];
    place.write(values.map(|value| ("key".to_owned(), value.to_owned()))).await;
    let told = worker.until_status("halted", |status| !status.halted.is_empty() && status.delivered == 1).await;
    assert_eq!((told.halted[0].offset, told.received, told.unsettled), (1, 1, 0), "{told:?}");
    assert!(told.halted[0].reason.starts_with("amount: StepFailed: "), "{told:?}");
    crate::until("it is the wall", async || place.committed().await, |seen| *seen == [(0, 1)].into()).await;
    assert_eq!(api.numbers(), [(1, 1)].into());
}

/// Records of this partition, all with this key: `{"n": 0}`, `{"n": 1}` and so on.
fn numbered_in(
    place: &Place,
    partition: i32,
    key: &'static str,
    numbers: std::ops::Range<i64>,
) -> impl Iterator<Item = OutgoingRecord> {
    numbers.map(move |n| OutgoingRecord {
        partition: Some(partition),
        key: Some(key.into()),
        ..OutgoingRecord::new(place.topic.as_str(), format!(r#"{{"n": {n}}}"#))
    })
}

#[tokio::test]
async fn a_key_that_is_blocked_holds_up_no_other_until_a_thousand_wait_and_then_its_partition() {
    // More than a thousand and all that is on its way when the partition is paused.
    const BLOCKED: i64 = 8_000;
    const SOON: i64 = 100_000;
    const LAST: i64 = 100_001;
    const ELSEWHERE: i64 = 200_000;
    let place = Place::new("blocked", 2).await;
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let api = Api::scripted(move |request| {
        let blocked = request.body["n"].as_i64().unwrap() < BLOCKED && !gate.load(Relaxed);
        status(if blocked { 503 } else { 200 })
    })
    .await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write_records(numbered_in(&place, 0, "blocked", 0..500)).await;
    place.write_records(numbered_in(&place, 0, "other", SOON..SOON + 1)).await;
    api.until_numbers(1).await;
    assert_eq!(api.numbers(), [(SOON, 1)].into(), "another key of the partition goes on");

    place.write_records(numbered_in(&place, 0, "blocked", 500..BLOCKED)).await;
    place.write_records(numbered_in(&place, 0, "other", LAST..LAST + 1)).await;
    worker.until_status("a thousand wait", |status| status.unsettled >= 1_000).await;
    place.write_records(numbered_in(&place, 1, "elsewhere", ELSEWHERE..ELSEWHERE + 2_000)).await;
    api.until_numbers(2_001).await;
    let told = worker.status().await;
    assert!(told.unsettled < 7_000, "the rest stays in Kafka: {told:?}");
    assert!(!api.numbers().contains_key(&LAST), "another key of the partition waits too");
    assert_eq!(place.committed().await.get(&0), Some(&0));

    open.store(true, Relaxed);
    api.until_numbers(2_002 + usize::try_from(BLOCKED).unwrap()).await;
    place.until_no_lag().await;
    assert!(api.numbers().values().all(|times| *times == 1));
    let numbers = api.taken().into_iter().map(|body| body["n"].as_i64().unwrap());
    assert!(numbers.filter(|n| *n < BLOCKED).is_sorted(), "the key's order is kept");
    assert_eq!(place.dead_letter_count().await, 0);
}
