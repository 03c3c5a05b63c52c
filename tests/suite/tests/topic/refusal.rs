//! What Kafka or Sluice refuses, each with its own reason.

use sluice_crds::Topic;
use sluice_kafka::NewTopic;
use sluice_suite::world::condition;

use crate::stage::{Stage, setting};

/// Applies a Topic, waits for the reason and gives the message of `Stalled`.
async fn refused(stage: &Stage, name: &str, spec: &str, reason: &str) -> String {
    stage.topic(name, spec).await;
    let status = stage.says(name, &format!("False {reason}")).await;
    condition(&status.conditions, "Stalled")
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_the_brokers_own_words() {
    let stage = Stage::begin("refusals").await;
    // Of no Topic, so that it is Kafka's to tell that its metrics could not tell the two apart.
    stage.make_kafka_topic(&stage.kafka_name("taken_already")).await;
    let cases = [
        ("reserved", "topicName: __consumer_offsets".to_owned(), "Invalid", "reserved by Kafka"),
        ("dot", "topicName: .".to_owned(), "Invalid", "reserved by Kafka"),
        ("taken.already", String::new(), "NameRefused", "collides with existing topic"),
        ("brokers", "replicas: 3".to_owned(), "TooFewBrokers", "only 1 broker(s) are registered"),
        ("key", "config: {retention.sm: '1'}".to_owned(), "SettingRefused", "Unknown topic config name: retention.sm"),
        ("value", "config: {retention.ms: soon}".to_owned(), "SettingRefused", "Invalid value soon"),
    ];
    for (name, spec, reason, message) in cases {
        let stalled = refused(&stage, name, &spec, reason).await;
        assert!(stalled.contains(message), "{name}: {stalled}");
    }
    // What is fixed is ready.
    stage.topic("value", "config: {retention.ms: '7200000'}").await;
    stage.says("value", "True InSync").await;
}

#[tokio::test]
async fn what_kafka_refused_stays_as_others_set_it() {
    let stage = Stage::begin("refused-setting").await;
    let kafka_name = stage.kafka_name("orders");
    let theirs = setting("retention.ms", "7200000");
    let made = NewTopic { name: kafka_name.clone(), partitions: Some(1), replicas: None, config: theirs.clone() };
    stage.kafka.create_topics(&[made]).await.unwrap();
    refused(&stage, "orders", "partitions: 1, config: {retention.ms: soon}", "SettingRefused").await;

    stage.topic("orders", "partitions: 1").await;
    let status = stage.says("orders", "True InSync").await;
    assert_eq!(stage.settings(&kafka_name).await, theirs);
    assert!(status.config_keys.is_empty() && status.config_underway.is_empty(), "{status:?}");
}

#[tokio::test]
async fn a_huge_setting_is_taken_by_kafka_or_refused_by_the_api_server() {
    let stage = Stage::begin("huge").await;
    let replicas = (0..4_000).map(|partition| format!("{partition}:1")).collect::<Vec<_>>().join(",");
    stage.topic("orders", &format!("config: {{leader.replication.throttled.replicas: '{replicas}'}}")).await;
    stage.says("orders", "True InSync").await;
    assert_eq!(
        stage.settings(&stage.kafka_name("orders")).await,
        setting("leader.replication.throttled.replicas", &replicas)
    );

    let beyond = "x".repeat(32_768);
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {{name: beyond}}, spec: {{config: {{retention.ms: {beyond}}}}}}}"
    );
    let error = stage.apply::<Topic>(&yaml).await.unwrap_err().to_string();
    assert!(error.contains("spec.config.retention.ms") && error.contains("32767"), "{error}");
}

#[tokio::test]
async fn partitions_that_are_null_are_the_default() {
    let stage = Stage::begin("null").await;
    stage.topic("orders", "partitions: null, replicas: null").await;
    let status = stage.says("orders", "True InSync").await;
    assert_eq!((status.partitions, status.replicas), (Some(1), Some(1)));
}

#[tokio::test]
async fn whoever_creates_the_topic_first_it_is_adopted() {
    let stage = Stage::begin("race").await;
    let names: Vec<String> = (0..10).map(|index| format!("orders-{index}")).collect();
    let race = async |name: &String| {
        let kafka_name = stage.kafka_name(name);
        let others = [NewTopic { name: kafka_name.clone(), partitions: Some(1), replicas: None, config: [].into() }];
        let ours = stage.topic(name, "config: {retention.ms: '7200000'}");
        let (_, made) = futures::join!(ours, stage.kafka.create_topics(&others));
        made.unwrap();
        let id = stage.says(name, "True InSync").await.topic_id;
        assert_eq!(id, Some(stage.kafka_topic(&kafka_name).await.unwrap().id));
    };
    futures::future::join_all(names.iter().map(race)).await;
}
