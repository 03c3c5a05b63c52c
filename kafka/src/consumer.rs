//! The settings of a consumer whose caller alone decides which offsets are committed, and the parts to run it.
//!
//! The consumer itself is rdkafka's [`BaseConsumer`], polled on a thread of its own (its `StreamConsumer` has an open stall).

use std::{fmt, sync::Arc, time::Duration};

use rdkafka::consumer::ConsumerGroupMetadata;
use sluice_crds::KafkaConnection;

pub use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    client::DefaultClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, RebalanceProtocol},
    error::KafkaError as ClientError,
    message::{BorrowedMessage, Headers, OwnedMessage, Timestamp},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaErrorCode,
};

use crate::{
    ClientConfig, CommittedOffset, Error, ErrorCode, KafkaError, PerPartition, client_config, native, trouble::Trouble,
};

/// What a user of a consumer may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// How much is fetched ahead, over all partitions together; 16 MiB by default.
    pub prefetch_kib: u32,
    /// Without a heartbeat for this long a member loses its partitions; 30 s by default, the broker allows 6 s to 30 min.
    pub session_timeout: Duration,
    /// Without a poll for this long a member leaves the group; 5 min by default.
    pub poll_interval: Duration,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            prefetch_kib: 16 * 1024,
            session_timeout: Duration::from_secs(30),
            poll_interval: Duration::from_mins(5),
        }
    }
}

/// The settings of a consumer in `group`: nothing is committed or reset unless the caller does it.
///
/// A partition without a committed offset, or with one that no longer exists, is an error of the poll (`AutoOffsetReset`).
/// Errors: [`Error::File`] and [`Error::Settings`], as [`client_config`].
pub fn consumer_config(
    connection: &KafkaConnection,
    group: &str,
    settings: &ConsumerSettings,
) -> Result<ClientConfig, Error> {
    let mut config = client_config(connection)?;
    set_ownership(&mut config, group);
    set_fetching(&mut config, settings);
    config
        .set("session.timeout.ms", settings.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", (settings.session_timeout / 10).as_millis().to_string())
        .set("max.poll.interval.ms", settings.poll_interval.max(settings.session_timeout).as_millis().to_string());
    Ok(config)
}

/// What a consumer's connections failed with last: librdkafka tells it to the consumer's context, and not to whoever waits in vain.
#[derive(Debug, Default)]
pub struct Connections(Trouble);

impl Connections {
    /// Notes what [`ClientContext::error`] is told.
    pub fn failed(&self, error: &ClientError, reason: &str) {
        self.0.hear(error, reason);
    }

    /// A broker has answered.
    pub fn work(&self) {
        self.0.forget();
    }

    /// Why a request of the consumer was not answered `within` that time, or was refused.
    pub fn explain(&self, doing: &'static str, within: Duration, error: &ClientError) -> Error {
        let code = error.rdkafka_error_code().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::from);
        Error::of_request(doing, within, KafkaError::local(code, error.to_string()), self.0.latest())
    }
}

/// The committed offsets of a list that [`Consumer::committed_offsets`] gave, each with its metadata; without those partitions
/// that have none.
pub fn committed(list: &TopicPartitionList) -> PerPartition<CommittedOffset> {
    native::committed_in(list)
}

/// A list of offsets of records to commit, each by topic, partition, offset and metadata.
pub fn offset_list<'a>(offsets: impl IntoIterator<Item = (&'a str, i32, i64, &'a str)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset, metadata) in offsets {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).expect("an offset of a record is no special one");
        if !metadata.is_empty() {
            element.set_metadata(metadata);
        }
    }
    list
}

/// What a member of a group shows who commits offsets within a transaction: they are taken only while it is that member.
#[derive(Clone)]
pub struct Membership {
    generation: i32,
    shown: Arc<ConsumerGroupMetadata>,
}

impl Membership {
    /// That of a consumer; `None` while it is no member of its group. Without a generation Kafka would take offsets from anybody.
    pub fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        let generation = native::generation(consumer.client())?;
        Some(Self { generation, shown: Arc::new(consumer.group_metadata()?) })
    }

    pub(crate) fn shown(&self) -> &ConsumerGroupMetadata {
        &self.shown
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership(generation {})", self.generation)
    }
}

/// Offsets move only by the caller's hand, and partitions one by one.
fn set_ownership(config: &mut ClientConfig, group: &str) {
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky");
}

/// librdkafka's default pause of 1 s after its queue was full makes the rate erratic; 5 ms keeps it steady (measured).
fn set_fetching(config: &mut ClientConfig, settings: &ConsumerSettings) {
    config
        .set("queued.max.messages.kbytes", settings.prefetch_kib.to_string())
        .set("fetch.queue.backoff.ms", "5")
        .set("allow.auto.create.topics", "false");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_offset_moves_by_itself() {
        let config = config(&ConsumerSettings::default());
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
    }

    #[test]
    fn librdkafka_takes_the_settings() {
        let short = ConsumerSettings { poll_interval: Duration::from_secs(1), ..ConsumerSettings::default() };
        for settings in [ConsumerSettings::default(), short] {
            config(&settings).create::<BaseConsumer>().unwrap();
        }
    }

    fn config(settings: &ConsumerSettings) -> ClientConfig {
        let connection =
            KafkaConnection { bootstrap_servers: vec!["127.0.0.1:9".into()], ..KafkaConnection::default() };
        consumer_config(&connection, "shop.orders", settings).unwrap()
    }
}
