//! The broker dies and comes back.

use std::time::Duration;

use sluice_cluster::{Component, Part, testing::OwnCluster};

use crate::{
    api::{Answer, Api, status},
    exactly_once::{assert_once, exactly_once},
    kafka::{Place, connection_to},
    running::{Worker, config, numbered},
    until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_costs_no_record() {
    let cluster = OwnCluster::up("worker-broker", &[Part::Kafka]).unwrap();
    let broker = cluster.component(Component::Kafka);
    let place = Place::at(connection_to(&cluster.kafka_bootstrap()), "broker", 2).await;
    let api = Api::scripted(|request| match request.body["n"].as_i64().unwrap() % 100 {
        99 => status(422),
        _ => Answer { after: Duration::from_millis(10), ..status(200) },
    })
    .await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..4_000)).await;
    api.until_numbers(1_000).await;

    broker.kill().unwrap();
    let told = worker.until_status("trouble", |status| status.trouble.is_some()).await;
    assert_eq!(worker.get("/healthz").await.0, 200, "{told:?}");
    broker.start().unwrap();

    api.until_numbers(3_960).await;
    assert_eq!(place.dead_letters(40).await.len(), 40);
    place.until_no_lag().await;
    let told = worker.until_status("well again", |status| status.trouble.is_none() && status.unsettled == 0).await;
    assert_eq!(told.received, told.delivered + told.skipped + told.dead_lettered, "{told:?}");
    place.write(numbered(4_000..4_010)).await;
    api.until_numbers(3_970).await;
}

/// Longer than librdkafka's consumer is trusted to find back by itself.
#[tokio::test]
async fn a_broker_that_was_away_for_long_is_found_by_another_consumer() {
    let cluster = OwnCluster::up("worker-long", &[Part::Kafka]).unwrap();
    let broker = cluster.component(Component::Kafka);
    let place = Place::at(connection_to(&cluster.kafka_bootstrap()), "long", 2).await;
    let api = Api::willing().await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..100)).await;
    place.until_no_lag().await;
    broker.kill().unwrap();
    worker.until_logged("does not join its group; continuing with a new one").await;
    let told = worker.until_status("trouble", |status| status.trouble.is_some()).await;
    assert_eq!(worker.get("/healthz").await.0, 200, "{told:?}");
    broker.start().unwrap();
    place.write(numbered(100..200)).await;
    place.until_no_lag().await;
    worker.until_status("well again", |status| status.trouble.is_none() && status.unsettled == 0).await;
    assert_eq!(api.numbers(), (0..200).map(|n| (n, 1)).collect(), "all was committed before");
}

/// One after the other of three brokers: a broker alone, killed between the end of a transaction and the markers that tell it, may skip
/// those when it comes back, and the transaction is neither written nor not (Kafka's `TransactionMarkerChannelManager`, which takes a
/// partition that nobody leads for one that was deleted).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_killed_in_the_midst_of_transactions_write_nothing_twice() {
    const RECORDS: usize = 30_000;
    let cluster = OwnCluster::up("worker-transactions", &[Part::KafkaReplicated]).unwrap();
    let brokers = Component::REPLICATED.map(|broker| cluster.component(broker));
    let place = Place::at(connection_to(&cluster.kafka_replicated_bootstrap()), "transactions", 3).await;
    let target = place.another("entries", 1, &[]).await;
    let worker = Worker::start(&exactly_once(&place, &target));
    let part = RECORDS / brokers.len();
    for (step, broker) in brokers.iter().enumerate() {
        place.write(numbered(step * part..(step + 1) * part)).await;
        let wanted = step * part + part / 4;
        until("progress", async || place.written(&target).await, |written| *written >= wanted).await;
        place.until_in_sync().await;
        broker.kill().unwrap();
        broker.start().unwrap();
    }
    place.until_no_lag().await;
    assert_once(&place.read_all(&target, "last-of-transactions").await, 0..i64::try_from(RECORDS).unwrap());
    worker.until_status("well again", |status| status.trouble.is_none() && status.unsettled == 0).await;
}
