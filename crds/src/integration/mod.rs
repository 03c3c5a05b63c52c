//! Integration: records of a source are decoded, filtered, mapped and delivered to a sink.

mod auth;
mod dead_letters;
mod delivery;
mod scaling;
mod sink;
mod source;
mod step;

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DeletionPolicy, LastGood, PodSettings, TopicReference};

pub use auth::{ApiKeyAuth, BasicAuth, BearerAuth, ClientAuthentication, OAuth2, SinkAuth, SinkTls};
pub use dead_letters::{DeadLetterSettings, HeaderStyle};
pub use delivery::{
    Backoff, CircuitBreaker, Delivery, FailureShare, Guarantee, IdempotencyKey, OnDataError, OnDeliveryError, Ordering,
    RateLimit, Retry,
};
pub use scaling::Scaling;
pub use sink::{Body, HttpMethod, HttpSink, KafkaSink, Sink};
pub use source::{KafkaSource, Source, StartFrom};
pub use step::{Decode, Format, SchemaSource, Step, Validation};

/// The finalizer of an Integration with `deletionPolicy: Delete`; no other Integration has one.
pub const INTEGRATION_FINALIZER: &str = "sluice.dev/integration";

/// Records of a source are decoded, filtered, mapped and delivered to a sink; what cannot be delivered becomes a dead letter.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Integration",
    namespaced,
    doc = "Records of a source are decoded, filtered, mapped and delivered to a sink; what cannot be delivered becomes a dead letter.",
    status = "IntegrationStatus",
    derive = "PartialEq",
    shortname = "intg",
    category = "sluice",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$')").message("metadata.name: use at most 45 lower-case letters, digits and '-', beginning with a letter, because the name of the Deployment is made from it"),
    validation = Rule::new("!has(self.spec.delivery) || !has(self.spec.delivery.guarantee) || self.spec.delivery.guarantee != 'ExactlyOnce' || has(self.spec.sink.kafka)").message("delivery.guarantee: ExactlyOnce is only for sink.kafka; HTTP APIs tell repeated deliveries by delivery.idempotencyKey"),
    validation = Rule::new("!has(self.spec.sink.kafka) || !has(self.spec.delivery) || (!has(self.spec.delivery.circuitBreaker) && !has(self.spec.delivery.rateLimit))").message("delivery: circuitBreaker and rateLimit are for APIs; remove them, as sink.kafka writes batches"),
    // The subresource `scale` is judged by it too.
    validation = Rule::new("!has(self.spec.scaling) || !has(oldSelf.spec.scaling) || self.spec.replicas == oldSelf.spec.replicas || self.spec.replicas == 1").message("replicas: Sluice makes as many workers as spec.scaling says, and replicas counts for nothing; remove spec.scaling, or what sets replicas: kubectl scale, a HorizontalPodAutoscaler or KEDA"),
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether records are delivered"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready, or not"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source", description = "What records are read from"),
    printcolumn(name = "Sink", type_ = "string", json_path = ".status.sink", description = "What records are delivered to"),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.lag", description = "Records that wait"),
    printcolumn(name = "Rate", type_ = "string", json_path = ".status.rate", description = "Records that the sink takes, per second"),
    printcolumn(name = "Errors", type_ = "string", json_path = ".status.errorRate", description = "Share of the attempts that fail"),
    printcolumn(name = "Dead", type_ = "string", json_path = ".status.deadLetters", description = "Records that are kept as dead letters"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastDeliveryTime", description = "When the sink last took a record"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.p95", description = "Time within which 95 of 100 attempts end", priority = 1),
    printcolumn(name = "Circuit", type_ = "string", json_path = ".status.circuit", description = "Whether the sink is left alone because it fails", priority = 1),
    printcolumn(name = "Oldest", type_ = "string", json_path = ".status.oldestWaiting", description = "How long the oldest record has waited that waits", priority = 1),
    printcolumn(name = "Drained", type_ = "string", json_path = ".status.drainedIn", description = "When no record will wait any more", priority = 1),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas", description = "Workers that are ready", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationSpec {
    /// What records are read from. Exactly one kind of source.
    pub source: Source,
    /// How the bytes of a record become a value.
    #[serde(default)]
    pub decode: Decode,
    /// What happens to a record before it is delivered, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.all(step, self.exists_one(other, other.name == step.name))").message("steps: give each step a name of its own; dead letters tell the step by it"))]
    pub steps: Vec<Step>,
    /// What records are delivered to. Exactly one kind of sink.
    pub sink: Sink,
    /// How records are delivered: order, concurrency, timeouts, retries.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where records go that could not be processed or delivered. Default: a Topic of its own, `<name>-dead-letters`.
    #[serde(default)]
    pub dead_letters: DeadLetterSettings,
    /// Workers to run. More than the source has partitions are of no use. Where `scaling` is set it counts for nothing, and nobody may set another
    /// number.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Workers in the number that the lag needs, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// The worker's own settings.
    #[serde(default)]
    pub worker: Worker,
    /// Name of the Secret with which its workers log in to Kafka, instead of the one that the operator's configuration names for the Kafka
    /// cluster (`clients.secretName`); with the same keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub kafka_secret_name: Option<String>,
    /// Where its pods run, and what they have beside what Sluice gives them.
    #[serde(default)]
    pub pods: PodSettings,
    /// While true, no worker runs and records wait in the source.
    #[serde(default)]
    pub paused: bool,
    /// What becomes of the consumer group when this resource is deleted: `Retain` keeps it, so that an Integration of the same name goes on
    /// where this one stopped; `Delete` deletes it with its offsets once the workers have ended. Only the group in
    /// `status.consumerGroup` is ever deleted, and not where another Integration names it too.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl IntegrationSpec {
    /// The Topic that the sink writes to, where it names one.
    pub fn sink_topic(&self) -> Option<&TopicReference> {
        self.sink.kafka.as_ref()?.topic.as_ref()
    }

    /// The ConfigMaps that the steps refer to, each once.
    pub fn config_map_names(&self) -> BTreeSet<&str> {
        let schemas = self.steps.iter().filter_map(|step| Some(&step.validate.as_ref()?.json_schema));
        schemas.filter_map(|schema| Some(schema.config_map_ref.as_ref()?.name.as_str())).collect()
    }
}

