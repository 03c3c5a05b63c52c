//! Lag as the status and the metrics show it: from a real broker, while no worker runs, and while one has paused partitions.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod paused;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use sluice_crds::{Integration, IntegrationStatus, KafkaConnection, Topic};
use sluice_kafka::{
    ClientConfig, NewTopic, client_config,
    consumer::{ConsumerSettings, consumer_config},
};
use sluice_suite::{
    World, until,
    world::{condition, judge_topic},
};

/// What a status shows is at most some looks old.
const PATIENCE: Duration = Duration::from_mins(2);
/// What Kafka does not tell any more counts for a minute.
const SILENCE: Duration = Duration::from_mins(3);
const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {partitions: 2}}";
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, spec: {\
     source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}, replicas: 0}}";

/// One Integration without workers, and the Kafka topic that it would read.
struct Stand {
    world: World,
    connection: KafkaConnection,
    topic: String,
}

impl Stand {
    async fn open(name: &str) -> Self {
        let world = World::begin(name).await.unwrap();
        world.apply::<Topic>(TOPIC).await.unwrap();
        let ready = |topic: &Topic| {
            let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
            if ready.starts_with("True") { Ok(()) } else { Err(ready) }
        };
        world.until("orders", "it is ready", ready).await.unwrap();
        let topic = format!("{}.orders", world.namespace);
        let connection =
            KafkaConnection { bootstrap_servers: vec![world.bootstrap.clone()], ..KafkaConnection::default() };
        Self { world, connection, topic }
    }

    fn config(&self) -> ClientConfig {
        client_config(&self.connection).unwrap()
    }

    fn write(&self, partition: i32, count: usize) {
        let producer: BaseProducer = self.config().create().unwrap();
        send(&producer, &self.topic, partition, count);
    }

