//! Changes that wait until a person approves them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_crds::{ChangeKind, Topic};
use sluice_suite::{until, world::PATIENCE};

use crate::stage::{Stage, setting};

const HOUR: Duration = Duration::from_hours(1);

fn milliseconds_ago(age: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.checked_sub(age).unwrap().as_millis().try_into().unwrap()
}

async fn partitions(stage: &Stage, name: &str) -> usize {
    stage.kafka_topic(&stage.kafka_name(name)).await.unwrap().partitions.len()
}

#[tokio::test]
async fn more_partitions_wait_where_somebody_orders_by_key() {
    let stage = Stage::begin("growth").await;
    stage.topic("orders", "partitions: 1").await;
    stage.says("orders", "True InSync").await;
    stage.reader("unordered", "orders", "delivery: {ordering: None}").await;
    stage.topic("orders", "partitions: 2").await;
    assert_eq!(stage.says("orders", "True InSync").await.partitions, Some(2));

    stage.reader("ordered", "orders", "").await;
    let uses = |topic: &Topic| match topic.status.as_ref().unwrap().used_by.len() {
        2 => Ok(()),
        other => Err(format!("{other} users")),
    };
    stage.until("orders", "both use it", uses).await.unwrap();
    stage.topic("orders", "partitions: 3").await;
    let (first, message) = stage.withheld("orders").await;
    let change = &first.changes[0];
    assert_eq!((change.change, change.from.as_str(), change.to.as_str()), (ChangeKind::Grow, "2", "3"));
    assert!(message.contains("/ordered") && !message.contains("/unordered"), "{message}");
    assert!(message.contains(&format!("sluice.dev/approve={}", first.hash)), "{message}");

    // The approval of something else approves nothing.
    stage.topic("orders", "partitions: 4").await;
    let judge = |topic: &Topic| match &topic.status.as_ref().unwrap().pending {
        Some(pending) if pending.changes[0].to == "4" => Ok(pending.clone()),
        other => Err(format!("{other:?}")),
    };
    let second = stage.until("orders", "4 partitions are pending", judge).await.unwrap();
    assert_ne!(second.hash, first.hash);
    stage.approve("orders", &first.hash).await;
    stage.look_again::<Topic>("orders").await.unwrap();
    assert_eq!(stage.withheld("orders").await.0.hash, second.hash);
    assert_eq!(partitions(&stage, "orders").await, 2);

    stage.approve("orders", &second.hash).await;
    let grown = stage.says("orders", "True InSync").await;
    assert_eq!((grown.partitions, grown.pending), (Some(4), None));
}

#[tokio::test]
async fn a_retention_that_would_delete_records_waits() {
    let stage = Stage::begin("retention").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "config: {retention.ms: '7200000'}").await;
    stage.says("orders", "True InSync").await;
    // Nothing is there to be lost.
    stage.topic("orders", "config: {retention.ms: '7100000', retention.bytes: '1000000'}").await;
    stage.says("orders", "True InSync").await;

    stage.write(&kafka_name, milliseconds_ago(HOUR)).await;
    stage.topic("orders", "config: {retention.ms: '7000000', retention.bytes: '1000000'}").await;
    stage.says("orders", "True InSync").await;
    assert_eq!(stage.settings(&kafka_name).await["retention.ms"], "7000000", "the record is younger");

    stage.topic("orders", "config: {retention.ms: '60000', retention.bytes: '1000', segment.bytes: '1048576'}").await;
    let (pending, message) = stage.withheld("orders").await;
    let fields: Vec<_> = pending.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["spec.config[retention.bytes]", "spec.config[retention.ms]"]);
    assert!(message.contains("records older than 60000 ms would be deleted"), "{message}");
    let settings = stage.settings(&kafka_name).await;
    assert_eq!((settings["retention.ms"].as_str(), settings["segment.bytes"].as_str()), ("7000000", "1048576"));

    stage.approve("orders", &pending.hash).await;
    stage.says("orders", "True InSync").await;
    assert_eq!(stage.settings(&kafka_name).await["retention.ms"], "60000");
}

