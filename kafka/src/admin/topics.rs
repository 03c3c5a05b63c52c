//! Topics: what they look like, making, growing and deleting them.

use std::collections::BTreeMap;

use super::{Admin, PerTopic, batch::Batch, rights::Task};
use crate::{Error, ErrorCode, KafkaError, native};

/// A topic as Kafka has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic's id in Kafka's own spelling (22 characters of URL-safe base64): another one after the topic was recreated.
    pub id: String,
    /// Whether it belongs to Kafka itself, as `__consumer_offsets` does.
    pub internal: bool,
    /// All partitions.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as Kafka has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number, from 0.
    pub partition: i32,
    /// The broker that takes its records; `None` while there is none.
    pub leader: Option<i32>,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Kafka's rules: 1 to 249 of `a-z A-Z 0-9 . _ -`.
    pub name: String,
    /// How many partitions; 1 where absent.
    pub partitions: Option<i32>,
    /// How many replicas of each; the broker's `default.replication.factor` where absent.
    pub replicas: Option<i16>,
    /// Configuration that differs from the broker's.
    pub config: BTreeMap<String, String>,
}

const CREATE: Task = Task { doing: "create topics", right: ("Create", "--topic"), changes: true };
const DELETE: Task = Task { doing: "delete topics", right: ("Delete", "--topic"), changes: true };
const DESCRIBE: Task = Task { doing: "describe topics", right: ("Describe", "--topic"), changes: false };
const GROW: Task = Task { doing: "add partitions", right: ("Alter", "--topic"), changes: true };

impl Admin {
    /// Describes topics by name; `None` for one that does not exist. All of them are one request to one broker.
    ///
    /// Brokers learn of a change a moment after it is confirmed: a topic made just now can be missing here, one deleted just
    /// now can still be seen. Look again before concluding anything from `None` after a change.
    pub async fn describe_topics(&self, topics: &[&str]) -> Result<PerTopic<Option<TopicDescription>>, Error> {
        let batch = Batch::build(topics.iter().map(|topic| (*topic, native::name(topic))));
        let answers = self.ask(DESCRIBE, batch, native::describe_topics, native::topic_descriptions).await?;
        let existing = answers.into_iter().map(|(topic, answer)| match answer {
            Err(error) if error.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => (topic, Ok(None)),
            answer => (topic, answer.map(Some)),
        });
        Ok(existing.collect())
    }

    /// Makes topics. `Ok` once the cluster's controller has them; what it refuses is the topic's own error.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<PerTopic<()>, Error> {
        let batch = Batch::build(topics.iter().map(|topic| (topic.name.as_str(), native::new_topic(topic))));
        self.ask(CREATE, batch, native::create_topics, native::creations).await
    }

    /// Grows topics to a new total of partitions. Kafka cannot remove partitions: a smaller total is refused.
    pub async fn create_partitions(&self, totals: &[(&str, i32)]) -> Result<PerTopic<()>, Error> {
        let batch = Batch::build(totals.iter().map(|(topic, total)| (*topic, native::new_partitions(topic, *total))));
        self.ask(GROW, batch, native::create_partitions, native::growths).await
    }

    /// Deletes topics with all their records, by name: Kafka's request takes no precondition, so describe just before.
    pub async fn delete_topics(&self, topics: &[&str]) -> Result<PerTopic<()>, Error> {
        let batch = Batch::build(topics.iter().map(|topic| (*topic, native::deleted_topic(topic))));
        let answers = self.ask(DELETE, batch, native::delete_topics, native::deletions).await?;
        Ok(answers.into_iter().map(|(topic, answer)| (topic, answer.map_err(deletion_disabled))).collect())
    }
}

/// librdkafka asks with a version of the request to which brokers without deletion answer that it is invalid, and say no more.
fn deletion_disabled(error: KafkaError) -> KafkaError {
    if error.code != ErrorCode::INVALID_REQUEST {
        return error;
    }
    let message = "the brokers delete no topics: their setting delete.topic.enable is false";
    KafkaError::local(ErrorCode::TOPIC_DELETION_DISABLED, message)
}
