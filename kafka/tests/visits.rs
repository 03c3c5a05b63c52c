//! Kafka forgets the offsets of groups without members; those that are visited are kept.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::Duration;

use broker::{connection_to, created, plain_topic};
use sluice_cluster::{Component, Part, testing::OwnCluster};
use sluice_kafka::{
    Admin, CommittedOffset, KafkaConnection, TopicPartition,
    consumer::{BaseConsumer, CommitMode, Consumer as _, Offset, TopicPartitionList},
    visit_group,
};
use tokio::{task, time};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn offsets_of_a_group_that_is_visited_outlive_those_of_one_that_is_not() {
    let cluster = task::spawn_blocking(|| {
        let cluster = OwnCluster::up("kafka-visits", &[Part::Kafka]).unwrap();
        let broker = cluster.component(Component::Kafka);
        // The shortest time that Kafka knows, and it looks every second.
        broker.add_settings("offsets.retention.minutes=1\noffsets.retention.check.interval.ms=1000\n").unwrap();
        broker.stop().unwrap();
        broker.start().unwrap();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let connection = connection_to(&cluster.kafka_bootstrap());
    let admin = Admin::connect(&connection).unwrap().with_timeout(Duration::from_mins(1));
    let topic = created(&admin, plain_topic("visited")).await;
    for group in ["visited", "left-alone"] {
        visit(&connection, group, &topic).await;
        commit(&connection, group, &topic);
    }
    let partition = TopicPartition { topic: topic.clone(), partition: 0 };
    let kept = [(partition, Ok(CommittedOffset { offset: 7, metadata: "note".into() }))].into();
    for group in ["visited", "left-alone"] {
        assert_eq!(admin.group_offsets(group).await.unwrap(), kept, "{group}");
    }

    let mut pace = time::interval(Duration::from_secs(5));
    let forgotten = async {
        loop {
            pace.tick().await;
            visit(&connection, "visited", &topic).await;
            if admin.group_offsets("left-alone").await.unwrap().is_empty() {
                return;
            }
        }
    };
    time::timeout(Duration::from_mins(5), forgotten).await.expect("Kafka forgets the other group within five minutes");
    assert_eq!(admin.group_offsets("visited").await.unwrap(), kept, "offset and note are as they were");
}

async fn visit(connection: &KafkaConnection, group: &'static str, topic: &str) {
    let (connection, topics) = (connection.clone(), [topic.to_owned()]);
    task::spawn_blocking(move || visit_group(&connection, group, &topics, PATIENCE)).await.unwrap().unwrap();
}

fn commit(connection: &KafkaConnection, group: &str, topic: &str) {
    let mut config = sluice_kafka::ClientConfig::new();
    config.set("bootstrap.servers", connection.bootstrap_servers.join(",")).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut offsets = TopicPartitionList::new();
    let mut element = offsets.add_partition(topic, 0);
    element.set_offset(Offset::Offset(7)).unwrap();
    element.set_metadata("note");
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}
