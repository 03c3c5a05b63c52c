//! Batches on a real broker: what is not written is told, and the last record of each key is the last.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use broker::{admin, connection, connection_to, created, fresh, in_time, plain_topic};
use bytes::Bytes;
use sluice_kafka::{
    BatchProducer, Compression, ErrorCode, KafkaError, NewTopic, OffsetAt, OutgoingRecord, TopicPartition, Unwritten,
    consumer::{BaseConsumer, Consumer, ConsumerSettings, Message, Offset, TopicPartitionList, consumer_config},
};

const KEYS: usize = 7;

#[tokio::test]
async fn records_that_are_too_large_together_end_in_order_and_the_next_ones_are_written_once() {
    // More than a request of 1 MB, so that there is another one behind a request that is refused.
    const RECORDS: usize = 1_100;
    let topic = topic("together", "max.message.bytes", "200000").await;
    let producer = BatchProducer::connect(&connection(), Compression::None).unwrap();
    let records: Vec<_> = (0..RECORDS).map(|number| record(&topic, number, 1024)).collect();
    assert_eq!(producer.write(records.clone()).await, Unwritten::default());
    let end = written(&topic).await;
    assert_ends_in_order(&topic, end, &(0..RECORDS).collect());

    assert_eq!(producer.write(records).await, Unwritten::default());
    assert_eq!(written(&topic).await, end + RECORDS, "the second time Kafka refused none");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_its_neighbours_end_in_order() {
    let topic = topic("large", "max.message.bytes", "20000").await;
    let producer = BatchProducer::connect(&connection(), Compression::None).unwrap();
    let size = |number: usize| if number == 500 { 30_000 } else { 1024 };
    let records = (0..1_500).map(|number| record(&topic, number, size(number))).collect();
    let Unwritten { refused, failed } = producer.write(records).await;
    assert_eq!((places(&refused), failed), (vec![(500, ErrorCode::MESSAGE_TOO_LARGE)], vec![]));
    let end = written(&topic).await;
    assert_ends_in_order(&topic, end, &(0..1_500).filter(|number| *number != 500).collect());
}

#[tokio::test]
async fn invalid_records_are_refused_and_their_neighbours_end_in_order() {
    let topic = topic("compacted", "cleanup.policy", "compact").await;
    let producer = BatchProducer::connect(&connection(), Compression::None).unwrap();
    let invalid = [3, 40, 41, 250];
    let bare = |number: usize| OutgoingRecord { key: None, ..record(&topic, number, 1024) };
    let one = |number: usize| if invalid.contains(&number) { bare(number) } else { record(&topic, number, 1024) };
    let Unwritten { refused, failed } = producer.write((0..300).map(one).collect()).await;
    let expected = invalid.map(|place| (place, ErrorCode::INVALID_RECORD)).to_vec();
    assert_eq!((places(&refused), failed), (expected, vec![]));
    let end = written(&topic).await;
    assert_ends_in_order(&topic, end, &(0..300).filter(|number| !invalid.contains(number)).collect());

    let Unwritten { refused, failed } = producer.write((0..20).map(bare).collect()).await;
    let expected: Vec<_> = (0..20).map(|place| (place, ErrorCode::INVALID_RECORD)).collect();
    assert_eq!((places(&refused), failed), (expected, vec![]));
    assert_eq!(written(&topic).await, end);
}

#[tokio::test]
async fn without_a_broker_a_batch_fails_as_a_whole_in_the_time_of_one_record() {
    let producer = || BatchProducer::connect(&connection_to("127.0.0.1:9"), Compression::None).unwrap();
    assert_eq!(producer().write(vec![]).await, Unwritten::default(), "nothing to write");
    let write = async || producer().write((0..1_000).map(|number| record("orders", number, 100)).collect()).await;
    let unwritten = in_time(Duration::from_secs(12), write).await;
    assert!(unwritten.refused.is_empty(), "{:?}", unwritten.refused);
    assert!(unwritten.failed.iter().map(|(place, _)| *place).eq(0..1_000), "{:?}", unwritten.failed);
    assert!(unwritten.failed.iter().all(|(_, error)| error.is_retriable()), "{:?}", unwritten.failed);
}

/// A topic of one partition with this setting.
async fn topic(purpose: &str, key: &str, value: &str) -> String {
    let config = [(key.to_owned(), value.to_owned())].into();
    created(&admin(), NewTopic { partitions: Some(1), config, ..plain_topic(purpose) }).await
}

/// A record that has its number in so many bytes, and one of few keys.
fn record(topic: &str, number: usize, bytes: usize) -> OutgoingRecord {
    let key = Some(Bytes::from(format!("key-{}", number % KEYS)));
    OutgoingRecord { key, ..OutgoingRecord::new(topic, format!("{number:>bytes$}")) }
}

fn places(refused: &[(usize, KafkaError)]) -> Vec<(usize, ErrorCode)> {
    refused.iter().map(|(place, error)| (*place, error.code)).collect()
}

/// How many records the topic has.
async fn written(topic: &str) -> usize {
    let partition = TopicPartition { topic: topic.to_owned(), partition: 0 };
    let ends = admin().list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await.unwrap();
    usize::try_from(*ends[&partition].as_ref().unwrap()).unwrap()
}

/// All of these are among the first records of the topic, none else is, and the last of each key is the last.
fn assert_ends_in_order(topic: &str, end: usize, expected: &BTreeSet<usize>) {
    let numbers = numbers(topic, end);
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), *expected);
    assert_eq!(last_of_each_key(&numbers), last_of_each_key(expected));
}

fn last_of_each_key<'a>(numbers: impl IntoIterator<Item = &'a usize>) -> BTreeMap<usize, usize> {
    numbers.into_iter().map(|number| (number % KEYS, *number)).collect()
}

/// The numbers of the first records of a topic.
fn numbers(topic: &str, end: usize) -> Vec<usize> {
    let consumer: BaseConsumer =
        consumer_config(&connection(), &fresh("reader"), &ConsumerSettings::default()).unwrap().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let next = |_| {
        let record = consumer.poll(Duration::from_mins(1)).expect("a record within a minute").unwrap();
        str::from_utf8(record.payload().unwrap()).unwrap().trim().parse::<usize>().unwrap()
    };
    (0..end).map(next).collect()
}