const fn one() -> i32 {
    1
}

/// The worker's own settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// CPU and memory of the worker. Default: requests 50m and 64Mi, memory limit 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// How much the worker logs.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what a person must act on.
    Error,
    /// And what will be tried again.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And what went well.
    Debug,
}

/// A consumer group of Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroup {
    /// Kafka cluster, by its name in the operator's configuration.
    pub cluster: String,
    /// Name of the group in Kafka.
    pub name: String,
}

/// What Sluice last saw of the integration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The generation whose configuration the workers run; older than `observedGeneration` while a bad spec is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_generation: Option<i64>,
    /// Where the objects of the last spec are noted that could be carried out: they are kept while a later one cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// `Ready`, `ConfigValid`, `DependenciesReady`, `WorkersAvailable`, `SecretsReady`, `SinkHealthy`, and `Reconciling`, `Stalled`, `Paused` or `Unmeasured` while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the spec names in its namespace, and cannot do without, as `<kind>/<namespace>/<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// The consumer group in which its workers read, or read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<ConsumerGroup>,
    /// What records are read from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What records are delivered to, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Records that wait, for people: `0`, `1.2k`, two digits, rounded down; `-` before the group has committed an offset, `unknown` while Kafka does not tell (condition `Unmeasured`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// The partition where most records wait, and how many: `shop.orders-2: 800`. Absent while none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_partition: Option<String>,
    /// How long the oldest record has waited that waits: `<1m`, `5m`, `2h`, rounded down; `>5m` where it was there before the operator
    /// first looked. Absent while none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting: Option<String>,
    /// When no record will wait any more if it goes on like this: `<1m`, `20m`; `never` where lag does not shrink. Absent while none
    /// waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_in: Option<String>,
    /// Records that the dead-letter topic holds, for people; `unknown` while Kafka does not tell (condition `Unmeasured`). Where others
    /// write to that topic too, instead those that its own workers ever wrote: about right, and not falling when workers restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
    /// Records that the sink takes, for people: `35/s`, of the last minute. This and the other numbers of workers are `unknown` while
    /// one of them does not answer, and absent where none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Records that become dead letters, for people: `<0.1/s`, of the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_rate: Option<String>,
    /// Share of the attempts of the last minute that failed, for people: `0.3%`. Absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<String>,
    /// Time within which 95 of 100 attempts of the last minute ended, for people, rounded up: `128ms`. Absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<String>,
    /// Attempts under way, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<String>,
    /// `Closed`; `Open` while a worker leaves the sink alone because it failed again and again; `HalfOpen` while it is tried with one
    /// record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<String>,
    /// When the sink last took a record, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivery_time: Option<Time>,
    /// Records that Kafka deleted before they were read, at most, for people. Absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
    /// What keeps workers from working, in their own words. Absent while nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Workers that `scaling` wants, where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_replicas: Option<i32>,
    /// Workers that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Workers that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the workers, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}
