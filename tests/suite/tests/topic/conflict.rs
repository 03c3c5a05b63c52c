//! Two Topics for one Kafka topic.

use sluice_crds::Topic;
use sluice_suite::world::condition;

use crate::stage::Stage;

#[tokio::test]
async fn the_first_has_the_topic_and_the_second_takes_over_once_it_is_gone() {
    let stage = Stage::begin("conflict").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "partitions: 2").await;
    let id = stage.says("orders", "True InSync").await.topic_id;
    stage.topic("a-copy", &format!("topicName: {kafka_name}, partitions: 3, deletionPolicy: Delete")).await;
    let lost = stage.says("a-copy", "False Conflict").await;
    let message = condition(&lost.conditions, "Stalled");
    assert!(message.contains(&format!("belongs to Topic {}/orders", stage.namespace)), "{message}");
    assert_eq!((lost.topic_id, lost.topic_name), (None, Some(kafka_name.clone())));
    stage.look_again::<Topic>("orders").await.unwrap();
    assert_eq!(stage.says("orders", "True InSync").await.partitions, Some(2), "the winner stays the winner");

    stage.delete::<Topic>("orders").await;
    let heir = stage.says("a-copy", "True InSync").await;
    assert_eq!((heir.topic_id, heir.partitions), (id, Some(3)));
}

#[tokio::test]
async fn a_loser_that_is_deleted_takes_nothing_with_it() {
    let stage = Stage::begin("loser").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "").await;
    stage.says("orders", "True InSync").await;
    stage.topic("copy", &format!("topicName: {kafka_name}, deletionPolicy: Delete")).await;
    stage.says("copy", "False Conflict").await;
    stage.delete::<Topic>("copy").await;
    stage.gone("copy").await;
    assert!(stage.kafka_topic(&kafka_name).await.is_some());
}

#[tokio::test]
async fn names_that_kafkas_metrics_cannot_tell_apart_are_one() {
    let stage = Stage::begin("collision").await;
    stage.topic("orders.new", "").await;
    stage.says("orders.new", "True InSync").await;
    let second = stage.kafka_name("orders_new");
    stage.topic("second", &format!("topicName: {second}")).await;
    let lost = stage.says("second", "False Conflict").await;
    let message = condition(&lost.conditions, "Stalled");
    assert!(message.contains("cannot be told apart in Kafka's metrics"), "{message}");
}

#[tokio::test]
async fn two_names_of_one_kafka_cluster_are_one() {
    let stage = Stage::begin("alias").await;
    stage.topic("orders", "").await;
    stage.says("orders", "True InSync").await;
    stage.topic("copy", &format!("topicName: {}, cluster: alias", stage.kafka_name("orders"))).await;
    stage.says("copy", "False Conflict").await;
    stage.delete::<Topic>("orders").await;
    stage.says("copy", "True InSync").await;
}
