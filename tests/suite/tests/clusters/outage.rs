//! A Kafka cluster that goes away and comes back: its Topics and Integrations say so, and are as they were as soon as it answers.

use std::time::{Duration, Instant};

use sluice_cluster::{Component, Part, testing::OwnCluster};
use sluice_crds::{Integration, KafkaConnection, Topic};
use sluice_kafka::{Admin, TopicPartition};
use sluice_suite::{
    Stage, losing, until,
    world::{PATIENCE, condition},
};
use tokio::task;

use crate::ALONE;

/// A cluster that does not answer is asked again every 5 s.
const NOTICED: Duration = Duration::from_secs(10);
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, spec: {\
     source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}, replicas: 0}}";

async fn says(stage: &Stage, what: &str) {
    let judge = |topic: &Topic| {
        let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with(what) { Ok(()) } else { Err(ready) }
    };
    stage.until("orders", what, judge).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_topics_wait_and_lag_is_unknown() {
    let _alone = ALONE.lock().await;
    let kafka = task::spawn_blocking(|| OwnCluster::up("suite-outage", &[Part::Kafka]).unwrap()).await.unwrap();
    let broker = kafka.component(Component::Kafka);
    let stage = Stage::begin("outage").await.unwrap();
    // What other tests have left would be made in this Kafka too.
    let mut launch = stage.launch_apart("outage").await.unwrap();
    launch.bootstrap = kafka.kafka_bootstrap();
    launch.clusters.clear();
    let operator = stage.start(&launch).await.unwrap();

    let killed = broker.clone();
    task::spawn_blocking(move || killed.kill().unwrap()).await.unwrap();
    stage
        .apply::<Topic>("{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {}}")
        .await
        .unwrap();
    says(&stage, "False KafkaUnreachable").await;
    let started = broker.clone();
    task::spawn_blocking(move || started.start().unwrap()).await.unwrap();
    let answers = Instant::now();
    let bootstrap_servers = vec![kafka.kafka_bootstrap()];
    let admin = Admin::connect(&KafkaConnection { bootstrap_servers, ..KafkaConnection::default() }).unwrap();
    // A Kafka that has just begun may be slow.
    let asks = async || drop(admin.describe_cluster().await);
    let ((), lost) = losing(asks, says(&stage, "True InSync")).await;
    let took = answers.elapsed();
    println!("ready {took:?} after Kafka was; {lost:?} were lost");
    assert!(took < NOTICED + lost, "{took:?}, of which {lost:?} were lost");

    let group = format!("{}.to-api", stage.namespace);
    let partition = TopicPartition { topic: format!("{}.orders", stage.namespace), partition: 0 };
    let offsets = [(partition, 0)].into();
    until("an offset is committed", PATIENCE, || async {
        let answers = admin.commit_group_offsets(&group, &offsets).await.map_err(|error| error.to_string())?;
        if answers.values().all(Result::is_ok) { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await
    .unwrap();
    stage.apply::<Integration>(INTEGRATION).await.unwrap();
    assert_eq!(stage.lag_is(&operator, "0").await.unwrap(), "none");
    let killed = broker.clone();
    task::spawn_blocking(move || killed.kill().unwrap()).await.unwrap();
    let why = stage.lag_is(&operator, "unknown").await.unwrap();
    assert!(why.starts_with("True KafkaUnreachable: "), "{why}");
    task::spawn_blocking(move || broker.start().unwrap()).await.unwrap();
    assert_eq!(stage.lag_is(&operator, "0").await.unwrap(), "none");
    task::spawn_blocking(|| drop(kafka)).await.unwrap();
}
