//! The real broker that the tests of this folder talk to, and names that no other run uses.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    fmt::Debug,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sluice_cluster::testing;
use sluice_kafka::{Admin, KafkaConnection, NewTopic, Producer, ProducerSettings, TopicDescription};

/// How to reach the broker that tests share.
pub(crate) fn connection() -> KafkaConnection {
    connection_to(testing::shared_kafka())
}

/// A connection to any address.
pub(crate) fn connection_to(address: &str) -> KafkaConnection {
    KafkaConnection { bootstrap_servers: vec![address.to_owned()], ..KafkaConnection::default() }
}

/// Patient with a broker that is busy with other tests.
pub(crate) fn admin() -> Admin {
    Admin::connect(&connection()).unwrap().with_timeout(Duration::from_mins(1))
}

/// A producer that waits for a broker which has only just started.
pub(crate) fn producer() -> Producer {
    let settings = ProducerSettings { patience: Duration::from_mins(1), ..ProducerSettings::default() };
    Producer::connect(&connection(), &settings).unwrap()
}

/// A name that is new in every run and every call.
pub(crate) fn fresh(purpose: &str) -> String {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("kafka-test.{purpose}.{now}-{}-{}", process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

/// A topic to be made, with a fresh name and nothing else said.
pub(crate) fn plain_topic(purpose: &str) -> NewTopic {
    NewTopic { name: fresh(purpose), partitions: None, replicas: None, config: [].into() }
}

/// Makes a topic, waits until it can be described, and gives its name back.
pub(crate) async fn created(admin: &Admin, topic: NewTopic) -> String {
    let name = topic.name.clone();
    assert_eq!(admin.create_topics(&[topic]).await.unwrap(), [(name.clone(), Ok(()))].into());
    until(async || described(admin, &name).await, Option::is_some).await;
    name
}

/// The topic as it is described now.
pub(crate) async fn described(admin: &Admin, topic: &str) -> Option<TopicDescription> {
    admin.describe_topics(&[topic]).await.unwrap().remove(topic).unwrap().unwrap()
}

/// Has one asker after the other ask until an answer comes within that time, which a machine that stands still for a moment may hinder.
pub(crate) async fn in_time<T>(limit: Duration, ask: impl AsyncFn() -> T) -> T {
    let mut took = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let answer = ask().await;
        took.push(start.elapsed());
        if start.elapsed() < limit {
            return answer;
        }
    }
    panic!("not within {limit:?}: {took:?}");
}

/// Looks again and again until what is seen is as wanted: brokers learn of a change a moment after it is confirmed.
pub(crate) async fn until<T: Debug>(look: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    const DEADLINE: Duration = Duration::from_mins(2);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let start = Instant::now();
    loop {
        pace.tick().await;
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}; last seen: {seen:?}");
    }
}
