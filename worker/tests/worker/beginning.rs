//! Where a worker begins, and what it does while it cannot begin.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use sluice_cluster::testing;
use sluice_crds::{
    KafkaConnection, SaslMechanism, SecurityProtocol, StartFrom,
    wire::{SourceConfig, WorkerConfig, WorkerStatus},
};

use crate::{
    api::Api,
    kafka::{Place, connection},
    running::{Worker, config, numbered},
};

/// How long Kafka may take for one part of a transaction.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_new_group_commits_where_it_begins_so_that_lag_is_told_from_the_start() {
    for (start_from, committed, received) in [(StartFrom::Earliest, 0, 15), (StartFrom::Latest, 10, 5)] {
        let (place, api) = (Place::new("begin", 1).await, Api::willing().await);
        place.write(numbered(0..10)).await;
        let mut config = config(&place, &api.url);
        let SourceConfig::Kafka { start_from: begin, .. } = &mut config.source;
        *begin = start_from;
        // The API is not there yet.
        let away = WorkerConfig { sink: sink("http://127.0.0.1:9/"), ..config.clone() };
        let worker = Worker::start(&away);
        crate::until("committed", async || place.committed().await, |seen| *seen == [(0, committed)].into()).await;
        worker.kill();
        let worker = Worker::start(&config);
        place.write(numbered(10..15)).await;
        place.until_no_lag().await;
        assert_eq!(worker.status().await.received, received, "{start_from:?}");
    }
}

