//! Two names of one Kafka cluster: who uses a topic under the one holds it under the other.

use kube::api::DeleteParams;
use sluice_crds::{Integration, Topic};
use sluice_suite::{
    Stage, until,
    world::{PATIENCE, condition, judge_topic},
};

use crate::ALONE;

async fn says(stage: &Stage, what: &str) -> String {
    let judge = |topic: &Topic| judge_topic(topic, what).map(|(status, _)| condition(&status.conditions, "Stalled"));
    stage.until("orders", what, judge).await.unwrap()
}

/// Waits until Kafka has the topic, or has it no more.
async fn kafka_has(stage: &Stage, name: &str, wanted: bool) {
    until(&format!("Kafka has {name:?}: {wanted}"), PATIENCE, || async {
        let mut described = stage.kafka.describe_topics(&[name]).await.map_err(|error| error.to_string())?;
        let found = described.remove(name).unwrap().unwrap();
        if found.is_some() == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reader_under_another_name_of_the_kafka_cluster_keeps_its_topic_also_from_an_operator_that_begins() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("alias-reader").await.unwrap();
    let launch = stage.launch_apart("alias-reader").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    let kafka_name = format!("{}.orders", stage.namespace);
    stage.apply_topic("orders", "partitions: 1, deletionPolicy: Delete").await.unwrap();
    says(&stage, "True InSync").await;
    // No Topic is on the cluster of that name.
    let source = format!("{{kafka: {{cluster: alias, topics: ['{kafka_name}']}}}}");
    let sink = "{http: {url: 'http://api.example/'}}";
    let spec = format!("{{source: {source}, sink: {sink}, deadLetters: {{topicRef: {{name: dead}}}}}}");
    let metadata = "{name: reader}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    let user = format!("Integration/{}/reader", stage.namespace);
    let is_used = |topic: &Topic| {
        let used_by = topic.status.clone().unwrap_or_default().used_by;
        if used_by == [user.clone()] { Ok(()) } else { Err(format!("{used_by:?}")) }
    };
    stage.until("orders", "it is known who reads it", is_used).await.unwrap();
    drop(operator);

    // An operator that has just begun does not know yet that the two are one.
    stage.apply_topic("orders", "partitions: 2, deletionPolicy: Delete").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    assert!(says(&stage, "False Withheld").await.contains(&user));
    drop(operator);

    stage.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    assert!(says(&stage, "False InUse").await.contains(&user));
    kafka_has(&stage, &kafka_name, true).await;

    stage.api::<Integration>().delete("reader", &DeleteParams::default()).await.unwrap();
    let api = stage.api::<Topic>();
    until("the Topic is gone", PATIENCE, || async {
        match api.get_opt("orders").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(topic) => Err(format!("{topic:?}")),
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    kafka_has(&stage, &kafka_name, false).await;
}
