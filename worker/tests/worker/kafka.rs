//! The real broker: topics of their own for each test, what is written to them and what is committed.

use std::{
    collections::BTreeMap,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    groups::GroupInfo,
    metadata::{MetadataPartition, MetadataTopic},
};
use sluice_cluster::testing;
use sluice_kafka::{
    Admin, CommittedOffset, Header, KafkaConnection, NewTopic, OffsetAt, OutgoingRecord, PerPartition, Producer,
    ProducerSettings,
    consumer::{BaseConsumer, Consumer as _, Headers as _, Message as _, Offset, TopicPartitionList, consumer_config},
};

use crate::until;

/// A topic, a topic for its dead letters, and a group, of which no other test knows.
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) dead_letters: String,
    pub(crate) group: String,
    pub(crate) partitions: i32,
    pub(crate) connection: KafkaConnection,
    admin: Admin,
    producer: Producer,
}

/// A record as a consumer sees it, with all of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Place {
    /// Makes the topics.
    pub(crate) async fn new(purpose: &str, partitions: i32) -> Self {
        Self::at(connection(), purpose, partitions).await
    }

    /// Makes the topics on a broker of the test's own.
    pub(crate) async fn at(connection: KafkaConnection, purpose: &str, partitions: i32) -> Self {
        let place = Self::planned(connection, purpose, partitions);
        place.create(&place.topic).await;
        place.create(&place.dead_letters).await;
        place
    }

    /// The names of topics that are yet to be made.
    pub(crate) fn without_topics(purpose: &str, partitions: i32) -> Self {
        Self::planned(connection(), purpose, partitions)
    }

    fn planned(connection: KafkaConnection, purpose: &str, partitions: i32) -> Self {
        let topic = fresh(purpose);
        let settings = ProducerSettings { patience: Duration::from_mins(1), ..ProducerSettings::default() };
        Self {
            dead_letters: format!("{topic}-dead-letters"),
            group: topic.clone(),
            topic,
            partitions,
            admin: Admin::connect(&connection).unwrap().with_timeout(Duration::from_mins(1)),
            producer: Producer::connect(&connection, &settings).unwrap(),
            connection,
        }
    }

    /// Makes one of the topics.
    pub(crate) async fn create(&self, name: &str) {
        self.create_with(name, if name == self.topic { self.partitions } else { 1 }, &[]).await;
    }

    /// Makes one more topic, to write to. Gives its name.
    pub(crate) async fn another(&self, purpose: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = format!("{}-{purpose}", self.topic);
        self.create_with(&name, partitions, config).await;
        name
    }

    async fn create_with(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        // A copy for each broker.
        let replicas = i16::try_from(self.connection.bootstrap_servers.len()).ok();
        let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), replicas, config };
        let created = self.admin.create_topics(&[topic]).await.unwrap();
        assert!(created.values().all(Result::is_ok), "{created:?}");
        self.until_known(name).await;
    }

    /// Waits until each broker knows a topic: they hear of it one after the other, and a busy one a while after it is made.
    async fn until_known(&self, name: &str) {
        for server in &self.connection.bootstrap_servers {
            let connection = KafkaConnection { bootstrap_servers: vec![server.clone()], ..self.connection.clone() };
            let leaders = async || {
                let name = name.to_owned();
                let question = move |looker: &BaseConsumer| {
                    let metadata = looker.fetch_metadata(Some(&name), Duration::from_mins(1)).ok()?;
                    Some(metadata.topics()[0].partitions().iter().map(MetadataPartition::leader).collect::<Vec<_>>())
                };
                ask(connection.clone(), question).await
            };
            let is_led = |leaders: &Option<Vec<i32>>| {
                leaders.as_ref().is_some_and(|leaders| !leaders.is_empty() && leaders.iter().all(|leader| *leader >= 0))
            };
            drop(until("a topic on each broker", leaders, is_led).await);
        }
    }

    /// Deletes topics, with all that is in them.
    pub(crate) async fn delete(&self, topics: &[&str]) {
        let deleted = self.admin.delete_topics(topics).await.unwrap();
        assert!(deleted.values().all(Result::is_ok), "{deleted:?}");
    }

    /// Writes records, each with its key, in order.
    pub(crate) async fn write(&self, records: impl IntoIterator<Item = (String, String)>) {
        let records = records.into_iter().map(|(key, value)| OutgoingRecord {
            key: Some(key.into()),
            ..OutgoingRecord::new(self.topic.as_str(), value)
        });
        self.write_records(records).await;
    }

    /// Writes records as they are, in order.
    pub(crate) async fn write_records(&self, records: impl IntoIterator<Item = OutgoingRecord>) {
        let mut pending = tokio::task::JoinSet::new();
        for record in records {
            // Records of one partition are written in the order in which they are first polled.
            let mut send = Box::pin({
                let producer = self.producer.clone();
                async move { producer.send(record).await }
            });
            match futures::poll!(&mut send) {
                std::task::Poll::Ready(outcome) => drop(outcome.unwrap()),
                std::task::Poll::Pending => drop(pending.spawn(send)),
            }
        }
        while let Some(outcome) = pending.join_next().await {
            outcome.unwrap().unwrap();
        }
    }

    /// Has Kafka delete the records of a partition before this offset.
    pub(crate) async fn delete_before(&self, partition: i32, offset: i64) {
        let servers = self.connection.bootstrap_servers.join(",");
        let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).unwrap();
        let timeout = Some(Duration::from_mins(1));
        let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        let deleted = admin.delete_records(&offsets, &options).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// What follows: a reader of a topic that this place's worker writes to, as a group of its own.
    pub(crate) fn following(&self, topic: &str) -> Self {
        let planned = Self::planned(self.connection.clone(), "following", 1);
        Self { topic: topic.to_owned(), dead_letters: self.dead_letters.clone(), ..planned }
    }

    /// Whether the first partition of the topic has a leader.
    pub(crate) async fn leads(&self) -> bool {
        let partition = sluice_kafka::TopicPartition { topic: self.topic.clone(), partition: 0 };
        let ends = self.admin.list_offsets(&[partition], OffsetAt::Latest).await;
        ends.is_ok_and(|ends| ends.values().all(Result::is_ok))
    }

    /// How many records, and markers of transactions, the first partition of a topic holds.
    pub(crate) async fn written(&self, topic: &str) -> usize {
        let partition = sluice_kafka::TopicPartition { topic: topic.to_owned(), partition: 0 };
        // A topic that was made just now has no leader yet, nor has one whose broker came back just now.
        let Ok(ends) = self.admin.list_offsets(&[partition], OffsetAt::Latest).await else { return 0 };
        ends.into_values().flatten().map(|end| usize::try_from(end).unwrap()).sum()
    }

    /// All records of the first partition of a topic, of transactions that were committed. They end with one that is written for that.
    pub(crate) async fn read_all(&self, topic: &str, last: &str) -> Vec<Seen> {
        let record = OutgoingRecord { partition: Some(0), ..OutgoingRecord::new(topic, last.to_owned()) };
        self.producer.send(record).await.unwrap();
        let (connection, topic, last) = (self.connection.clone(), topic.to_owned(), last.to_owned());
        let is_last =
            move |seen: &Vec<Seen>| seen.last().is_some_and(|seen| seen.value.as_deref() == Some(last.as_bytes()));
        let mut seen = tokio::task::spawn_blocking(move || read_until(&connection, &topic, 0, is_last)).await.unwrap();
        seen.pop();
        seen
    }

    /// A header for a record.
    pub(crate) fn header(name: &str, value: &str) -> Header {
        Header::new(name.to_owned(), value.to_owned())
    }

    /// Waits until all copies of all that Kafka holds are in sync, so that any broker can be done without.
    pub(crate) async fn until_in_sync(&self) {
        let behind = |looker: &BaseConsumer| {
            let metadata = looker.fetch_metadata(None, Duration::from_mins(1)).map_err(|error| error.to_string())?;
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            Ok::<_, String>(partitions.filter(|held| held.isr().len() < held.replicas().len()).count())
        };
        drop(
            until("all copies in sync", async || ask(self.connection.clone(), behind).await, |behind| *behind == Ok(0))
                .await,
        );
    }

    /// The ids of the group's members: Kafka gives another one to a member that it has missed.
    pub(crate) async fn members(&self) -> Vec<String> {
        self.look_at_group(|group| group.members().iter().map(|member| member.id().to_owned()).collect()).await
    }

    /// How it stands with the group, in Kafka's words.
    pub(crate) async fn state(&self) -> String {
        self.look_at_group(|group| group.state().to_owned()).await
    }

    async fn look_at_group<T: Send + 'static>(&self, look: impl FnOnce(&GroupInfo) -> T + Send + 'static) -> T {
        let group = self.group.clone();
        let question = move |looker: &BaseConsumer| {
            let groups = looker.fetch_group_list(Some(&group), Duration::from_mins(1)).unwrap();
            look(&groups.groups()[0])
        };
        ask(self.connection.clone(), question).await
    }

    /// The committed offset of each partition.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        let of_topic = self.offsets().await.into_iter().filter(|(partition, _)| partition.topic == self.topic);
        of_topic.map(|(partition, committed)| (partition.partition, committed.unwrap().offset)).collect()
    }

    async fn offsets(&self) -> PerPartition<CommittedOffset> {
        // A broker that came back takes a while to be the group's coordinator again.
        let ask = async || self.admin.group_offsets(&self.group).await.map_err(|error| error.to_string());
        until("committed offsets", ask, Result::is_ok).await.unwrap()
    }

    /// Waits until the worker has committed anew what it knows, at least twice: everything before the call is then in it.
    /// For a worker with failing records, whose notes change with time.
    pub(crate) async fn until_noted(&self) {
        for _ in 0..2 {
            let before = self.notes().await;
            until("a new note", async || self.notes().await, |now| *now != before).await;
        }
    }

    async fn notes(&self) -> Vec<String> {
        self.offsets().await.into_values().map(|committed| committed.unwrap().metadata).collect()
    }

    /// The offset after the last record of each partition.
    pub(crate) async fn ends(&self) -> BTreeMap<i32, i64> {
        self.ends_of(&self.topic, self.partitions).await
    }

    async fn ends_of(&self, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        let partitions: Vec<_> = (0..partitions)
            .map(|partition| sluice_kafka::TopicPartition { topic: topic.to_owned(), partition })
            .collect();
        // A broker that came back takes a while to be the partitions' leader again.
        let ask = async || {
            let ends =
                self.admin.list_offsets(&partitions, OffsetAt::Latest).await.map_err(|error| error.to_string())?;
            let end =
                |(partition, end): (sluice_kafka::TopicPartition, Result<i64, _>)| Ok((partition.partition, end?));
            let ends: Result<_, sluice_kafka::KafkaError> = ends.into_iter().map(end).collect();
            ends.map_err(|error| error.to_string())
        };
        until("ends of partitions", ask, Result::is_ok).await.unwrap()
    }

    /// Waits until everything is committed, as long as more of it is. The ends are read anew each time: a transaction's marker comes after
    /// its commit or abort has returned.
    pub(crate) async fn until_no_lag(&self) {
        let look = async || (self.committed().await, self.ends().await);
        let sum = |offsets: &BTreeMap<i32, i64>| offsets.values().sum::<i64>();
        let (mut committed, mut ends) = look().await;
        while committed != ends {
            let before = sum(&committed);
            let is_nearer = |(committed, ends): &(BTreeMap<i32, i64>, BTreeMap<i32, i64>)| {
                committed == ends || sum(committed) > before
            };
            (committed, ends) = until("more of what is not committed yet", look, is_nearer).await;
        }
    }

    /// Waits until more of each partition is committed than before, as far as there is more.
    pub(crate) async fn until_committed_since(&self, before: &BTreeMap<i32, i64>) {
        let look = async || (self.committed().await, self.ends().await);
        let moved = |(committed, ends): &(BTreeMap<i32, i64>, BTreeMap<i32, i64>)| {
            ends.iter().all(|(partition, end)| {
                let now = committed.get(partition);
                now == Some(end) || now > before.get(partition)
            })
        };
        until("more that is committed", look, moved).await;
    }

    /// How many dead letters there are.
    pub(crate) async fn dead_letter_count(&self) -> usize {
        self.ends_of(&self.dead_letters, 1).await.into_values().map(|end| usize::try_from(end).unwrap()).sum()
    }

    /// Waits until there are so many dead letters, and reads them.
    pub(crate) async fn dead_letters(&self, number: usize) -> Vec<Seen> {
        self.read(&self.dead_letters, number).await
    }

    /// Waits until there are so many records in the first partition of a topic, and reads them: only those of transactions that were
    /// committed.
    pub(crate) async fn read(&self, topic: &str, number: usize) -> Vec<Seen> {
        self.read_partition(topic, 0, number).await
    }

    /// The same with any partition of it.
    pub(crate) async fn read_partition(&self, topic: &str, partition: i32, number: usize) -> Vec<Seen> {
        let (connection, topic) = (self.connection.clone(), topic.to_owned());
        let enough = move |seen: &Vec<Seen>| seen.len() >= number;
        tokio::task::spawn_blocking(move || read_until(&connection, &topic, partition, enough)).await.unwrap()
    }
}