#[tokio::test]
async fn two_members_begin_a_new_group_together_with_what_is_written_from_then_on() {
    let (place, api) = (Place::new("begin-together", 6).await, Api::willing().await);
    place.write(numbered(0..100)).await;
    let mut config = config(&place, &api.url);
    let SourceConfig::Kafka { start_from: begin, .. } = &mut config.source;
    *begin = StartFrom::Latest;
    let workers = [Worker::start_as("a", &config), Worker::start_as("b", &config)];
    let ends = place.ends().await;
    crate::until("all partitions begun", async || place.committed().await, |seen| *seen == ends).await;
    let held = async || [workers[0].status().await.partitions, workers[1].status().await.partitions];
    crate::until("both are members", held, |held| held.iter().sum::<u64>() == 6 && !held.contains(&0)).await;
    place.write(numbered(100..200)).await;
    place.until_no_lag().await;
    assert_eq!(api.numbers(), (100..200).map(|n| (n, 1)).collect());
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_told_and_waited_for() {
    let (place, api) = (Place::without_topics("missing", 2), Api::willing().await);
    let worker = Worker::start(&config(&place, &api.url));
    let words = format!("topic {:?} does not exist", place.topic);
    let told = |trouble: &String| trouble.contains(&words);
    worker.until_status(&words, |status| status.trouble.as_ref().is_some_and(told)).await;
    assert_eq!((worker.get("/healthz").await.0, worker.get("/readyz").await.0), (200, 503));
    place.create(&place.topic).await;
    place.write(numbered(0..10)).await;
    api.until_numbers(10).await;
    // It is looked whether trouble is over every few seconds.
    worker.until_status("no trouble", |status| status.trouble.is_none()).await;
    assert_eq!(worker.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn an_unreachable_kafka_is_told_and_waited_for_and_keeps_nobody_from_ending() {
    let (place, api) = (Place::without_topics("unreachable", 1), Api::willing().await);
    let mut config = config(&place, &api.url);
    let SourceConfig::Kafka { connection, .. } = &mut config.source;
    connection.bootstrap_servers = vec!["127.0.0.1:9".into()];
    let worker = Worker::start(&config);
    let told = |trouble: &String| {
        trouble.starts_with("Kafka at 127.0.0.1:9 does not answer") && trouble.ends_with("Connection refused")
    };
    worker.until_status("why it does not answer", |status| status.trouble.as_ref().is_some_and(told)).await;
    assert_eq!(worker.get("/healthz").await.0, 200);
    worker.terminate();
    // Else it would say that it ended before Kafka took note.
    worker.until_logged("Worker ended").await;
    assert!(worker.ended().await.success());
}

#[tokio::test]
async fn why_kafka_does_not_let_a_worker_in_is_told() {
    let secured = tokio::task::spawn_blocking(testing::shared_secured_kafka).await.unwrap();
    let (place, api) = (Place::without_topics("refused", 1), Api::willing().await);
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("username", "alice".to_owned()),
        ("password", "wrong".to_owned()),
        ("ca.crt", rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap().cert.pem()),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let login = KafkaConnection {
        bootstrap_servers: vec![secured.login_bootstrap()],
        security_protocol: SecurityProtocol::SaslSsl,
        sasl_mechanism: Some(SaslMechanism::ScramSha512),
        credentials: Some(folder.path().into()),
        ca: Some(secured.authority()),
    };
    let unknown =
        KafkaConnection { bootstrap_servers: vec!["kafka.invalid:9092".into()], ..KafkaConnection::default() };
    let untrusted = KafkaConnection { ca: Some(folder.path().join("ca.crt")), ..login.clone() };
    for (connection, words) in [
        (unknown, "Failed to resolve 'kafka.invalid:9092'"),
        (untrusted, "TLS with Kafka fails; check the authorities in `ca`"),
        (login, "Kafka does not accept the login; check `username` and `password`"),
    ] {
        let mut config = config(&place, &api.url);
        let SourceConfig::Kafka { connection: to, .. } = &mut config.source;
        *to = connection;
        let worker = Worker::start(&config);
        let told = |trouble: &String| trouble.contains(words);
        worker.until_status(words, |status| status.trouble.as_ref().is_some_and(told)).await;
    }
}

#[tokio::test]
async fn an_offset_that_does_not_exist_leads_to_the_first_record_that_does() {
    let (place, api) = (Place::new("out-of-range", 2).await, Api::willing().await);
    place.write(numbered(0..10)).await;
    commit(&place, 0, 1_000_000);
    let worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(10).await;
    place.until_no_lag().await;
    worker.until_logged("The offset to read on from does not exist").await;
    worker.until_status("no trouble", |status| status.trouble.is_none()).await;
}

#[tokio::test]
async fn transaction_markers_leave_no_lag_and_aborted_records_are_not_delivered() {
    let (place, api) = (Place::new("transaction", 1).await, Api::willing().await);
    let topic = place.topic.clone();
    let worker = Worker::start(&config(&place, &api.url));
    let write = move || {
        let producer: BaseProducer = client_config().set("transactional.id", &topic).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (n, commit) in [(1, true), (2, false), (3, true), (4, false)] {
            producer.begin_transaction().unwrap();
            let body = format!(r#"{{"n": {n}}}"#);
            producer.send(BaseRecord::<str, str>::to(&topic).payload(&body)).map_err(|(error, _)| error).unwrap();
            producer.flush(PATIENCE).unwrap();
            if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }.unwrap();
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
    api.until_numbers(2).await;
    crate::until("markers written", async || place.ends().await, |ends| *ends == [(0, 8)].into()).await;
    place.until_no_lag().await;
    assert_eq!(api.numbers(), [(1, 1), (3, 1)].into());
    assert_eq!(worker.status().await.received, 2);
}

#[tokio::test]
async fn commits_of_a_transaction_that_is_undecided_are_told_of_and_waited_for() {
    let (place, api) = (Place::new("undecided", 1).await, Api::willing().await);
    place.write(numbered(0..10)).await;
    let (topic, group) = (place.topic.clone(), place.group.clone());
    let begin = move || {
        let mut config = client_config();
        // Longer than the worker takes to tell, on any machine.
        config.set("transactional.id", &topic).set("transaction.timeout.ms", "600000");
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let consumer: BaseConsumer = client_config().set("group.id", &group).create().unwrap();
        let shown = consumer.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&positions(&topic, 0, 5), &shown, PATIENCE).unwrap();
        producer
    };
    let producer = tokio::task::spawn_blocking(begin).await.unwrap();
    let worker = Worker::start(&config(&place, &api.url));
    let is_told = |status: &WorkerStatus| status.trouble.as_ref().is_some_and(|told| told.contains("find-hanging"));
    worker.until_status("what it waits for", is_told).await;
    assert_eq!(api.numbers(), [].into());
    tokio::task::spawn_blocking(move || producer.commit_transaction(PATIENCE)).await.unwrap().unwrap();
    api.until_numbers(5).await;
    place.until_no_lag().await;
    worker.until_status("well again", |status| status.trouble.is_none()).await;
    assert_eq!(api.numbers(), (5..10).map(|n| (n, 1)).collect());
}

fn sink(url: &str) -> sluice_crds::wire::SinkConfig {
    sluice_crds::wire::SinkConfig::Http(sluice_crds::wire::HttpSinkConfig::new(url))
}

fn commit(place: &Place, partition: i32, offset: i64) {
    let consumer: BaseConsumer = client_config().set("group.id", &place.group).create().unwrap();
    consumer.commit(&positions(&place.topic, partition, offset), CommitMode::Sync).unwrap();
}

fn positions(topic: &str, partition: i32, offset: i64) -> TopicPartitionList {
    let mut positions = TopicPartitionList::new();
    positions.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    positions
}

fn client_config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", connection().bootstrap_servers.join(","));
    config
}
