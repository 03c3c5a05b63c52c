//! What an Integration reads from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{TopicReference, WebhookReference};

/// What records are read from. Exactly one of `topic`, `webhook`, `kafka`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.topic), has(self.webhook), has(self.kafka)].filter(given, given).size() == 1")
    .message("source: write exactly one of topic, webhook, kafka"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicReference>,
    /// A Webhook in the same namespace; its Topic is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookReference>,
    /// Kafka topics that no Topic resource declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// Kafka consumer group. Default: `<namespace>.<name>`. The operator's configuration may limit which ones a namespace may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub group: Option<String>,
    /// Where a group begins that has never committed an offset.
    #[serde(default)]
    pub start_from: StartFrom,
}

/// Kafka topics that no Topic resource declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSource {
    /// Kafka cluster, by its name in the operator's configuration.
    #[serde(default = "KafkaSource::default_cluster")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster: String,
    /// Names of the topics in Kafka. The operator's configuration may limit which ones a namespace may use.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$")))]
    pub topics: Vec<String>,
}

impl KafkaSource {
    fn default_cluster() -> String {
        "default".to_owned()
    }
}

/// Where a consumer group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartFrom {
    /// With the oldest record.
    #[default]
    Earliest,
    /// With what is written from now on.
    Latest,
}
