//! Topic: a Kafka topic, declared.

mod schema;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use schema::{Compatibility, RegisteredSchema, SchemaDefinition, SchemaFormat, SchemaReference, TopicSchema};
pub use status::{ChangeKind, PendingChange, PendingChanges, TopicStatus};

/// Annotation that lets pending changes happen: its value is their hash, as `status.pending.hash` shows it.
pub const APPROVE_ANNOTATION: &str = "sluice.dev/approve";
/// The finalizer of a Topic with `deletionPolicy: Delete`; no other Topic has one.
pub const TOPIC_FINALIZER: &str = "sluice.dev/topic";

/// A Kafka topic. Sluice creates it, or adopts the one that exists, keeps its settings as declared, and deletes it only where `deletionPolicy` says so.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Topic",
    namespaced,
    doc = "A Kafka topic. Sluice creates it, or adopts the one that exists, keeps its settings as declared, and deletes it only where `deletionPolicy` says so.",
    status = "TopicStatus",
    derive = "PartialEq",
    shortname = "ktopic",
    category = "sluice",
    validation = Rule::new("self.metadata.name.size() <= 185").message("metadata.name: use at most 185 characters, so that <namespace>.<name> fits a Kafka topic name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether Kafka has the topic as declared"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready, or not"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster", description = "Kafka cluster, by its name in the operator's configuration"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName", description = "Name in Kafka"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions", description = "Partitions that Kafka reports"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas", description = "Copies of each partition that Kafka reports"),
    printcolumn(name = "Pending", type_ = "string", json_path = ".status.pending.hash", description = "Changes that are asked for and held back"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.cluster == oldSelf.cluster").message("cluster is immutable; make a new Topic for another Kafka cluster"),
    validation = Rule::new("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)").message("topicName is immutable; make a new Topic for another Kafka topic"),
)]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// Kafka cluster, by its name in the operator's configuration. Immutable.
    #[serde(default = "default_cluster")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster: String,
    /// Name of the topic in Kafka. Default: `<namespace>.<name>`. Immutable. The operator's configuration may limit which names a
    /// namespace may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub topic_name: Option<String>,
    /// Number of partitions. Where absent: 1 at creation, and as found for a topic that exists. It may grow; Kafka cannot
    /// remove partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: Option<i32>,
    /// Copies of each partition. Where absent: the broker's default at creation, and as found for a topic that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub replicas: Option<i32>,
    /// Kafka's own topic settings, such as `retention.ms`. Only the keys written here are Sluice's; a key that is removed
    /// returns to the broker's default, and all others are left alone. A value has at most 32,767 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "additionalProperties" = {"type": "string", "maxLength": 32_767}))]
    pub config: BTreeMap<String, String>,
    /// How far Sluice may go: `Full` creates and changes, `CreateOnly` creates and then only reports, `Observe` only reports.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What becomes of the Kafka topic when this resource is deleted: `Retain` keeps it, `Delete` deletes it with all its
    /// records. Only the topic whose id is in `status.topicId` is ever deleted, and not while an Integration or a Webhook uses it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What the records' values look like, registered in a schema registry. The Kafka topic does not wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<TopicSchema>,
}

impl TopicSpec {
    /// Name of the ConfigMap that holds the schema, where one does.
    pub fn schema_config_map(&self) -> Option<&str> {
        let reference = self.schema.as_ref()?.definition.config_map_ref.as_ref()?;
        Some(&reference.name)
    }
}

fn default_cluster() -> String {
    "default".to_owned()
}

/// How far Sluice may go with a Kafka topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ManagementPolicy {
    /// Create it and keep it as declared.
    #[default]
    Full,
    /// Create it; afterwards report differences and change nothing.
    CreateOnly,
    /// Change nothing; report differences.
    Observe,
}

/// What becomes of what a resource stands for in Kafka when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Keep it, with all that it holds.
    #[default]
    Retain,
    /// Delete it, with all that it holds.
    Delete,
}