/// How to reach the broker that tests share.
pub(crate) fn connection() -> KafkaConnection {
    connection_to(testing::shared_kafka())
}

/// A connection to any address.
pub(crate) fn connection_to(addresses: &str) -> KafkaConnection {
    KafkaConnection {
        bootstrap_servers: addresses.split(',').map(str::to_owned).collect(),
        ..KafkaConnection::default()
    }
}

/// Asks Kafka by a consumer that only looks.
async fn ask<T: Send + 'static>(
    connection: KafkaConnection,
    question: impl FnOnce(&BaseConsumer) -> T + Send + 'static,
) -> T {
    let asking = move || {
        let settings = sluice_kafka::consumer::ConsumerSettings::default();
        let config = consumer_config(&connection, &fresh("looker"), &settings).unwrap();
        question(&config.create().unwrap())
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// A name that is new in every run and every call.
fn fresh(purpose: &str) -> String {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("worker-test.{purpose}.{now}-{}-{}", process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

fn read_until(
    connection: &KafkaConnection,
    topic: &str,
    partition: i32,
    is_enough: impl Fn(&Vec<Seen>) -> bool,
) -> Vec<Seen> {
    let config = consumer_config(connection, &fresh("reader"), &sluice_kafka::consumer::ConsumerSettings::default());
    let consumer: BaseConsumer = config.unwrap().create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut seen = Vec::new();
    while !is_enough(&seen) {
        let message = consumer.poll(Duration::from_mins(3)).expect("a record within three minutes").unwrap();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        seen.push(Seen {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers,
        });
    }
    seen
}
