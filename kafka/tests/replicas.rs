//! Three brokers, a broker that deletes nothing, and one that makes topics by itself.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::Duration;

use broker::{connection_to, created, described, plain_topic, until};
use sluice_cluster::{
    Component, Part,
    testing::{self, OwnCluster},
};
use sluice_kafka::{
    Admin, BatchProducer, Compression, ErrorCode, KafkaConnection, NewTopic, OutgoingRecord, Producer,
    ProducerSettings, SendError, Unwritten,
};
use tokio::task;

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_topic_has_its_copies_on_three_brokers_and_cannot_have_a_fourth() {
    let brokers = task::spawn_blocking(testing::shared_replicated_kafka).await.unwrap();
    let bootstrap_servers = brokers.split(',').map(str::to_owned).collect();
    let connection = KafkaConnection { bootstrap_servers, ..KafkaConnection::default() };
    let admin = Admin::connect(&connection).unwrap().with_timeout(PATIENCE);
    until(async || admin.describe_cluster().await.unwrap().brokers.len(), |brokers| *brokers == 3).await;

    let topic = created(&admin, NewTopic { replicas: Some(3), ..plain_topic("copies") }).await;
    let in_sync = |topic: &Option<sluice_kafka::TopicDescription>| {
        topic.as_ref().is_some_and(|topic| topic.partitions.iter().all(|partition| partition.in_sync.len() == 3))
    };
    let mut partitions = until(async || described(&admin, &topic).await, in_sync).await.unwrap().partitions;
    partitions[0].replicas.sort_unstable();
    assert_eq!(partitions[0].replicas, [1, 2, 3]);

    let greedy = NewTopic { replicas: Some(4), ..plain_topic("greedy") };
    let refused = admin.create_topics(std::slice::from_ref(&greedy)).await.unwrap()[&greedy.name].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_REPLICATION_FACTOR);
    assert!(refused.message.contains("only 3 broker(s) are registered"), "{refused}");
}

#[tokio::test]
async fn a_broker_that_deletes_nothing_says_so_of_each_topic() {
    let cluster = with_settings("kafka-keeps", "delete.topic.enable=false").await;
    let admin = Admin::connect(&connection_to(&cluster.kafka_bootstrap())).unwrap().with_timeout(PATIENCE);
    let topic = created(&admin, plain_topic("kept")).await;
    let deleted = admin.delete_topics(&[&topic]).await.unwrap();
    assert_eq!(deleted[&topic].as_ref().unwrap_err().code, ErrorCode::TOPIC_DELETION_DISABLED);
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

/// `auto.create.topics.enable` is true in Kafka unless it is told otherwise: who asks for a topic gets one, if he does not say that he wants
/// none.
#[tokio::test]
async fn a_topic_that_is_deleted_under_its_producers_does_not_come_back() {
    let cluster = with_settings("kafka-makes", "auto.create.topics.enable=true").await;
    let connection = connection_to(&cluster.kafka_bootstrap());
    let admin = Admin::connect(&connection).unwrap().with_timeout(PATIENCE);
    let topic = created(&admin, plain_topic("deleted")).await;
    let settings = ProducerSettings { patience: PATIENCE, ..ProducerSettings::default() };
    let producer = Producer::connect(&connection, &settings).unwrap();
    let batches = BatchProducer::connect(&connection, Compression::None).unwrap();
    let record = OutgoingRecord::new(topic.as_str(), "value");
    until(async || producer.send(record.clone()).await, Result::is_ok).await.unwrap();
    until(async || batches.write(vec![record.clone()]).await, |unwritten| *unwritten == Unwritten::default()).await;

    let deleted = admin.delete_topics(&[&topic]).await.unwrap();
    assert!(deleted.values().all(Result::is_ok), "{deleted:?}");
    let error = until(async || producer.send(record.clone()).await, Result::is_err).await.unwrap_err();
    assert!(matches!(error, SendError::NotWritten(_)), "{error:?}");
    let unwritten = batches.write(vec![record]).await;
    assert_eq!(unwritten.refused.len() + unwritten.failed.len(), 1, "{unwritten:?}");
    assert!(described(&admin, &topic).await.is_none());
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

/// A cluster of the test's own whose broker has this setting.
async fn with_settings(purpose: &'static str, lines: &'static str) -> OwnCluster {
    let up = move || {
        let cluster = OwnCluster::up(purpose, &[Part::Kafka]).unwrap();
        let kafka = cluster.component(Component::Kafka);
        kafka.add_settings(lines).unwrap();
        kafka.stop().unwrap();
        kafka.start().unwrap();
        cluster
    };
    task::spawn_blocking(up).await.unwrap()
}
