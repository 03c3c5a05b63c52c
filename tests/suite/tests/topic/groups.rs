//! What becomes of the consumer group of an Integration that is deleted.

use std::{path::Path, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use sluice_crds::{ConsumerGroup, INTEGRATION_FINALIZER, Integration, Topic};
use sluice_kafka::{
    TopicPartition,
    consumer::{BaseConsumer, Consumer as _, ConsumerSettings, consumer_config},
};
use sluice_suite::{
    audit, until,
    world::{PATIENCE, condition},
};

use crate::stage::Stage;

const DELETE: &str = "deletionPolicy: Delete";

/// A world with a Topic, and a group that has read of it.
async fn stage(name: &str, group: &str) -> (Stage, String) {
    let stage = Stage::begin(name).await;
    stage.topic("orders", "").await;
    stage.says("orders", "True InSync").await;
    let group = format!("{}.{group}", stage.namespace);
    let offsets = [(TopicPartition { topic: stage.kafka_name("orders"), partition: 0 }, 0)].into();
    until("an offset is committed", PATIENCE, || async {
        let answers = stage.kafka.commit_group_offsets(&group, &offsets).await.map_err(|error| error.to_string())?;
        if answers.values().all(Result::is_ok) { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await
    .unwrap();
    (stage, group)
}

/// An Integration that reads the Topic in a group, with these further fields, whose group is recorded.
async fn integration(stage: &Stage, name: &str, group: &str, rest: &str) -> Integration {
    let source = format!("{{topic: {{name: orders}}, group: {group}}}");
    let spec = format!("{{source: {source}, sink: {{http: {{url: 'http://api.example/'}}}}, {rest}}}");
    let metadata = format!("{{name: {name}}}");
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    let wanted = Some(ConsumerGroup { cluster: "default".into(), name: group.into() });
    let recorded = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        if status.consumer_group == wanted { Ok(integration.clone()) } else { Err(format!("{status:?}")) }
    };
    stage.until(name, "its group is recorded", recorded).await.unwrap()
}

fn finalizers(integration: &Integration) -> Vec<String> {
    integration.metadata.finalizers.clone().unwrap_or_default()
}

/// Whether Kafka has offsets of the group.
async fn is_there(stage: &Stage, group: &str) -> bool {
    !stage.kafka.group_offsets(group).await.unwrap().is_empty()
}

#[tokio::test]
async fn a_group_outlives_its_integration_which_has_no_finalizer() {
    let (stage, group) = stage("group-retained", "to-api").await;
    let integration = integration(&stage, "to-api", &group, "").await;
    assert_eq!(finalizers(&integration), Vec::<String>::new());
    stage.delete::<Integration>("to-api").await;
    stage.is_gone::<Integration>("to-api").await;
    assert!(is_there(&stage, &group).await);
}

#[tokio::test]
async fn a_group_goes_with_its_integration_once_its_workers_have_ended_where_that_is_asked_for() {
    let (stage, group) = stage("group-deleted", "to-api").await;
    let integration = integration(&stage, "to-api", &group, &format!("replicas: 2, {DELETE}")).await;
    assert_eq!(finalizers(&integration), [INTEGRATION_FINALIZER]);
    stage.until("to-api-worker", "it is made", |_: &Deployment| Ok(())).await.unwrap();
    stage.delete::<Integration>("to-api").await;
    stage.is_gone::<Integration>("to-api").await;
    assert!(!is_there(&stage, &group).await);
    stage.logged(&["Workers are told to end", &stage.namespace]).await;
    stage.logged(&["Consumer group deleted", &stage.namespace]).await;

    // What the operator wrote into the Integration itself, by the API server's own log, where that can be read.
    let Some(path) = &stage.audit_log else { return };
    let expected = [
        json!([{"op": "add", "path": "/metadata/finalizers", "value": [INTEGRATION_FINALIZER]}]),
        json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
    ];
    // The log is written a moment after the requests are answered.
    until("the finalizers are written, and nothing else", PATIENCE, || async {
        let written = written(path, &stage.namespace);
        if written == expected { Ok(()) } else { Err(format!("{written:?}")) }
    })
    .await
    .unwrap();
}

/// What the operator wrote into Integrations of a namespace themselves, without the conditions it wrote that under, and without what was
/// refused and made again, as it spoke of an older version.
fn written(audit_log: &Path, namespace: &str) -> Vec<Value> {
    let requests = audit::requests(audit_log).unwrap().into_iter();
    let written = requests.filter(|request| {
        let about = &request.object_ref;
        request.is_write()
            && about.resource == "integrations"
            && about.namespace == namespace
            && about.subresource.is_empty()
            && request.user_agent.starts_with("sluice-operator/")
    });
    let mut written: Vec<_> = written.map(|request| unconditional(request.request_object)).collect();
    written.dedup();
    written
}

/// What a patch changes; it has to name what was looked at.
fn unconditional(mut patch: Value) -> Value {
    let operations = patch.as_array_mut().expect("a list of operations");
    let all = operations.len();
    operations.retain(|operation| operation["op"] != "test");
    assert!(operations.len() < all, "it names nothing that was looked at: {patch}");
    patch
}

#[tokio::test]
async fn the_finalizer_of_an_integration_follows_the_policy() {
    let (stage, group) = stage("group-switched", "to-api").await;
    integration(&stage, "to-api", &group, DELETE).await;
    integration(&stage, "to-api", &group, "deletionPolicy: Retain").await;
    let has_none = |integration: &Integration| match finalizers(integration).as_slice() {
        [] => Ok(()),
        some => Err(format!("{some:?}")),
    };
    stage.until("to-api", "it has no finalizer", has_none).await.unwrap();
}

#[tokio::test]
async fn a_group_that_another_integration_names_is_left_to_it() {
    let (stage, group) = stage("group-shared", "both").await;
    integration(&stage, "one", &group, DELETE).await;
    integration(&stage, "two", &group, DELETE).await;
    stage.delete::<Integration>("one").await;
    stage.is_gone::<Integration>("one").await;
    assert!(is_there(&stage, &group).await);
    let two = format!("Integration/{}/two", stage.namespace);
    stage.logged(&["Integration let go", &two]).await;

    stage.delete::<Integration>("two").await;
    stage.is_gone::<Integration>("two").await;
    assert!(!is_there(&stage, &group).await);
}

#[tokio::test]
async fn a_group_with_members_is_not_deleted_until_they_have_left() {
    let (stage, group) = stage("group-members", "to-api").await;
    integration(&stage, "to-api", &group, DELETE).await;
    let settings = ConsumerSettings::default();
    let member: BaseConsumer = consumer_config(&stage.connection(), &group, &settings).unwrap().create().unwrap();
    member.subscribe(&[&stage.kafka_name("orders")]).unwrap();
    until("it is a member", PATIENCE, || async {
        drop(member.poll(Duration::ZERO));
        let partitions = member.assignment().map_err(|error| error.to_string())?;
        if partitions.count() > 0 { Ok(()) } else { Err("no partition yet".to_owned()) }
    })
    .await
    .unwrap();
    stage.delete::<Integration>("to-api").await;
    let waits = |integration: &Integration| {
        let stalled = condition(&integration.status.clone().unwrap_or_default().conditions, "Stalled");
        if stalled.starts_with("True InUse") && stalled.contains("sluice at ") { Ok(()) } else { Err(stalled) }
    };
    stage.until("to-api", "it waits for the member", waits).await.unwrap();
    assert!(is_there(&stage, &group).await);

    // Dropped, it leaves its group.
    drop(member);
    stage.is_gone::<Integration>("to-api").await;
    assert!(!is_there(&stage, &group).await);
}

#[tokio::test]
async fn a_namespace_does_not_wait_for_a_group_on_a_kafka_that_stays_away() {
    let stage = Stage::begin("group-wedged").await;
    let source = "{kafka: {cluster: away, topics: [legacy]}}";
    let spec = format!("{{source: {source}, sink: {{http: {{url: 'http://api.example/'}}}}, replicas: 0, {DELETE}}}");
    let metadata = "{name: to-api}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    let recorded = |integration: &Integration| {
        let group = integration.status.clone().unwrap_or_default().consumer_group;
        group.map(drop).ok_or_else(|| "no group".to_owned())
    };
    stage.until("to-api", "its group is recorded", recorded).await.unwrap();
    stage.until("to-api-dead-letters", "it is made", |_: &Topic| Ok(())).await.unwrap();

    stage.delete_namespace().await;
    stage.logged(&["Integration let go", &stage.namespace]).await;
    let metrics = stage.metrics().await;
    assert!(metrics.contains(r#"sluice_operator_integrations_released_total{reason="GivenUp"} 1"#), "{metrics}");
    let (reason, concerns, note) = stage.told_at_namespace().await;
    assert_eq!((reason.as_str(), concerns.as_str()), ("LeftInKafka", "Integration/to-api"));
    let expected =
        format!("Integration \"to-api\" was let go and its consumer group \"{}.to-api\" stays", stage.namespace);
    assert!(note.starts_with(&expected), "{note}");
}
