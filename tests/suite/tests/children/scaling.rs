//! An operator that starts keeps the workers that the lag needed, also where it needed none.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use sluice_crds::{Integration, KafkaConnection, Topic};
use sluice_kafka::{OffsetAt, OutgoingRecord, TopicPartition};
use sluice_suite::{
    Stage, until,
    world::{PATIENCE, judge_topic, producer},
};

use crate::{apply_integration, template};

fn partition(stage: &Stage, partition: i32) -> TopicPartition {
    TopicPartition { topic: format!("{}.orders", stage.namespace), partition }
}

async fn write(stage: &Stage, count: usize) {
    let connection = KafkaConnection { bootstrap_servers: vec![stage.bootstrap.clone()], ..KafkaConnection::default() };
    let producer = producer(&connection).unwrap();
    let topic = partition(stage, 0).topic;
    for _ in 0..count {
        producer.send(OutgoingRecord::new(topic.as_str(), "{}")).await.unwrap();
    }
}

/// Commits for the group, which has no members.
async fn commit(stage: &Stage, offsets: &BTreeMap<TopicPartition, i64>) {
    let group = format!("{}.to-api", stage.namespace);
    until("the offsets are committed", PATIENCE, || async {
        let answers = stage.kafka.commit_group_offsets(&group, offsets).await.map_err(|error| error.to_string())?;
        if answers.values().all(Result::is_ok) { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await
    .unwrap();
}

/// Each number of workers that was ever wanted makes another one of these.
async fn generation(stage: &Stage) -> Option<i64> {
    stage.api::<Deployment>().get("to-api-worker").await.unwrap().metadata.generation
}

async fn scale(stage: &Stage, cooldown: &str, expected: i32) {
    let scaling = format!("scaling: {{minReplicas: 0, maxReplicas: 10, targetLag: 10, cooldown: {cooldown}}}");
    apply_integration(stage, &scaling).await;
    template(stage, "to-api-worker", expected).await;
    let judge = |integration: &Integration| {
        let wanted = integration.status.as_ref().and_then(|status| status.wanted_replicas);
        if wanted == Some(expected) { Ok(()) } else { Err(format!("{wanted:?}")) }
    };
    stage.until("to-api", "it is written down", judge).await.unwrap();
}

#[tokio::test]
async fn an_operator_that_starts_keeps_the_workers_that_run_also_where_none_does() {
    let stage = Stage::begin("restarted").await.unwrap();
    let launch = stage.launch_apart("restarted").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    stage.apply_topic("orders", "partitions: 2").await.unwrap();
    stage.until("orders", "in sync", |topic: &Topic| judge_topic(topic, "True").map(drop)).await.unwrap();
    let partitions = [partition(&stage, 0), partition(&stage, 1)];
    commit(&stage, &partitions.iter().cloned().map(|partition| (partition, 0)).collect()).await;
    write(&stage, 100).await;
    scale(&stage, "1h", 2).await;
    stage.lag_is(&operator, "100").await.unwrap();

    // Nothing waits any more, and fewer would do. But nobody has seen that for an hour.
    drop(operator);
    let before = generation(&stage).await;
    let ends = stage.kafka.list_offsets(&partitions, OffsetAt::Latest).await.unwrap();
    commit(&stage, &ends.into_iter().map(|(partition, end)| (partition, end.unwrap())).collect()).await;
    let operator = stage.start(&launch).await.unwrap();
    stage.lag_is(&operator, "0").await.unwrap();
    operator.looks_again::<Integration>(&stage, "to-api").await.unwrap();
    assert_eq!(generation(&stage).await, before, "{}", operator.log());

    scale(&stage, "1s", 0).await;
    drop(operator);
    let before = generation(&stage).await;
    let operator = stage.start(&launch).await.unwrap();
    operator.looks_again::<Integration>(&stage, "to-api").await.unwrap();
    assert_eq!(generation(&stage).await, before, "{}", operator.log());
    write(&stage, 5).await;
    template(&stage, "to-api-worker", 1).await;
}
