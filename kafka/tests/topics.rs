//! Topics on a real broker: making, describing, growing, deleting, and each topic's own errors.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use broker::{admin, created, described, fresh, plain_topic, until};
use sluice_kafka::{Admin, Error, ErrorCode, KafkaError, NewTopic, PartitionDescription, PerTopic};

#[tokio::test]
async fn the_cluster_is_described_with_its_id_and_brokers() {
    let cluster = admin().describe_cluster().await.unwrap();
    assert_eq!(cluster.id.len(), 22, "{cluster:?}");
    assert!(cluster.brokers.iter().any(|broker| Some(broker.id) == cluster.controller), "{cluster:?}");
    assert!(cluster.brokers.iter().all(|broker| broker.port != 0 && !broker.host.is_empty()), "{cluster:?}");
}

#[tokio::test]
async fn a_topic_is_made_with_one_partition_unless_more_are_asked_for() {
    let admin = admin();
    let one = created(&admin, plain_topic("one")).await;
    let three = created(&admin, NewTopic { partitions: Some(3), replicas: Some(1), ..plain_topic("three") }).await;
    assert_eq!(described(&admin, &one).await.unwrap().partitions.len(), 1);
    let broker = admin.describe_cluster().await.unwrap().brokers[0].id;
    let partition = |partition| PartitionDescription {
        partition,
        leader: Some(broker),
        replicas: vec![broker],
        in_sync: vec![broker],
    };
    assert_eq!(described(&admin, &three).await.unwrap().partitions, [0, 1, 2].map(partition));
}

#[tokio::test]
async fn a_topic_keeps_its_id_while_it_grows_and_gets_another_when_it_is_made_anew() {
    let admin = admin();
    let name = created(&admin, plain_topic("id")).await;
    let first = described(&admin, &name).await.unwrap();
    assert_eq!(admin.create_partitions(&[(&name, 4)]).await.unwrap(), [(name.clone(), Ok(()))].into());
    let look = async || described(&admin, &name).await;
    let grown = until(look, |topic| topic.as_ref().is_some_and(|topic| topic.partitions.len() == 4)).await;
    assert_eq!(grown.unwrap().id, first.id);

    assert_eq!(admin.delete_topics(&[&name]).await.unwrap(), [(name.clone(), Ok(()))].into());
    until(look, Option::is_none).await;
    created(&admin, NewTopic { name: name.clone(), ..plain_topic("id") }).await;
    assert_ne!(described(&admin, &name).await.unwrap().id, first.id);
}

#[tokio::test]
async fn who_may_not_act_sends_nothing() {
    let may_act = Arc::new(AtomicBool::new(false));
    let allowed = Arc::clone(&may_act);
    let guarded = admin().only_with(move |_| allowed.load(Relaxed).then_some(()));
    let topic = plain_topic("guarded");
    let refused = guarded.create_topics(slice::from_ref(&topic)).await.unwrap_err();
    assert!(matches!(refused, Error::NotAllowed { .. }) && refused.is_retriable(), "{refused}");
    assert!(described(&admin(), &topic.name).await.is_none());
    may_act.store(true, Relaxed);
    let made = guarded.create_topics(slice::from_ref(&topic)).await.unwrap();
    assert_eq!(made, [(topic.name.clone(), Ok(()))].into());
}

#[tokio::test]
async fn an_id_is_spelt_as_kafka_spells_it() {
    let admin = admin();
    let topics: Vec<_> = (0..50).map(|_| plain_topic("spelling")).collect();
    admin.create_topics(&topics).await.unwrap();
    for name in topics.iter().map(|topic| &topic.name) {
        let id = until(async || described(&admin, name).await, Option::is_some).await.unwrap().id;
        let spelling = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        assert!(id.len() == 22 && id.chars().all(spelling), "{name} has the id {id}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_topic_is_its_own_error() {
    let admin = admin();
    let existing = created(&admin, plain_topic("existing")).await;
    let new = plain_topic("new");
    let greedy = NewTopic { replicas: Some(1000), ..plain_topic("greedy") };
    let empty = NewTopic { partitions: Some(0), ..plain_topic("empty") };
    let wrong = NewTopic { config: [("retention.ms".into(), "soon".into())].into(), ..plain_topic("wrong") };
    let odd = NewTopic { config: [("retention".into(), "1".into())].into(), ..plain_topic("odd") };
    let named = |name: &str| NewTopic { name: name.into(), ..plain_topic("") };
    let illegal = named("no spaces please");
    let answers = admin
        .create_topics(&[
            named(&existing),
            new.clone(),
            greedy.clone(),
            empty.clone(),
            wrong.clone(),
            odd.clone(),
            illegal.clone(),
            named(""),
        ])
        .await
        .unwrap();

    let expected = [
        (existing.as_str(), ErrorCode::TOPIC_ALREADY_EXISTS, "already exists"),
        (&greedy.name, ErrorCode::INVALID_REPLICATION_FACTOR, "only 1 broker(s) are registered"),
        (&empty.name, ErrorCode::INVALID_PARTITIONS, "non-positive"),
        (&wrong.name, ErrorCode::INVALID_CONFIG, "Invalid value soon for configuration retention.ms"),
        (&odd.name, ErrorCode::INVALID_CONFIG, "Unknown topic config name: retention"),
        (&illegal.name, ErrorCode::INVALID_TOPIC, "other than ASCII alphanumerics"),
    ];
    for (topic, code, message) in expected {
        assert_error(&answers, topic, code, message);
    }
    assert!(answers[""].is_err());
    assert_eq!(answers[&new.name], Ok(()));
}

#[tokio::test]
async fn partitions_cannot_be_taken_away() {
    let admin = admin();
    let name = created(&admin, NewTopic { partitions: Some(3), ..plain_topic("shrink") }).await;
    let missing = fresh("missing");
    let answers = admin.create_partitions(&[(&name, 2), (&missing, 2)]).await.unwrap();
    assert_error(&answers, &name, ErrorCode::INVALID_PARTITIONS, "3");
    assert_error(&answers, &missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "");
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_no_error_to_describe_and_one_to_delete() {
    let admin = admin();
    let (existing, missing) = (created(&admin, plain_topic("there")).await, fresh("missing"));
    let described = admin.describe_topics(&[&existing, &missing]).await.unwrap();
    assert!(matches!(described[&existing], Ok(Some(_))), "{described:?}");
    assert_eq!(described[&missing], Ok(None));
    let deleted = admin.delete_topics(&[&missing]).await.unwrap();
    assert_error(&deleted, &missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "");
}

#[tokio::test]
async fn nothing_to_ask_for_is_nothing_to_wait_for() {
    let nobody = Admin::connect(&broker::connection_to("127.0.0.1:9")).unwrap();
    assert_eq!(nobody.describe_topics(&[]).await.unwrap(), [].into());
    assert_eq!(nobody.create_topics(&[]).await.unwrap(), [].into());
}

fn assert_error(answers: &PerTopic<()>, topic: &str, code: ErrorCode, message: &str) {
    match &answers[topic] {
        Err(KafkaError { code: found, message: words }) if *found == code && words.contains(message) => {}
        answer => panic!("{topic} should be {code} with {message:?}, it is {answer:?}"),
    }
}
