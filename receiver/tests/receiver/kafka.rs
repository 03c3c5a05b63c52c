//! The broker, its topics, and what is in them.

use std::{
    collections::BTreeMap,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sluice_cluster::testing;
use sluice_crds::KafkaConnection;
use sluice_kafka::{
    Admin, NewTopic,
    consumer::{
        BaseConsumer, Consumer, ConsumerSettings, Headers, Message, Offset, TopicPartitionList, consumer_config,
    },
};

use crate::until;

/// A record as it is in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp: i64,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How to reach the broker that tests share.
pub(crate) fn connection() -> KafkaConnection {
    connection_to(testing::shared_kafka())
}

/// A connection to any address.
pub(crate) fn connection_to(address: impl Into<String>) -> KafkaConnection {
    KafkaConnection { bootstrap_servers: vec![address.into()], ..KafkaConnection::default() }
}

/// A topic that no other test and no other run has.
pub(crate) async fn topic(connection: &KafkaConnection, config: &[(&str, &str)]) -> String {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let name = format!("receiver-test.{now}-{}-{}", process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    let admin = Admin::connect(connection).unwrap().with_timeout(TIMEOUT);
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let topic = NewTopic { name: name.clone(), partitions: Some(1), replicas: None, config };
    assert_eq!(admin.create_topics(&[topic]).await.unwrap(), [(name.clone(), Ok(()))].into());
    let described = async || admin.describe_topics(&[&name]).await.unwrap().remove(&name).unwrap().unwrap();
    until(described, Option::is_some).await;
    name
}

/// All that is in a topic at this moment.
pub(crate) async fn records(connection: &KafkaConnection, topic: &str) -> Vec<Record> {
    let (connection, topic) = (connection.clone(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_all(&connection, &topic)).await.unwrap()
}

const TIMEOUT: Duration = Duration::from_mins(1);

/// A consumer of the topic, and where this ends. A broker that stood still has to be let in again first, and leads nothing until then.
fn consumer_of(connection: &KafkaConnection, topic: &str) -> (BaseConsumer, i64) {
    const ATTEMPT: Duration = Duration::from_secs(10);
    let config = consumer_config(connection, "receiver-test", &ConsumerSettings::default()).unwrap();
    let deadline = Instant::now() + TIMEOUT * 3;
    loop {
        let consumer: BaseConsumer = config.create().unwrap();
        match consumer.fetch_watermarks(topic, 0, ATTEMPT) {
            Ok((_, end)) => return (consumer, end),
            Err(error) => assert!(Instant::now() < deadline, "{topic} cannot be read: {error}"),
        }
    }
}

fn read_all(connection: &KafkaConnection, topic: &str) -> Vec<Record> {
    let (consumer, end) = consumer_of(connection, topic);
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let next = |_| {
        let message = consumer.poll(TIMEOUT).expect("the topic has as many records as the broker said").unwrap();
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap().to_vec(),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
            timestamp: message.timestamp().to_millis().unwrap(),
        }
    };
    (0..end).map(next).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
