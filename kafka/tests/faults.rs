//! A broker that dies and comes back, in a cluster of its own.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use broker::{connection_to, created, plain_topic, until};
use futures::future::join_all;
use sluice_cluster::{Cluster, Component, ComponentHandle, Part, testing::OwnCluster};
use sluice_kafka::{
    Admin, BatchProducer, Compression, Error, ErrorCode, KafkaConnection, NewTopic, OffsetAt, OutgoingRecord,
    PerPartition, PerTopic, Producer, ProducerSettings, SendError, TopicDescription, TopicPartition, Unwritten,
    consumer::{BaseConsumer, Consumer, ConsumerSettings, Message, Offset, TopicPartitionList, consumer_config},
};
use tokio::{task, time::timeout};

const PATIENCE: Duration = Duration::from_secs(4);

/// Numbered records that many senders go on writing until they are told to stop.
#[derive(Default)]
struct Flow {
    next: AtomicUsize,
    confirmed: AtomicUsize,
    failed: AtomicUsize,
    stop: AtomicBool,
}

/// A record's number, and its fate.
type Outcome = (usize, Result<(), SendError>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_no_confirmed_record_and_shows_none_that_is_certainly_not_written() {
    let cluster = task::spawn_blocking(|| OwnCluster::up("kafka-faults", &[Part::Kafka]).unwrap()).await.unwrap();
    let connection = connection_to(&cluster.kafka_bootstrap());
    let topic = created(&admin(&connection), plain_topic("killed")).await;
    let producer = |patience| {
        let settings = ProducerSettings { patience, ..ProducerSettings::default() };
        Producer::connect(&connection, &settings).unwrap()
    };
    let (admin, impatient) = (impatient_admin(&connection), producer(PATIENCE));

    let flow = Arc::<Flow>::default();
    let senders: Vec<_> =
        (0..64).map(|_| tokio::spawn(keep_sending(impatient.clone(), topic.clone(), Arc::clone(&flow)))).collect();
    until(async || flow.confirmed.load(SeqCst), |confirmed| *confirmed > 1000).await;
    blocking(&cluster, |kafka| kafka.kill().unwrap()).await;
    until(async || flow.failed.load(SeqCst), |failed| *failed > 0).await;
    let unreachable = admin.describe_topics(&[&topic]).await.unwrap_err();
    assert!(matches!(unreachable, Error::Unreachable { .. }), "{unreachable:?}");
    blocking(&cluster, |kafka| kafka.start().unwrap()).await;
    let before = flow.confirmed.load(SeqCst);
    until(async || flow.confirmed.load(SeqCst), |confirmed| *confirmed > before + 100).await;
    flow.stop.store(true, SeqCst);

    let outcomes: Vec<_> = join_all(senders).await.into_iter().flat_map(Result::unwrap).collect();
    let last = flow.next.load(SeqCst);
    assert!(impatient.flush(Duration::from_mins(1)).await);
    producer(Duration::from_mins(1)).send(OutgoingRecord::new(topic.as_str(), last.to_string())).await.unwrap();
    let written = task::spawn_blocking(move || numbers_up_to(last, &connection, &topic)).await.unwrap();
    println!("fate and whether it is there: {:?}", true_fates(&outcomes, &written));
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

/// Each time its broker comes back, a partition begins another epoch of leadership, and whoever asks with the one before is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_listed_again_once_a_killed_broker_is_back() {
    let cluster = task::spawn_blocking(|| OwnCluster::up("kafka-epochs", &[Part::Kafka]).unwrap()).await.unwrap();
    let connection = connection_to(&cluster.kafka_bootstrap());
    let topic = created(&admin(&connection), plain_topic("epochs")).await;
    let (admin, partition) = (impatient_admin(&connection), TopicPartition { topic, partition: 0 });
    let ends = async || admin.list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await;
    let is_known = |ends: &Result<PerPartition<i64>, Error>| ends.as_ref().is_ok_and(|ends| ends[&partition] == Ok(0));
    until(ends, is_known).await.unwrap();
    for _ in 0..2 {
        blocking(&cluster, |kafka| kafka.kill().unwrap()).await;
        until(ends, Result::is_err).await.unwrap_err();
        blocking(&cluster, |kafka| kafka.start().unwrap()).await;
        until(ends, is_known).await.unwrap();
    }
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

/// Others take the place of each in turn: as leader of partitions, as coordinator of groups and as controller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_known_while_one_of_its_brokers_is_away() {
    let up = || OwnCluster::up("kafka-away", &[Part::KafkaReplicated]).unwrap();
    let cluster = task::spawn_blocking(up).await.unwrap();
    let connection = connection_to(&cluster.kafka_replicated_bootstrap());
    let replicated = NewTopic { partitions: Some(6), replicas: Some(3), ..plain_topic("away") };
    let topic = created(&admin(&connection), replicated).await;
    let admin = impatient_admin(&connection);
    let partitions: Vec<_> = (0..6).map(|partition| TopicPartition { topic: topic.clone(), partition }).collect();
    let committed: BTreeMap<_, _> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
    let commit = async || admin.commit_group_offsets(&topic, &committed).await;
    until(commit, |said| said.as_ref().is_ok_and(|said| said.values().all(Result::is_ok))).await.unwrap();

    let describe = async || admin.describe_topics(&[&topic]).await;
    let copies = |said: &Result<PerTopic<Option<TopicDescription>>, Error>| -> Option<Vec<usize>> {
        let description = said.as_ref().ok()?.get(topic.as_str())?.as_ref().ok()?.as_ref()?;
        Some(description.partitions.iter().map(|partition| partition.in_sync.len()).collect())
    };
    let ends = async || admin.list_offsets(&partitions, OffsetAt::Latest).await;
    let offsets = async || admin.group_offsets(&topic).await;
    for broker in Component::REPLICATED.map(|broker| cluster.component(broker)) {
        let killed = broker.clone();
        task::spawn_blocking(move || killed.kill().unwrap()).await.unwrap();
        until(describe, |said| copies(said) == Some(vec![2; 6])).await.unwrap();
        until(ends, |ends| ends.as_ref().is_ok_and(|ends| ends.values().all(Result::is_ok))).await.unwrap();
        until(offsets, |offsets| offsets.as_ref().is_ok_and(|offsets| offsets.len() == partitions.len()))
            .await
            .unwrap();
        task::spawn_blocking(move || broker.start().unwrap()).await.unwrap();
        until(describe, |said| copies(said) == Some(vec![3; 6])).await.unwrap();
    }
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

/// A batch of records that are all invalid: Kafka names none of them, so each is tried alone, and there are enough of them for many seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_while_records_are_tried_alone_fails_all_that_are_left_together() {
    const RECORDS: usize = 5_000;
    let cluster = task::spawn_blocking(|| OwnCluster::up("kafka-alone", &[Part::Kafka]).unwrap()).await.unwrap();
    let connection = connection_to(&cluster.kafka_bootstrap());
    let admin = admin(&connection);
    let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let compacted = created(&admin, NewTopic { config, ..plain_topic("compacted") }).await;
    let other = created(&admin, plain_topic("other")).await;
    let producer = BatchProducer::connect(&connection, Compression::None).unwrap();
    // Once the last one, which is for the other topic, is written, the others have had their first answer or are about to.
    let topics = std::iter::repeat_n(&compacted, RECORDS).chain([&other]);
    let records: Vec<_> = topics.map(|topic| OutgoingRecord::new(topic.as_str(), "without a key")).collect();
    let writing = tokio::spawn(async move { producer.write(records).await });
    let partition = TopicPartition { topic: other, partition: 0 };
    let end = async || admin.list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await;
    until(end, |end| end.as_ref().is_ok_and(|end| end[&partition] == Ok(1))).await.unwrap();
    let death = Instant::now();
    blocking(&cluster, |kafka| kafka.kill().unwrap()).await;
    let Unwritten { refused, failed } = writing.await.unwrap();
    assert!(death.elapsed() < Duration::from_secs(25), "it took {:?}", death.elapsed());
    let kept: BTreeSet<_> = refused.iter().chain(&failed).map(|(place, _)| *place).filter(|p| *p < RECORDS).collect();
    assert!(!failed.is_empty() && kept.len() == RECORDS, "{} refused, {} failed", refused.len(), failed.len());
    assert!(refused.iter().all(|(_, error)| error.code == ErrorCode::INVALID_RECORD), "{refused:?}");
    task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

fn admin(connection: &KafkaConnection) -> Admin {
    Admin::connect(connection).unwrap().with_timeout(Duration::from_mins(1))
}

/// One that finds out soon that nobody answers.
fn impatient_admin(connection: &KafkaConnection) -> Admin {
    Admin::connect(connection).unwrap().with_timeout(Duration::from_secs(3))
}

/// Each record's fate is known in time.
async fn keep_sending(producer: Producer, topic: String, flow: Arc<Flow>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while !flow.stop.load(SeqCst) {
        let number = flow.next.fetch_add(1, SeqCst);
        let sent = producer.send(OutgoingRecord::new(topic.as_str(), number.to_string()));
        let outcome = timeout(PATIENCE + Duration::from_millis(500), sent).await.unwrap().map(drop);
        let counter = if outcome.is_ok() { &flow.confirmed } else { &flow.failed };
        counter.fetch_add(1, SeqCst);
        outcomes.push((number, outcome));
    }
    outcomes
}

async fn blocking(cluster: &Cluster, disturb: fn(ComponentHandle)) {
    let kafka = cluster.component(Component::Kafka);
    task::spawn_blocking(move || disturb(kafka)).await.unwrap();
}

/// Everything in the topic up to its last record, which has this number.
fn numbers_up_to(last: usize, connection: &KafkaConnection, topic: &str) -> BTreeSet<usize> {
    let consumer: BaseConsumer =
        consumer_config(connection, "reader", &ConsumerSettings::default()).unwrap().create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut numbers = BTreeSet::new();
    while !numbers.contains(&last) {
        let record = consumer.poll(Duration::from_mins(1)).expect("a record within a minute").unwrap();
        let text = str::from_utf8(record.payload().unwrap()).unwrap();
        assert!(numbers.insert(text.parse().unwrap()), "{text} is there twice");
    }
    numbers
}

/// How many records had which fate and are in the topic or not; panics over a fate that is not true.
fn true_fates(outcomes: &[Outcome], written: &BTreeSet<usize>) -> BTreeMap<(&'static str, bool), usize> {
    let mut fates = BTreeMap::new();
    for (number, outcome) in outcomes {
        let there = written.contains(number);
        let fate = match outcome {
            Ok(()) => "confirmed",
            Err(SendError::NotWritten(_)) => "not written",
            Err(SendError::Unknown(_)) => "unknown",
            Err(SendError::Busy) => panic!("{number} was refused by an empty buffer"),
        };
        assert!(there || fate != "confirmed", "{number} was confirmed and is lost");
        assert!(!there || fate != "not written", "{number} is there after all");
        *fates.entry((fate, there)).or_default() += 1;
    }
    fates
}
