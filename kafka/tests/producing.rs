//! The producer on a real broker: every record's fate is told, in time.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use broker::{admin, connection, connection_to, created, fresh, plain_topic, producer, until};
use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use sluice_kafka::{
    ErrorCode, Header, NewTopic, OutgoingRecord, Position, Producer, ProducerSettings, SendError,
    consumer::{
        BaseConsumer, Consumer, ConsumerSettings, Headers, Message, Offset, OwnedMessage, TopicPartitionList,
        consumer_config,
    },
};
use tokio::time::timeout;

#[tokio::test]
async fn a_confirmed_record_is_where_its_position_says_byte_for_byte() {
    let topic = created(&admin(), plain_topic("confirmed")).await;
    let sent = OutgoingRecord {
        key: Some(Bytes::from_static(b"key \xff")),
        headers: vec![Header::new("a", "1"), Header::new("a", ""), Header { name: "b".into(), value: None }],
        timestamp: Some(1_700_000_000_000),
        ..OutgoingRecord::new(topic.as_str(), &b"value \x00\xfe"[..])
    };
    let position = producer().send(sent.clone()).await.unwrap();
    assert_eq!(position, Position { partition: 0, offset: 0 });
    assert_eq!(as_sent(&read(&topic, position)), OutgoingRecord { partition: Some(0), ..sent });
}

#[tokio::test]
async fn a_tombstone_has_no_value() {
    let topic = created(&admin(), plain_topic("tombstone")).await;
    let tombstone = OutgoingRecord { key: Some("gone".into()), value: None, ..OutgoingRecord::new(topic.as_str(), "") };
    let position = producer().send(tombstone).await.unwrap();
    assert!(read(&topic, position).payload().is_none());
}

#[tokio::test]
async fn a_key_goes_where_kafkas_java_clients_put_it() {
    let topic = created(&admin(), NewTopic { partitions: Some(12), ..plain_topic("keys") }).await;
    let producer = producer();
    for (key, partition) in [("21", 0), ("foobar", 6), ("a-little-bit-long-string", 8), ("customer-1", 9)] {
        let record = OutgoingRecord { key: Some(key.into()), ..OutgoingRecord::new(topic.as_str(), "value") };
        assert_eq!(producer.send(record).await.unwrap().partition, partition, "{key}");
    }
}

