//! Webhook: an HTTP endpoint whose verified events are written to a Topic before they are acknowledged.

mod aws;
mod event;
mod limits;
mod open_api;
mod route;
mod validate;
mod verify;
mod version;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use aws::{AwsApiGateway, VpcLink};
pub use event::{CloudEvents, Empty, Event, EventField, EventId};
pub use limits::{Limits, RequestRate, SourceRate};
pub use open_api::OpenApi;
pub use route::{Ingress, Kong, KongRateLimit, ParentReference, Route};
pub use validate::{EventValidation, OnInvalidEvent};
pub use verify::{
    ApiKey, Basic, Bearer, CertificateFormat, CertificateIdentity, ClientCertificate, Encoding, Hmac, HmacAlgorithm,
    Jwt, Preset, PresetName, Verify,
};
pub use version::{Deprecation, Version};

use crate::{DeadLetters, Duration, LastGood, PodSettings, Receiver, SecretReference, TopicReference, TopicTemplate};

/// An HTTP endpoint whose verified events are written to a Topic before they are acknowledged.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Webhook",
    namespaced,
    doc = "An HTTP endpoint whose verified events are written to a Topic before they are acknowledged.",
    status = "WebhookStatus",
    derive = "PartialEq",
    shortname = "whk",
    category = "sluice",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$')").message("metadata.name: use at most 45 lower-case letters, digits and '-', beginning with a letter, because the names of Deployment and Service are made from it"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether events are received"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready, or not"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", description = "Where senders send"),
    printcolumn(name = "Rate", type_ = "string", json_path = ".status.rate", description = "Events that are accepted, per second"),
    printcolumn(name = "Rejected", type_ = "string", json_path = ".status.rejected", description = "Requests that were refused"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastEventTime", description = "When the last event came"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topic", description = "Kafka topic that holds the events", priority = 1),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.accepted", description = "Events that Kafka confirmed", priority = 1),
    printcolumn(name = "Duplicates", type_ = "string", json_path = ".status.duplicates", description = "Events that had been received before", priority = 1),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas", description = "Receivers that are ready", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!(has(self.topicRef) && has(self.topic))")
    .message("write topicRef (a Topic that exists) or topic (a template for one that Sluice makes), not both"))]
#[x_kube(validation = Rule::new("!has(self.verify.preset) || self.verify.preset.name != 'Twilio' || has(self.verify.preset.url) || has(self.route.hostnames)")
    .message("verify.preset: Twilio signs the address of the endpoint; write url, or route.hostnames"))]
#[x_kube(validation = Rule::new("!has(self.deadLetters) || (has(self.validate) && (!has(self.validate.onInvalid) || self.validate.onInvalid == 'DeadLetter'))")
    .message("deadLetters: only events that validate holds back go there; write validate with onInvalid: DeadLetter, or leave deadLetters out"))]
#[x_kube(validation = Rule::new("!has(self.version) || !has(self.version.header) || has(self.route.parentRefs)")
    .message("version.header: an Ingress cannot choose by a header, nor can AWS API Gateway; leave header out, so that the version stands in the path, or write route.parentRefs"))]
#[x_kube(validation = Rule::new("!has(self.receiver) || !has(self.receiver.mode) || self.receiver.mode != 'Shared' || (!has(self.receiver.resources) && (!has(self.replicas) || self.replicas == 1))")
    .message("receiver.mode: shared receivers are those of the whole namespace, and sharedReceivers of the operator's configuration says how many there are; leave replicas and receiver.resources out, or write mode: Dedicated"))]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// Where the endpoint is reached: the gateways, Ingress or API of AWS API Gateway, host names and path.
    pub route: Route,
    /// Describes the endpoint as an OpenAPI 3.0 document, in the ConfigMap `<name>-openapi`, for gateways that are set up from one,
    /// such as Apigee. Default: no document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_api: Option<OpenApi>,
    /// Which version of the endpoint this is, where there are several. Default: it has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// How a sender proves who it is. Exactly one scheme.
    pub verify: Verify,
    /// What the event's id, type and key are taken from.
    #[serde(default)]
    pub event: Event,
    /// How events that were sent twice are found.
    #[serde(default)]
    pub deduplicate: Deduplicate,
    /// What a request may use, and how many requests there may be.
    #[serde(default)]
    pub limits: Limits,
    /// A Topic that holds the events. Default: a Topic of its own, named like the Webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_ref: Option<TopicReference>,
    /// Template of the Topic that Sluice makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicTemplate>,
    /// What the body of an event must look like. Default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<EventValidation>,
    /// Where events go whose bodies are not as `validate` says. Default: a Topic of its own, `<name>-webhook-dead-letters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// The answer to an event that Kafka has confirmed, and to one that was received before.
    #[serde(default)]
    pub respond: Respond,
    /// How long a sender waits for Kafka's confirmation before it is answered 503; between 100ms and 25s, and less than the
    /// sender's own patience (most providers give up after 5 to 10 s).
    #[serde(default = "WebhookSpec::default_patience")]
    pub patience: Duration,
    /// Receivers to run, where they are the Webhook's own.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// The receiver's own settings.
    #[serde(default)]
    pub receiver: Receiver,
    /// Name of the Secret with which its receivers log in to Kafka, instead of the one that the operator's configuration names for the Kafka
    /// cluster (`clients.secretName`); with the same keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub kafka_secret_name: Option<String>,
    /// Where its pods run, and what they have beside what Sluice gives them.
    #[serde(default)]
    pub pods: PodSettings,
    /// While true, every request is answered 503 with Retry-After, so that senders try again later. Receivers obey within
    /// about 90 s, without a restart.
    #[serde(default)]
    pub paused: bool,
}

