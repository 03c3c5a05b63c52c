//! What a Topic's status tells: the Kafka topic as it was seen last, and what is asked of it and held back.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RegisteredSchema;

/// What Sluice last saw of the topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and `Reconciling` or `Stalled` while they are true; with a schema also `SchemaRegistered`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the topic in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Kafka's id of the topic (KIP-516); a topic that was deleted and made again has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Partitions that Kafka reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Copies of each partition that Kafka reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The keys of `spec.config` that Sluice has set in Kafka.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_keys: Vec<String>,
    /// The keys of `spec.config` that Sluice is about to set in Kafka, or that Kafka refuses, each with a hash of its value. A key that leaves
    /// the spec is reset only where Kafka has that value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_underway: BTreeMap<String, String>,
    /// Changes that are asked for and held back, each with its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingChanges>,
    /// The schema as the registry has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<RegisteredSchema>,
    /// The Integrations and Webhooks that use the topic, as `<kind>/<namespace>/<name>`; of many the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

/// Changes that are asked for and held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingChanges {
    /// Names this very set of changes of this very topic. Those that can be approved happen once the annotation
    /// `sluice.dev/approve` has this value; it is another one as soon as the spec, the topic or the changes are.
    pub hash: String,
    /// When they were first held back.
    pub since: Time,
    /// The changes, in the order in which they would be made.
    pub changes: Vec<PendingChange>,
}

/// One change that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingChange {
    /// What would be done.
    pub change: ChangeKind,
    /// The field that asks for it.
    pub field: String,
    /// What Kafka has.
    pub from: String,
    /// What is asked for.
    pub to: String,
    /// Why it is held back.
    pub reason: String,
    /// Whether the annotation `sluice.dev/approve` lets it happen.
    #[serde(default)]
    pub approvable: bool,
}

/// What would be done to a Kafka topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// Create it.
    Create,
    /// Create it anew, empty, after it was deleted by somebody else.
    Recreate,
    /// Take the topic that somebody else made in the place of the one that Sluice knew.
    Adopt,
    /// Add partitions.
    Grow,
    /// Remove partitions.
    Shrink,
    /// Change the number of copies of each partition.
    Replicate,
    /// Give a setting a value.
    Set,
    /// Return a setting to the broker's default.
    Reset,
}
