//! Three brokers, and a broker that deletes nothing.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::Duration;

use broker::{connection_to, created, described, plain_topic, until};
use sluice_cluster::{
    Component, Part,
    testing::{self, OwnCluster},
};
use sluice_kafka::{Admin, ErrorCode, KafkaConnection, NewTopic};
use tokio::task;

#[tokio::test]
async fn a_topic_has_its_copies_on_three_brokers_and_cannot_have_a_fourth() {
    let brokers = task::spawn_blocking(testing::shared_replicated_kafka).await.unwrap();
    let bootstrap_servers = brokers.split(',').map(str::to_owned).collect();
    let connection = KafkaConnection { bootstrap_servers, ..KafkaConnection::default() };
    let admin = Admin::connect(&connection).unwrap().with_timeout(Duration::from_secs(20));
    assert_eq!(admin.describe_cluster().await.unwrap().brokers.len(), 3);

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
    let cluster = task::spawn_blocking(|| {
        let cluster = OwnCluster::up("kafka-keeps", &[Part::Kafka]).unwrap();
        let kafka = cluster.component(Component::Kafka);
        kafka.add_settings("delete.topic.enable=false").unwrap();
        kafka.stop().unwrap();
        kafka.start().unwrap();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let admin = Admin::connect(&connection_to(&cluster.kafka_bootstrap())).unwrap();
    let topic = created(&admin, plain_topic("kept")).await;
    let deleted = admin.delete_topics(&[&topic]).await.unwrap();
    assert_eq!(deleted[&topic].as_ref().unwrap_err().code, ErrorCode::TOPIC_DELETION_DISABLED);
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}
