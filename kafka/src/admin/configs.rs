//! The configuration of topics: what holds and why, and changing single keys.

use std::collections::BTreeMap;

use super::{Admin, PerTopic, batch::Batch, rights::Task};
use crate::{Error, native};

/// The value of one key and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The value that holds; `None` where it is sensitive.
    pub value: Option<String>,
    /// Who set it.
    pub source: ConfigSource,
    /// The value that would hold if the topic had none of its own; `None` where Kafka does not tell, as it does not for the
    /// default of a `retention.ms` that the topic overrides.
    pub inherited: Option<String>,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether the broker hides the value.
    pub sensitive: bool,
}

/// Who set a value, the strongest first. All but `Topic` are inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic itself.
    Topic,
    /// Set on one broker while it runs.
    Broker,
    /// Set on all brokers while they run.
    AllBrokers,
    /// Stands in the broker's configuration file.
    BrokerFile,
    /// Kafka's default.
    Default,
    /// A source that topics do not have today.
    Other,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets the key on the topic.
    Set {
        /// Such as `retention.ms`.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Takes the key from the topic, which inherits again.
    Delete {
        /// Such as `retention.ms`.
        key: String,
    },
}

const ALTER: Task = Task { doing: "change configurations", right: ("AlterConfigs", "--topic"), changes: true };
const DESCRIBE: Task = Task { doing: "describe configurations", right: ("DescribeConfigs", "--topic"), changes: false };

impl Admin {
    /// Describes the whole configuration of topics, inherited values too, by key. All of them are one request.
    pub async fn describe_configs(&self, topics: &[&str]) -> Result<PerTopic<BTreeMap<String, ConfigEntry>>, Error> {
        let batch = Batch::build(topics.iter().map(|topic| (*topic, native::config_resource(topic))));
        self.ask(DESCRIBE, batch, native::describe_configs, native::topic_configs).await
    }

    /// Describes which of the keys that are named for a topic were set on the topic itself; of all keys where none is named. Sensitive
    /// values are left out. All topics are one request. A broker tells some thirty keys of a topic, each with what it inherits: naming
    /// those that matter spares it and us nearly all of the work.
    pub async fn describe_own_configs(
        &self,
        topics: &[(&str, Vec<String>)],
    ) -> Result<PerTopic<BTreeMap<String, String>>, Error> {
        let build = |(topic, keys): &(&str, Vec<String>)| native::config_resource_of(topic, keys);
        let batch = Batch::build(topics.iter().map(|topic| (topic.0, build(topic))));
        self.ask(DESCRIBE, batch, native::describe_configs, native::own_topic_configs).await
    }

    /// Changes the named keys and no other (KIP-339). A topic's changes happen all or not at all.
    pub async fn alter_configs_incrementally(
        &self,
        changes: &[(&str, Vec<ConfigChange>)],
    ) -> Result<PerTopic<()>, Error> {
        let build = |(topic, changes): &(&str, Vec<ConfigChange>)| native::changed_resource(topic, changes);
        let batch = Batch::build(changes.iter().map(|change| (change.0, build(change))));
        self.ask(ALTER, batch, native::alter_configs_incrementally, native::alterations).await
    }
}
