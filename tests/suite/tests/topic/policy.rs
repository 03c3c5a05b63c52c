//! How far Sluice goes under each management policy, and what a Topic costs.

use serde_json::Value;
use sluice_crds::{ChangeKind, Topic};
use sluice_suite::world::condition;

use crate::stage::{Stage, setting};

#[tokio::test]
async fn an_observed_topic_shows_its_drift_and_stays_ready_and_unchanged() {
    let stage = Stage::begin("observe").await;
    let kafka_name = stage.kafka_name("orders");
    stage.make_kafka_topic(&kafka_name).await;
    stage.topic("orders", "managementPolicy: Observe, partitions: 3, config: {retention.ms: '7200000'}").await;
    let seen = stage.says("orders", "True InSync").await;
    let ready = condition(&seen.conditions, "Ready");
    assert!(ready.contains("differs in spec.partitions, spec.config[retention.ms]"), "{ready}");
    assert_eq!(condition(&seen.conditions, "Stalled"), "none");
    let pending = seen.pending.unwrap();
    let changes: Vec<_> = pending.changes.iter().map(|change| (change.change, change.approvable)).collect();
    assert_eq!(changes, [(ChangeKind::Grow, false), (ChangeKind::Set, false)]);

    // Nothing approves what the policy forbids.
    stage.approve("orders", &pending.hash).await;
    stage.look_again::<Topic>("orders").await.unwrap();
    assert_eq!(stage.kafka_topic(&kafka_name).await.unwrap().partitions.len(), 1);
    assert_eq!(stage.settings(&kafka_name).await, [].into());

    // Observe is a Topic's pause: it goes on where it stopped.
    stage.topic("orders", "managementPolicy: Full, partitions: 3, config: {retention.ms: '7200000'}").await;
    assert_eq!(stage.says("orders", "True InSync").await.partitions, Some(3));
}

#[tokio::test]
async fn a_topic_that_is_only_created_is_created_and_then_left_alone() {
    let stage = Stage::begin("create-only").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "managementPolicy: CreateOnly, partitions: 1, config: {retention.ms: '7200000'}").await;
    stage.says("orders", "True InSync").await;
    assert_eq!(stage.settings(&kafka_name).await, setting("retention.ms", "7200000"));
    stage.topic("orders", "managementPolicy: CreateOnly, partitions: 2").await;
    let seen = stage.says("orders", "True InSync").await;
    let fields: Vec<_> = seen.pending.unwrap().changes.into_iter().map(|change| change.field).collect();
    assert_eq!(fields, ["spec.partitions", "spec.config[retention.ms]"]);
    assert_eq!(stage.kafka_topic(&kafka_name).await.unwrap().partitions.len(), 1);
    assert_eq!(stage.settings(&kafka_name).await, setting("retention.ms", "7200000"));
}

/// What the operator asked of the API server in the stage's namespace, from the API server's own log; nothing where that
/// cannot be read.
fn requests(stage: &Stage) -> Vec<String> {
    let log = stage.audit_log.as_ref().map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let by_operator = events.filter(|event| {
        event["user"]["username"] == "system:serviceaccount:sluice-system:sluice-operator"
            && event["objectRef"]["namespace"] == stage.namespace.as_str()
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    by_operator
        .map(|event| {
            let (object, verb) = (&event["objectRef"], text(&event["verb"]));
            [verb, text(&object["resource"]), text(&object["subresource"])].join(" ").trim().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_new_topic_costs_at_most_two_writes_and_no_read() {
    let stage = Stage::begin("budget").await;
    stage.topic("orders", "partitions: 2").await;
    stage.says("orders", "True InSync").await;
    stage.look_again::<Topic>("orders").await.unwrap();
    let requests = requests(&stage);
    assert!(requests.len() <= 2 && requests.iter().all(|request| request == "patch topics status"), "{requests:?}");
}

#[tokio::test]
async fn a_finalizer_is_one_write_more() {
    let stage = Stage::begin("budget-held").await;
    stage.topic("orders", "deletionPolicy: Delete").await;
    stage.says("orders", "True InSync").await;
    stage.look_again::<Topic>("orders").await.unwrap();
    let requests = requests(&stage);
    let finalizers = requests.iter().filter(|request| *request == "patch topics").count();
    assert!(requests.len() <= 3 && finalizers == 1, "{requests:?}");
}
