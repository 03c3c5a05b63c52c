//! Where an Integration's dead letters go, and what they say of themselves.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{TopicReference, TopicTemplate};

/// Where dead letters go: a Topic that exists, or one made from a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!(has(self.topicRef) && has(self.topic))")
    .message("deadLetters: write topicRef (a Topic that exists) or topic (a template for one that Sluice makes), not both"))]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSettings {
    /// A Topic. Default: a Topic of its own, `<name>-dead-letters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_ref: Option<TopicReference>,
    /// Template of the Topic that Sluice makes. Dead letters are kept 14 days unless `config` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicTemplate>,
    /// The headers that say why a record is a dead letter, beside the record's own.
    #[serde(default)]
    pub header_style: HeaderStyle,
}

/// Headers of dead letters, for the tools that read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeaderStyle {
    /// `sluice-error-class`, `-error-stage`, `-error-code`, `-error-message`, `-attempts`, `-first-failed-at`, `-original-topic`,
    /// `-original-partition`, `-original-offset`, `-original-timestamp`, `-integration`, `-generation` and `-replay-count`, as text.
    #[default]
    Sluice,
    /// `__connect.errors.topic`, `.partition`, `.offset`, `.connector.name`, `.task.id`, `.stage`, `.class.name`,
    /// `.exception.class.name`, `.exception.message` and `.exception.stacktrace`, as text.
    KafkaConnect,
    /// `kafka_dlt-exception-fqcn`, `-exception-cause-fqcn`, `-exception-message`, `-exception-stacktrace`, `-original-topic`,
    /// `-original-partition`, `-original-offset`, `-original-timestamp`, `-original-timestamp-type` and `-original-consumer-group`;
    /// partition, offset and timestamp are binary.
    Spring,
}
