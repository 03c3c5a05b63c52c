//! Records that wait: for a sink that is down, for their turn under a rate limit, for a person.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use sluice_crds::{
    CircuitBreaker, Delivery, Duration as Text, OnDataError, OnDeliveryError, RateLimit, Retry,
    wire::{Circuit, WorkerConfig},
};

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
    let told = worker.until_status("not closed", |status| status.circuit != Circuit::Closed).await;
    let trouble = told.trouble.unwrap();
    assert!(trouble.contains("the sink is left alone") && trouble.contains("503"), "{trouble}");
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
    let told = worker.until_status("closed", |status| status.circuit == Circuit::Closed && status.unsettled == 0).await;
    assert_eq!((told.dead_lettered, told.delivered, told.trouble), (0, 200, None));
}

#[tokio::test]
async fn a_rate_limit_is_kept() {
    let (place, api) = (Place::new("rate", 1).await, Api::willing().await);
    let usual = config(&place, &api.url);
    let rate_limit = Some(RateLimit { per_second: 50, burst: Some(10) });
    let delivery = Delivery { rate_limit, ..usual.delivery.clone() };
    let _worker = Worker::start(&WorkerConfig { delivery, ..usual });
    place.write(numbered(0..110)).await;
    api.until_numbers(110).await;
    let requests = api.requests();
    let took = requests[109].at - requests[0].at;
    assert!(took >= Duration::from_millis(1_900), "{took:?} for 10 at once and 100 at 50 a second");
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