impl WebhookSpec {
    /// The ConfigMap that holds the schema of the events' bodies.
    pub fn config_map_name(&self) -> Option<&str> {
        Some(self.validate.as_ref()?.json_schema.config_map_ref.as_ref()?.name.as_str())
    }

    /// The Topic that exists and that dead letters go to.
    pub fn dead_letters_ref(&self) -> Option<&TopicReference> {
        self.dead_letters.as_ref()?.topic_ref.as_ref()
    }

    const fn default_patience() -> Duration {
        Duration::from_millis(2_500)
    }
}

const fn one() -> i32 {
    1
}

/// How events that were sent twice are found: by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deduplicate {
    /// How long an event's id is remembered.
    #[serde(default = "Deduplicate::default_window")]
    pub window: Duration,
    /// Where ids are remembered. Default: in the receiver's memory, per replica and until it restarts, at most 100,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<DeduplicationStore>,
}

/// Where the ids of events are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeduplicationStore {
    /// A Redis that all receivers of the Webhook share.
    pub redis: Redis,
}

/// A Redis (or what speaks its protocol). While it is away, events are accepted and written without its advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Its address with credentials, such as `redis://user:password@redis.shop:6379/0`, or `rediss://` for TLS. A changed Secret
    /// is noticed without a restart.
    pub url_secret_ref: SecretReference,
}

impl Deduplicate {
    const fn default_window() -> Duration {
        Duration::from_secs(24 * 3600)
    }
}

impl Default for Deduplicate {
    fn default() -> Self {
        Self { window: Self::default_window(), store: None }
    }
}

/// The answer to an accepted event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Respond {
    /// HTTP status: 200, 201, 202 or 204.
    #[serde(default = "Respond::default_status")]
    #[schemars(range(min = 200, max = 204), extend("format" = "int32"))]
    pub status: u16,
}

impl Respond {
    const fn default_status() -> u16 {
        202
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: Self::default_status() }
    }
}

/// What Sluice last saw of the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the objects of the last spec are noted that could be carried out: they are kept while a later one cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// `Ready`, `RouteAccepted`, `ReceiverAvailable`, `TopicReady`, `SecretsReady`, `DeduplicationHealthy`, and `Reconciling` or
    /// `Stalled` while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the spec names, and cannot do without, as `<kind>/<namespace>/<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// The Integrations that read its events, through it or from its Topic, as `<kind>/<namespace>/<name>`; of many the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Where senders send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Kafka topic that holds the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Events that Kafka confirmed, for people: `12k`. Counts are about right, and do not fall when receivers restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// Events that had been received before, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<String>,
    /// Events whose bodies are not as they must be and that became dead letters, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
    /// Requests that were refused, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// The same by cause: `signature`, `size`, `rate`, `schema` and others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected_by: BTreeMap<String, String>,
    /// Requests that Kafka did not confirm in time or did not take, so that their senders try again, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
    /// Events that are accepted, for people: `3.1/s`. Absent while a receiver does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Time within which 95 of 100 requests were confirmed, for people, rounded up: `8ms`. Absent where none came lately, and
    /// while a receiver does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<String>,
    /// When the last event was confirmed, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_time: Option<Time>,
    /// Receivers that exist; while `spec.receiver.mode` changes, those that have the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Receivers of these that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
}
