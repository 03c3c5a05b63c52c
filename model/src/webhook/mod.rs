//! Webhook: a receiver behind a route of the Gateway API, and a Topic that holds what it receives.

mod acceptance;
mod aws;
mod claim;
mod contract;
mod desire;
mod event;
mod handover;
mod held;
mod kong;
mod open_api;
mod report;
mod route;
mod shared;
mod traffic;
mod url;
mod validate;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use sluice_crds::{
    Deprecation, Duration, Ingress, NamespacedName, OpenApi, OutgoingCalls, ParentReference, PodSettings, ReceiverMode,
    Topic, TopicTemplate, UsedTopic, wire,
};

pub use aws::{HttpApi, leave_strange_api_alone};
pub use claim::{claim_the_same, is_before};
pub use desire::{desire, receiver_name};
pub use handover::{Step, Steps, Turn, after_take_over, has_service, take_over, without_farewells};
pub use held::{Held, running};
pub use kong::Plugin;
pub use report::{Outcome, Seen, report};
pub use route::{all_of_route, belongings, is_of_route, without_unknown};
pub use shared::{
    SHARED_RECEIVERS, SharedObjects, SharedReceivers, Sharer, desire_shared, plan_shared, shard_of, shared_owner,
    sharers_before,
};
pub use traffic::{Burst, Found, Shown, Traffic};
pub use url::{Allowed, Listener};
pub use validate::validate;

use crate::{Cluster, Refused, children::Owner};

/// The component that a Webhook's objects belong to.
pub const COMPONENT: &str = "receiver";

/// What a Webhook refers to, as it was found. What does not exist is `None`.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The Topic that `topicRef` names.
    pub topic: Option<Topic>,
    /// The Topic that `deadLetters.topicRef` names.
    pub dead_letters: Option<Topic>,
    /// Those of them that other namespaces do not let it use.
    pub refused: Refused,
    /// The data of the ConfigMap that holds the schema, by name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// The listeners of the Gateways that `route.parentRefs` names, those that exist.
    pub listeners: Vec<Listener>,
    /// Those of the Gateways that `route.parentRefs` names that do not exist, as `namespace/name`.
    pub missing_gateways: Vec<String>,
    /// An older Webhook that claims the same host and path.
    pub older_claim: Option<NamespacedName>,
}

/// A Webhook that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The Webhook.
    pub owner: Owner,
    /// The Kafka cluster that holds the events.
    pub cluster: Cluster,
    /// The topic that holds the events.
    pub topic: WrittenTopic,
    /// The Topics of other namespaces that it uses.
    pub elsewhere: BTreeSet<NamespacedName>,
    /// All that it writes to, as its status notes it.
    pub uses: Vec<UsedTopic>,
    /// What the body of an event must look like.
    pub contract: Option<Contract>,
    /// What brings requests to the receivers.
    pub entry: Entry,
    /// What Kong does with them before.
    pub plugins: Vec<Plugin>,
    /// The host names that senders use; none means those of the listeners.
    pub hostnames: Vec<String>,
    /// The path that senders use.
    pub path: String,
    /// What senders call this version, where there are several.
    pub version: Option<String>,
    /// The header by which senders choose this version, and its value.
    pub header: Option<(String, String)>,
    /// What every answer says where this version is out of date.
    pub deprecation: Option<Deprecation>,
    /// Whether and how a document describes the endpoint.
    pub open_api: Option<OpenApi>,
    /// The older Webhook that has this address, so that this one gets no route.
    pub older_claim: Option<NamespacedName>,
    /// How senders are verified.
    pub verification: wire::Verification,
    /// How far a sender's timestamp may lie from the clock.
    pub tolerance: Duration,
    /// What the event's id, type and key are taken from.
    pub event: wire::EventSources,
    /// How long an event's id is remembered.
    pub deduplication_window: Duration,
    /// File with the address of the Redis that remembers ids.
    pub deduplication_redis: Option<std::path::PathBuf>,
    /// Largest body.
    pub body_limit: sluice_crds::Size,
    /// How many requests there may be.
    pub rate_limits: wire::RateLimits,
    /// HTTP status of the answer to an accepted event.
    pub respond: u16,
    /// How long a sender waits for Kafka's confirmation.
    pub patience: Duration,
    /// Whose receivers take its events.
    pub mode: ReceiverMode,
    /// Receivers that there are to be.
    pub replicas: i32,
    /// What is said about their pods.
    pub pods: PodSettings,
    /// CPU and memory of a receiver.
    pub resources: Option<ResourceRequirements>,
    /// Which addresses its receivers may call.
    pub outgoing: OutgoingCalls,
    /// Whether every request is answered 503.
    pub paused: bool,
}

/// What brings requests to the receivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An HTTPRoute for these gateways, at least one.
    Gateways(Vec<ParentReference>),
    /// An Ingress.
    Ingress(Ingress),
    /// An API of AWS API Gateway.
    AwsApiGateway(HttpApi),
}

/// What the body of an event must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// A JSON Schema that compiles.
    pub json_schema: serde_json::Value,
    /// The topic for events that are not as it says; where there is none, they are refused.
    pub dead_letters: Option<WrittenTopic>,
}

/// A topic that a Webhook writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenTopic {
    /// A Topic that the Webhook owns.
    Own(TopicTemplate),
    /// A Topic of somebody else.
    Named {
        /// The Kafka topic that it declares.
        kafka: String,
        /// Why it is not ready, where it is not.
        not_ready: Option<crate::Rejection>,
    },
}

impl Endpoint {
    /// Name of the Service that requests go to.
    pub fn service(&self) -> String {
        match self.mode {
            ReceiverMode::Dedicated => receiver_name(&self.owner),
            ReceiverMode::Shared => SHARED_RECEIVERS.to_owned(),
        }
    }

    /// What shared receivers are to serve of it, where it shares them. One whose address an older Webhook has is not served: nobody could tell
    /// whom a request is for.
    pub fn share(&self) -> Option<wire::SharedWebhook> {
        (self.mode == ReceiverMode::Shared && self.older_claim.is_none()).then(|| wire::SharedWebhook {
            generation: self.owner.generation,
            paused: self.paused,
            ..shared::shared_webhook(self)
        })
    }

    /// Name of the Kafka topic that holds the events.
    pub fn kafka_topic(&self) -> String {
        self.written(&self.topic, &self.owner.name.name)
    }

    /// Name of the Kafka topic that holds the dead letters, where there are any.
    pub fn dead_letter_topic(&self) -> Option<String> {
        let topic = self.contract.as_ref()?.dead_letters.as_ref()?;
        Some(self.written(topic, &self.own_dead_letters()))
    }

    /// Name of the Topic that the Webhook owns for its dead letters.
    fn own_dead_letters(&self) -> String {
        format!("{}-webhook-dead-letters", self.owner.name.name)
    }

    fn written(&self, topic: &WrittenTopic, own: &str) -> String {
        match topic {
            WrittenTopic::Own(_) => format!("{}.{own}", self.owner.name.namespace),
            WrittenTopic::Named { kafka, .. } => kafka.clone(),
        }
    }
}
