//! Kafka deletes records under a worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use sluice_crds::wire::WorkerStatus;

use crate::{
    api::{Api, status},
    kafka::Place,
    running::{Worker, config, numbered},
};

/// An API that takes nothing until it is opened.
async fn closed() -> (Api, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    (Api::scripted(move |_| status(if gate.load(Relaxed) { 200 } else { 503 })).await, open)
}

#[tokio::test]
async fn records_in_hand_are_delivered_although_kafka_deleted_them_and_the_gap_is_told() {
    let place = Place::new("deleted", 1).await;
    let (api, open) = closed().await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..20_000)).await;
    // It pauses at 1,000 and what was on its way, once it had no room for a moment, in which ten keys have nothing like a hundred attempts.
    let full = worker.until_status("full", |status| status.unsettled >= 1_000).await;
    let told = worker.until_status("paused", |status| status.retries >= full.retries + 100).await;
    assert!(told.unsettled < 10_000, "{told:?}");
    place.delete_before(0, 19_000).await;
    open.store(true, Relaxed);
    let all_that_is_left =
        |status: &WorkerStatus| status.gone > 0 && status.unsettled == 0 && status.received + status.gone == 20_000;
    let told = worker.until_status("all that is left", all_that_is_left).await;
    place.until_no_lag().await;

    assert_eq!((told.delivered, told.dead_lettered), (told.received, 0), "{told:?}");
    let taken = api.numbers();
    let in_hand = i64::try_from(told.received).unwrap() - 1_000;
    assert!(in_hand >= 1_000 && taken.keys().copied().eq((0..in_hand).chain(19_000..20_000)), "{:?}", taken.keys());
    worker.until_logged(&format!("Kafka deleted {} records before they were read", told.gone)).await;
    let (_, metrics) = worker.get("/metrics").await;
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("sluice_worker_records_gone_total")
                && line.ends_with(&format!(" {}", told.gone))),
        "{metrics}"
    );
    place.write(numbered(20_000..20_010)).await;
    api.until_numbers(taken.len() + 10).await;
}

#[tokio::test]
async fn a_worker_that_comes_back_tells_what_was_deleted_meanwhile() {
    let place = Place::new("deleted-meanwhile", 1).await;
    let (api, _open) = closed().await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..100)).await;
    worker.until_status("in hand", |status| status.unsettled == 100).await;
    place.until_noted().await;
    worker.kill();
    place.delete_before(0, 60).await;
    let api = Api::willing().await;
    let worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(40).await;
    place.until_no_lag().await;
    let told = worker.until_status("all are told", |told| told.delivered == 40).await;
    assert_eq!((told.gone, told.received), (60, 40), "{told:?}");
}