/// A topic that was made a moment ago is not known to its broker at once: what is sent to it then is refused for some time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_is_in_a_topic_that_was_made_just_now() {
    const RECORDS: usize = 10;
    let admin = admin();
    let one = async |number: usize| {
        let topic = created(&admin, NewTopic { partitions: Some(2), ..plain_topic(&format!("new-{number}")) }).await;
        let record =
            |key| OutgoingRecord { key: Some(format!("key-{key}").into()), ..OutgoingRecord::new(topic.as_str(), "") };
        let producer = producer();
        let sent = join_all((0..RECORDS).map(|key| producer.send(record(key)))).await;
        let positions: BTreeSet<_> = sent.into_iter().map(Result::unwrap).collect();
        assert_eq!(positions.len(), RECORDS, "each has a place of its own: {positions:?}");
    };
    for first in (0..60).step_by(6) {
        join_all((first..first + 6).map(one)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_one_key_keep_the_order_in_which_they_were_sent() {
    const RECORDS: usize = 20_000;
    let topic = created(&admin(), plain_topic("order")).await;
    let producer = producer();
    let start = Instant::now();
    let sends = (0..RECORDS).map(|number| producer.send(OutgoingRecord::new(topic.as_str(), number.to_string())));
    let positions: Vec<_> = join_all(sends).await.into_iter().map(|position| position.unwrap().offset).collect();
    println!("{RECORDS} records confirmed in {:?}", start.elapsed());
    assert_eq!(positions, (0..i64::try_from(RECORDS).unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_for_a_missing_topic_is_not_written_and_one_for_a_topic_made_later_is() {
    let (producer, topic) = (producer(), plain_topic("later"));
    let record = OutgoingRecord::new(topic.name.as_str(), "value");
    let Err(SendError::NotWritten(error)) = producer.send(record.clone()).await else { panic!("it was written") };
    assert_eq!(error.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(error.is_retriable());

    created(&admin(), topic).await;
    let start = Instant::now();
    let sent = until(async || producer.send(record.clone()).await, Result::is_ok).await;
    println!("written {:?} after the topic was made", start.elapsed());
    assert_eq!(sent, Ok(Position { partition: 0, offset: 0 }));
}

#[tokio::test]
async fn a_record_that_is_too_large_for_the_topic_is_not_written() {
    let config = [("max.message.bytes".to_owned(), "1000".to_owned())].into();
    let topic = created(&admin(), NewTopic { config, ..plain_topic("large") }).await;
    let producer = producer();
    let large = OutgoingRecord::new(topic.as_str(), vec![b'x'; 5000]);
    let Err(SendError::NotWritten(error)) = producer.send(large).await else { panic!("it was written") };
    assert_eq!(error.code, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(!error.is_retriable());
    producer.send(OutgoingRecord::new(topic.as_str(), "small")).await.unwrap();
}

#[tokio::test]
async fn a_record_without_a_key_is_not_written_to_a_compacted_topic_which_is_said() {
    let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let topic = created(&admin(), NewTopic { config, ..plain_topic("compacted") }).await;
    let producer = producer();
    let bare = OutgoingRecord::new(topic.as_str(), "value");
    let Err(SendError::NotWritten(error)) = producer.send(bare.clone()).await else { panic!("it was written") };
    assert_eq!(error.code, ErrorCode::INVALID_RECORD);
    let expected =
        "the topic does not take the record as it is; a compacted topic takes none without a key (INVALID_RECORD)";
    assert_eq!(error.to_string(), expected);
    producer.send(OutgoingRecord { key: Some("key".into()), ..bare }).await.unwrap();
}

#[tokio::test]
async fn a_record_that_shares_a_batch_with_an_invalid_one_is_written() {
    let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let topic = created(&admin(), NewTopic { config, ..plain_topic("compacted") }).await;
    let producer = producer();
    // They wait together for the producer's first answer from Kafka, so that they share a batch.
    let keys = (0..50).map(|number| (number != 7).then(|| Bytes::from(format!("key-{number}"))));
    let sends = keys.map(|key| producer.send(OutgoingRecord { key, ..OutgoingRecord::new(topic.as_str(), "value") }));
    let outcomes = join_all(sends).await;
    let refused: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
    let [(7, Err(SendError::NotWritten(error)))] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(error.code, ErrorCode::INVALID_RECORD);
    let mut offsets: Vec<_> = outcomes.into_iter().flatten().map(|position| position.offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..49).collect::<Vec<_>>());
}

#[tokio::test]
async fn records_are_refused_for_their_own_size_and_not_for_that_of_their_batch() {
    let config = [("max.message.bytes".to_owned(), "1000".to_owned())].into();
    let topic = created(&admin(), NewTopic { config, ..plain_topic("company") }).await;
    let producer = producer();
    // They wait together for the producer's first answer from Kafka, so that they share a batch.
    let sizes = [100, 5000].into_iter().chain([100; 50]);
    let sends = sizes.map(|size| producer.send(OutgoingRecord::new(topic.as_str(), vec![b'x'; size])));
    let outcomes = join_all(sends).await;
    assert!(producer.flush(Duration::from_mins(1)).await);
    let refused: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
    let [(1, Err(SendError::NotWritten(error)))] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(error.code, ErrorCode::MESSAGE_TOO_LARGE);
    let mut offsets: Vec<_> = outcomes.into_iter().flatten().map(|position| position.offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..51).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_of_more_than_librdkafkas_own_limit_is_written() {
    let config = [("max.message.bytes".to_owned(), "3000000".to_owned())].into();
    let topic = created(&admin(), NewTopic { config, ..plain_topic("large") }).await;
    producer().send(OutgoingRecord::new(topic.as_str(), vec![b'x'; 2_000_000])).await.unwrap();
}

#[tokio::test]
async fn without_a_broker_a_record_is_certainly_not_written_within_the_patience() {
    let settings = ProducerSettings::default();
    // Where the machine stands still for a moment, librdkafka may know too late what became of the record; it is told in time all the same.
    for _ in 0..5 {
        let producer = Producer::connect(&connection_to("127.0.0.1:9"), &settings).unwrap();
        let sent = producer.send(OutgoingRecord::new("orders", "value"));
        let error = timeout(settings.patience + Duration::from_millis(200), sent).await.unwrap().unwrap_err();
        assert!(error.is_retriable(), "{error:?}");
        if matches!(error, SendError::NotWritten(_)) {
            assert!(error.to_string().contains("Connection refused"), "{error}");
            return;
        }
    }
    panic!("what became of the record was never known in time");
}

#[tokio::test]
async fn a_full_buffer_refuses_at_once() {
    // What fits waits there for as long as this takes.
    let settings = ProducerSettings { patience: Duration::from_mins(1), ..ProducerSettings::default() };
    let producer = Producer::connect(&connection_to("127.0.0.1:9"), &settings).unwrap();
    let send = || producer.send(OutgoingRecord::new("orders", vec![b'x'; 1024 * 1024])).now_or_never();
    let busy = (0..80).filter(|_| send() == Some(Err(SendError::Busy))).count();
    assert!((10..=20).contains(&busy), "{busy} of 80 MiB did not fit into 64 MiB");
}

#[tokio::test]
async fn a_flush_waits_for_every_report() {
    let topic = created(&admin(), plain_topic("flush")).await;
    let producer = producer();
    let sends: Vec<_> = (0..100)
        .map(|_| {
            let producer = producer.clone();
            let record = OutgoingRecord::new(topic.as_str(), "value");
            tokio::spawn(async move { producer.send(record).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(producer.flush(Duration::from_mins(1)).await);
    for outcome in join_all(sends).await {
        outcome.unwrap().unwrap();
    }
}

fn read(topic: &str, position: Position) -> OwnedMessage {
    let consumer: BaseConsumer =
        consumer_config(&connection(), &fresh("reader"), &ConsumerSettings::default()).unwrap().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, position.partition, Offset::Offset(position.offset)).unwrap();
    consumer.assign(&list).unwrap();
    consumer.poll(Duration::from_mins(1)).expect("a record within a minute").unwrap().detach()
}

fn as_sent(message: &OwnedMessage) -> OutgoingRecord {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    OutgoingRecord {
        topic: message.topic().into(),
        partition: Some(message.partition()),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers
            .map(|header| Header {
                name: header.key.to_owned().into(),
                value: header.value.map(Bytes::copy_from_slice),
            })
            .collect(),
        timestamp: message.timestamp().to_millis(),
    }
}