#[tokio::test]
async fn a_topic_of_somebody_else_gets_a_retention_that_would_delete_records_with_one_approval() {
    let stage = Stage::begin("adopted").await;
    let kafka_name = stage.kafka_name("orders");
    stage.make_kafka_topic(&kafka_name).await;
    stage.write(&kafka_name, milliseconds_ago(HOUR)).await;
    stage.topic("orders", "config: {retention.ms: '60000', segment.bytes: '1048576'}").await;
    let (pending, _) = stage.withheld("orders").await;
    let fields: Vec<_> = pending.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["spec.config[retention.ms]"]);
    assert_eq!(stage.settings(&kafka_name).await, setting("segment.bytes", "1048576"));

    stage.approve("orders", &pending.hash).await;
    assert_eq!(stage.says("orders", "True InSync").await.pending, None);
    assert_eq!(stage.settings(&kafka_name).await["retention.ms"], "60000");
}

#[tokio::test]
async fn a_setting_that_returns_to_a_shorter_default_waits_and_stays_ours() {
    let stage = Stage::begin("reset").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "config: {retention.ms: '-1', cleanup.policy: delete}").await;
    stage.says("orders", "True InSync").await;
    stage.write(&kafka_name, milliseconds_ago(24 * 8 * HOUR)).await;
    stage.topic("orders", "config: {cleanup.policy: compact}").await;
    let (pending, message) = stage.withheld("orders").await;
    assert!(message.contains("now they are kept for ever"), "{message}");
    assert!(message.contains("the cleanup policy would be \"compact\" instead of \"delete\""), "{message}");
    stage.approve("orders", &pending.hash).await;
    stage.says("orders", "True InSync").await;
    assert_eq!(stage.settings(&kafka_name).await, setting("cleanup.policy", "compact"));
}

#[tokio::test]
async fn a_topic_that_was_deleted_by_others_is_made_anew_only_with_approval() {
    let stage = Stage::begin("recreate").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "partitions: 2, config: {retention.ms: '7200000'}").await;
    let old = stage.says("orders", "True InSync").await.topic_id.unwrap();
    stage.delete_kafka_topic(&kafka_name).await;
    stage.touch::<Topic>("orders").await.unwrap();
    let (pending, message) = stage.withheld("orders").await;
    assert_eq!((pending.changes[0].change, &pending.changes[0].from), (ChangeKind::Recreate, &old));
    assert!(message.contains("somebody else deleted it"), "{message}");
    assert_eq!(stage.kafka_topic(&kafka_name).await, None);

    stage.approve("orders", &pending.hash).await;
    let anew = stage.says("orders", "True InSync").await;
    assert_eq!(anew.partitions, Some(2));
    assert_ne!(anew.topic_id, Some(old));
    assert_eq!(stage.settings(&kafka_name).await, setting("retention.ms", "7200000"));
}

#[tokio::test]
async fn a_topic_that_others_made_in_its_place_is_left_alone_until_that_is_approved() {
    let stage = Stage::begin("replaced").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "config: {retention.ms: '7200000'}").await;
    let old = stage.says("orders", "True InSync").await.topic_id.unwrap();
    stage.delete_kafka_topic(&kafka_name).await;
    let another = stage.make_kafka_topic(&kafka_name).await;
    // Nothing happens in Kubernetes: the look at all topics finds it, which may have come while there was none.
    let is_noticed = |topic: &Topic| match &topic.status.as_ref().unwrap().pending {
        Some(pending) if pending.changes[0].change == ChangeKind::Adopt => Ok(()),
        other => Err(format!("{other:?}")),
    };
    stage.until("orders", "another topic is noticed", is_noticed).await.unwrap();
    let (pending, message) = stage.withheld("orders").await;
    let change = &pending.changes[0];
    assert_eq!((change.change, &change.from, &change.to), (ChangeKind::Adopt, &old, &another));
    assert!(message.contains("somebody else made another one of that name"), "{message}");
    assert_eq!(stage.settings(&kafka_name).await, [].into(), "it is not ours to change");

    stage.approve("orders", &pending.hash).await;
    assert_eq!(stage.says("orders", "True InSync").await.topic_id, Some(another));
    until("it has our setting", PATIENCE, || async {
        let settings = stage.settings(&kafka_name).await;
        if settings == setting("retention.ms", "7200000") { Ok(()) } else { Err(format!("{settings:?}")) }
    })
    .await
    .unwrap();
}
