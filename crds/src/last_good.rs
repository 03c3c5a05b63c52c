//! Where the objects of the last spec are noted that could be carried out, and what they use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NamespacedName, TopicReference};

/// Where the objects of the last spec are noted that could be carried out: they are kept while a later one cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The ConfigMap with its configuration; the annotation `sluice.dev/objects` has the other objects.
    pub config_map: String,
    /// SHA-256 of that annotation: another one is not believed. Absent where the objects are too large to be noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_hash: Option<String>,
    /// The Topics of other namespaces that it uses: where one of them may no longer be used, it is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<NamespacedName>,
    /// What it reads and writes. As that goes on while a later spec cannot be carried out, these topics are in use as well as those
    /// that the later spec names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<UsedTopic>,
}

/// A topic that is read or written: one of `topic` and `kafka` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedTopic {
    /// What for.
    pub role: TopicRole,
    /// Whether records with the same key stay in order.
    #[serde(default)]
    pub by_key: bool,
    /// The Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicReference>,
    /// The topic by its name in Kafka, where the spec names no Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTopic>,
}

/// What a topic is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TopicRole {
    /// Records are read from it.
    Source,
    /// Events are written to it.
    Events,
    /// Records are delivered to it.
    Sink,
    /// Dead letters are written to it.
    DeadLetters,
}

/// A topic of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTopic {
    /// Kafka cluster, by its name in the operator's configuration.
    pub cluster: String,
    /// Name of the topic in Kafka.
    pub name: String,
}
