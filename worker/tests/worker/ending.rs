//! Kills, orderly ends and rebalances: nothing is lost, and what is repeated is bounded.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    api::{Answer, Api, status},
    kafka::Place,
    running::{Worker, config, numbered},
};

#[tokio::test]
async fn every_record_arrives_though_the_worker_is_killed_again_and_again() {
    const RECORDS: usize = 8_000;
    let (place, api) = (Place::new("killed", 4).await, Api::willing().await);
    place.write(numbered(0..RECORDS)).await;
    for killed_at in [500, 2_000, 4_000] {
        let worker = Worker::start(&config(&place, &api.url));
        api.until_numbers(killed_at).await;
        worker.kill();
    }
    let _worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(RECORDS).await;
    place.until_no_lag().await;

    assert_eq!(api.numbers().len(), RECORDS, "nothing is lost");
    let mut last = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in api.taken().iter().map(|body| body["n"].as_i64().unwrap()).filter(|n| seen.insert(*n)) {
        let before = last.insert(n % 10, n).unwrap_or(-1);
        assert!(before < n, "{n} came for the first time after {before}");
    }
}

#[tokio::test]
async fn sigterm_lets_what_is_under_way_end_and_repeats_nothing() {
    let place = Place::new("terminated", 2).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_millis(100), ..status(200) }).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..400)).await;
    api.until_numbers(100).await;
    worker.terminate();
    assert!(worker.ended().await.success());
    let taken = api.numbers().len();
    assert!(taken < 400, "it ended in the middle");
    let committed: i64 = place.committed().await.values().sum();
    assert!(committed > 0);

    let worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(400).await;
    place.until_no_lag().await;
    worker.terminate();
    assert!(worker.ended().await.success());
    assert_eq!(place.committed().await, place.ends().await);
    let repeated: Vec<_> = api.numbers().into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

#[tokio::test]
async fn sigterm_after_everything_is_settled_leaves_no_lag_and_no_duplicate() {
    let (place, api) = (Place::new("settled", 2).await, Api::willing().await);
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1_000)).await;
    api.until_numbers(1_000).await;
    worker.terminate();
    assert!(worker.ended().await.success());
    assert_eq!(place.committed().await, place.ends().await);
    assert!(api.numbers().values().all(|times| *times == 1));
}

#[tokio::test]
async fn two_workers_share_the_partitions_and_lose_nothing_when_one_leaves() {
    let place = Place::new("shared", 4).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_millis(5), ..status(200) }).await;
    let first = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1_000)).await;
    api.until_numbers(200).await;
    let second = Worker::start(&config(&place, &api.url));
    second.until_status("its share", |status| status.partitions == 2).await;
    first.until_status("its share", |status| status.partitions == 2).await;
    place.write(numbered(1_000..2_000)).await;
    api.until_numbers(1_200).await;
    first.terminate();
    assert!(first.ended().await.success());
    second.until_status("all partitions", |status| status.partitions == 4).await;
    place.write(numbered(2_000..3_000)).await;
    api.until_numbers(3_000).await;
    place.until_no_lag().await;

    assert!(api.numbers().values().all(|times| *times == 1), "orderly ends and rebalances repeat nothing");
    let told = second.status().await;
    assert_eq!(told.received, told.delivered + told.skipped + told.dead_lettered + told.unsettled, "{told:?}");
    let mut last = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in api.taken().iter().map(|body| body["n"].as_i64().unwrap()).filter(|n| seen.insert(*n)) {
        let before = last.insert(n % 10, n).unwrap_or(-1);
        assert!(before < n, "{n} came for the first time after {before}");
    }
}