    /// Commits from outside the group, which has to be empty: the operator visits groups without workers for some seconds.
    async fn commit(&self, offsets: &[(i32, i64)]) {
        let group = format!("{}.to-api", self.world.namespace);
        let consumer: BaseConsumer =
            consumer_config(&self.connection, &group, &ConsumerSettings::default()).unwrap().create().unwrap();
        let list = list(&self.topic, offsets);
        until("the offsets are committed", PATIENCE, || async {
            consumer.commit(&list, CommitMode::Sync).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }

    async fn shows(&self, what: &str, judge: impl Fn(&IntegrationStatus) -> bool) -> IntegrationStatus {
        self.shows_within(PATIENCE, what, judge).await
    }

    async fn shows_within(
        &self,
        patience: Duration,
        what: &str,
        judge: impl Fn(&IntegrationStatus) -> bool,
    ) -> IntegrationStatus {
        let api = self.world.api::<Integration>();
        until(what, patience, || async {
            let integration = api.get("to-api").await.map_err(|error| error.to_string())?;
            let status = integration.status.unwrap_or_default();
            if judge(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
        .unwrap()
    }

    /// Makes a topic that no Topic declares; one of that name may be about to go.
    async fn make(&self, topic: &NewTopic) {
        until("the topic is made", PATIENCE, || async {
            let answers = self.world.kafka.create_topics(std::slice::from_ref(topic)).await;
            answers.map_err(|error| error.to_string())?[&topic.name].clone().map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }

    async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.world.operator.status)).await.unwrap().text().await.unwrap()
    }

    async fn lag_is(&self, lag: &str) -> IntegrationStatus {
        self.shows(&format!("lag is {lag}"), |status| status.lag.as_deref() == Some(lag)).await
    }
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for _ in 0..count {
        producer.send(BaseRecord::<(), _>::to(topic).partition(partition).payload("{}")).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn list(topic: &str, offsets: &[(i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    list
}

#[tokio::test]
async fn lag_is_right_without_workers_before_a_commit_after_one_and_after_records_were_deleted() {
    let stand = Stand::open("lag").await;
    stand.write(0, 5);
    stand.write(1, 3);
    stand.world.apply::<Integration>(INTEGRATION).await.unwrap();
    let status = stand.lag_is("-").await;
    assert_eq!((status.worst_partition, status.drained_in), (None, None));
    let labels = format!("{{namespace=\"{}\",integration=\"to-api\"}}", stand.world.namespace);
    let (metric, oldest) = (
        format!("sluice_integration_lag_records{labels}"),
        format!("sluice_integration_oldest_waiting_seconds{labels}"),
    );
    // By this an alert knows that records wait for a group that never came.
    until("the oldest record waits", PATIENCE, || async {
        let seconds = stand.world.operator.metric(&oldest).await.map_err(|error| error.to_string())?;
        if seconds > 0.0 { Ok(()) } else { Err(seconds.to_string()) }
    })
    .await
    .unwrap();
    assert!(!stand.metrics().await.contains(&metric), "nobody can tell how many");

    stand.commit(&[(0, 1), (1, 0)]).await;
    let status = stand.lag_is("7").await;
    assert_eq!(status.worst_partition, Some(format!("{}-0: 4", stand.topic)));
    assert!(status.oldest_waiting.is_some(), "{status:?}");
    assert!((stand.world.operator.metric(&metric).await.unwrap() - 7.0).abs() < 0.1);
    stand.shows("nothing drains it", |status| status.drained_in.as_deref() == Some("never")).await;

    // What was deleted does not wait any more.
    let admin: AdminClient<DefaultClientContext> = stand.config().create().unwrap();
    admin.delete_records(&list(&stand.topic, &[(0, 4)]), &AdminOptions::new()).await.unwrap();
    let status = stand.lag_is("4").await;
    assert_eq!(status.worst_partition, Some(format!("{}-1: 3", stand.topic)));

    stand.commit(&[(0, 5), (1, 3)]).await;
    // As a script waits for it.
    let (nothing_waits, namespace) = ("--for=jsonpath={.status.lag}=0", stand.world.namespace.as_str());
    let integration = "integrations.sluice.dev/to-api";
    stand.world.kubectl(&["wait", nothing_waits, "--timeout=2m", "-n", namespace, integration]).unwrap();
    let status = stand.lag_is("0").await;
    assert_eq!((status.worst_partition, status.oldest_waiting, status.drained_in), (None, None, None));

    stand.write(1, 2);
    stand.world.apply::<Integration>(&INTEGRATION.replace("replicas: 0", "paused: true")).await.unwrap();
    let is_paused = |status: &IntegrationStatus| condition(&status.conditions, "Paused").starts_with("True");
    stand
        .shows("lag is right while it is paused", |status| is_paused(status) && status.lag.as_deref() == Some("2"))
        .await;
}

#[tokio::test]
async fn where_a_topic_is_gone_the_lag_of_its_integration_is_unknown_until_it_is_there_again() {
    let stand = Stand::open("gone").await;
    let (name, config) = (format!("{}.legacy", stand.world.namespace), BTreeMap::new());
    let legacy = NewTopic { name, partitions: Some(1), replicas: Some(1), config };
    let stand = Stand { topic: legacy.name.clone(), ..stand };
    stand.make(&legacy).await;
    let source = format!("source: {{kafka: {{cluster: default, topics: ['{}']}}}}", legacy.name);
    let integration = INTEGRATION.replace("source: {topic: {name: orders}}", &source);
    stand.world.apply::<Integration>(&integration).await.unwrap();
    stand.world.apply::<Integration>(&INTEGRATION.replace("name: to-api", "name: other")).await.unwrap();
    stand.write(0, 3);
    stand.commit(&[(0, 1)]).await;
    stand.lag_is("2").await;

    let deleted = stand.world.kafka.delete_topics(&[&legacy.name]).await.unwrap();
    assert_eq!(deleted, [(legacy.name.clone(), Ok(()))].into());
    let is_unknown = |status: &IntegrationStatus| status.lag.as_deref() == Some("unknown");
    let status = stand.shows_within(SILENCE, "its lag is unknown", is_unknown).await;
    assert_eq!((status.worst_partition, status.oldest_waiting, status.drained_in), (None, None, None));
    assert_eq!(status.dead_letters.as_deref(), Some("0"), "that topic is there");
    let why = condition(&status.conditions, "Unmeasured");
    assert_eq!(why, format!("True NotFound: Kafka has no topic {:?}", legacy.name));
    let labels = format!("{{namespace=\"{}\",integration=\"to-api\"}}", stand.world.namespace);
    assert!(!stand.metrics().await.contains(&format!("sluice_integration_lag_records{labels}")));
    let log = stand.world.operator.log();
    let group = format!("{}.to-api", stand.world.namespace);
    let is_told = |line: &&str| line.contains("The lag is not known any more") && line.contains(&group);
    assert_eq!(log.lines().filter(is_told).count(), 1, "it is said once");
    let other = stand.world.api::<Integration>().get("other").await.unwrap().status.unwrap_or_default();
    assert_eq!((other.lag.as_deref(), condition(&other.conditions, "Unmeasured").as_str()), (Some("-"), "none"));

    stand.make(&legacy).await;
    let is_measured = |status: &IntegrationStatus| condition(&status.conditions, "Unmeasured") == "none";
    let status = stand.shows("it is measured again", |status| is_measured(status) && !is_unknown(status)).await;
    assert!(status.lag.is_some(), "{status:?}");
}

#[tokio::test]
async fn what_comes_after_an_integration_was_made_waits_for_its_first_worker() {
    let stand = Stand::open("latest").await;
    stand.write(0, 2);
    let integration =
        INTEGRATION.replace("source: {topic: {name: orders}}", "source: {topic: {name: orders}, startFrom: Latest}");
    stand.world.apply::<Integration>(&integration).await.unwrap();
    stand.lag_is("0").await;
    stand.write(0, 3);
    stand.write(1, 1);
    stand.lag_is("4").await;
}

#[tokio::test]
async fn an_open_transaction_does_not_wait_and_its_marker_is_no_record_for_a_group_that_passed_it() {
    let stand = Stand::open("transaction").await;
    stand.world.apply::<Integration>(INTEGRATION).await.unwrap();
    stand.write(0, 1);
    stand.commit(&[(0, 0), (1, 0)]).await;
    stand.lag_is("1").await;
    let mut config = stand.config();
    let producer: BaseProducer = config
        .set("transactional.id", &stand.world.namespace)
        .set("transaction.timeout.ms", "300000")
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, &stand.topic, 0, 1);
    // It is after the first record, so that only that one can be read. Another partition tells that it was looked at meanwhile.
    stand.write(1, 2);
    stand.lag_is("3").await;
    producer.commit_transaction(PATIENCE).unwrap();
    // The record and the transaction's marker, which a reader passes without seeing it.
    stand.lag_is("5").await;
    stand.commit(&[(0, 3), (1, 2)]).await;
    stand.lag_is("0").await;
}

#[tokio::test]
async fn of_dead_letters_in_a_topic_that_others_write_to_as_well_the_broker_cannot_tell_whose_they_are() {
    let stand = Stand::open("shared").await;
    stand.world.apply_topic("dead", "partitions: 1").await.unwrap();
    let producer: BaseProducer = stand.config().create().unwrap();
    let bury = |count| send(&producer, &format!("{}.dead", stand.world.namespace), 0, count);
    let ready = |topic: &Topic| judge_topic(topic, "True").map(drop);
    stand.world.until("dead", "it is ready", ready).await.unwrap();
    bury(3);
    let first = INTEGRATION.replace("replicas: 0", "replicas: 0, deadLetters: {topicRef: {name: dead}}");
    stand.world.apply::<Integration>(&first).await.unwrap();
    stand.shows("the topic is its alone", |status| status.dead_letters.as_deref() == Some("3")).await;
    let labels = format!("{{namespace=\"{}\",integration=\"to-api\"}}", stand.world.namespace);
    let metric = format!("sluice_integration_dead_letters{labels}");
    assert!((stand.world.operator.metric(&metric).await.unwrap() - 3.0).abs() < 0.1);

    let second = first.replace("name: to-api", "name: other");
    stand.world.apply::<Integration>(&second).await.unwrap();
    bury(2);
    stand.shows("its workers wrote none", |status| status.dead_letters.as_deref() == Some("0")).await;
    assert!(!stand.metrics().await.contains(&metric), "nobody can tell");

    stand.world.api::<Integration>().delete("other", &DeleteParams::default()).await.unwrap();
    stand.shows("the topic is its alone again", |status| status.dead_letters.as_deref() == Some("5")).await;
}

#[tokio::test]
async fn workers_follow_the_lag_from_none_to_as_many_as_there_are_partitions_and_back() {
    let stand = Stand::open("scaling").await;
    stand.commit(&[(0, 0), (1, 0)]).await;
    let scaling = "scaling: {minReplicas: 0, maxReplicas: 10, targetLag: 10, cooldown: 1s}";
    stand.world.apply::<Integration>(&INTEGRATION.replace("replicas: 0", scaling)).await.unwrap();
    let worker_replicas = async |expected: i32| {
        let judge = |worker: &Deployment| match worker.spec.as_ref().and_then(|spec| spec.replicas) {
            Some(replicas) if replicas == expected => Ok(()),
            other => Err(format!("{other:?}")),
        };
        stand.world.until("to-api-worker", &format!("{expected} workers"), judge).await.unwrap();
        stand.shows("it is written down", |status| status.wanted_replicas == Some(expected)).await;
    };
    worker_replicas(0).await;
    stand.write(0, 5);
    worker_replicas(1).await;
    stand.write(0, 95);
    worker_replicas(2).await;
    stand.commit(&[(0, 95)]).await;
    worker_replicas(1).await;
    stand.commit(&[(0, 100)]).await;
    worker_replicas(0).await;
    let integration = stand.world.api::<Integration>().get("to-api").await.unwrap();
    assert_eq!((integration.spec.replicas, integration.metadata.generation), (1, Some(1)), "the spec is the user's");
}

#[tokio::test]
async fn a_change_to_scaling_stops_no_worker_before_the_lag_is_known_and_the_cooldown_is_over() {
    const COOLDOWN: Duration = Duration::from_secs(5);
    let stand = Stand::open("switch").await;
    let (name, config) = (format!("{}.legacy", stand.world.namespace), BTreeMap::new());
    let legacy = NewTopic { name, partitions: Some(2), replicas: Some(1), config };
    let stand = Stand { topic: legacy.name.clone(), ..stand };
    // There is no such topic yet, so that no lag is known.
    let source = format!("source: {{kafka: {{cluster: default, topics: ['{}']}}}}", legacy.name);
    let integration = INTEGRATION.replace("source: {topic: {name: orders}}", &source);
    let wanted = |worker: &Deployment| match worker.spec.as_ref().and_then(|spec| spec.replicas) {
        Some(2) => Ok(worker.metadata.generation),
        other => Err(format!("{other:?}")),
    };
    stand.world.apply::<Integration>(&integration.replace("replicas: 0", "replicas: 2")).await.unwrap();
    let before = stand.world.until("to-api-worker", "2 workers", wanted).await.unwrap();

    let scaling = "scaling: {minReplicas: 0, maxReplicas: 10, targetLag: 10, cooldown: 5s}";
    stand.world.apply::<Integration>(&integration.replace("replicas: 0", scaling)).await.unwrap();
    stand.shows("it goes on with 2 workers", |status| status.wanted_replicas == Some(2)).await;
    stand.world.look_again::<Integration>("to-api").await.unwrap();
    let after = stand.world.until("to-api-worker", "2 workers", wanted).await.unwrap();
    assert_eq!(after, before, "there was another number in between");

    let unknown = Instant::now();
    stand.make(&legacy).await;
    stand.commit(&[(0, 0), (1, 0)]).await;
    stand.shows("fewer are wanted", |status| status.wanted_replicas.is_some_and(|wanted| wanted < 2)).await;
    assert!(unknown.elapsed() >= COOLDOWN, "{:?}", unknown.elapsed());
}
