//! A Kafka cluster that goes away and comes back: its Topics say so, and are ready again as soon as it answers.

use std::time::{Duration, Instant};

use sluice_cluster::{Component, Part, testing::OwnCluster};
use sluice_crds::Topic;
use sluice_suite::{Stage, world::condition};
use tokio::task;

use crate::ALONE;

/// A cluster that does not answer is asked again every 5 s.
const NOTICED: Duration = Duration::from_secs(10);

async fn says(stage: &Stage, what: &str) {
    let judge = |topic: &Topic| {
        let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with(what) { Ok(()) } else { Err(ready) }
    };
    stage.until("orders", what, judge).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_waited_for_kafka_is_ready_as_soon_as_kafka_answers() {
    let _alone = ALONE.lock().await;
    let kafka = task::spawn_blocking(|| OwnCluster::up("suite-outage", &[Part::Kafka]).unwrap()).await.unwrap();
    let broker = kafka.component(Component::Kafka);
    let stage = Stage::begin("outage").await.unwrap();
    // What other tests have left would be made in this Kafka too.
    let mut launch = stage.launch_apart("outage").await.unwrap();
    launch.bootstrap = kafka.kafka_bootstrap();
    let _operator = stage.start(&launch).await.unwrap();

    let killed = broker.clone();
    task::spawn_blocking(move || killed.kill().unwrap()).await.unwrap();
    stage
        .apply::<Topic>("{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {}}")
        .await
        .unwrap();
    says(&stage, "False KafkaUnreachable").await;
    task::spawn_blocking(move || broker.start().unwrap()).await.unwrap();
    let answers = Instant::now();
    says(&stage, "True InSync").await;
    println!("ready {:?} after Kafka was", answers.elapsed());
    assert!(answers.elapsed() < NOTICED, "{:?}", answers.elapsed());
    task::spawn_blocking(|| drop(kafka)).await.unwrap();
}
