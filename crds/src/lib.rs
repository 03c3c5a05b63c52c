//! What users can say to Sluice, and every type that crosses a process boundary.
//!
//! [`Topic`], [`Webhook`] and [`Integration`] are the custom resources: their doc comments are the manual that
//! `kubectl explain` prints, their bounds and CEL rules are what the API server enforces. [`Settings`] is the operator's own
//! configuration. [`wire`] is what the operator tells the data planes, [`metrics`] what all programs tell Prometheus.
//! `make generate` writes the manifests, the API reference and the list of metrics from them.
#![warn(missing_docs)]

mod condition;
mod connection;
mod definition;
mod duration;
mod integration;
mod last_good;
pub mod metrics;
mod outgoing;
mod pods;
mod reference;
mod settings;
mod size;
mod topic;
mod webhook;
pub mod wire;

pub use condition::{ConditionType, Reason};
pub use connection::{KafkaConnection, SaslMechanism, SecurityProtocol};
pub use definition::definitions;
pub use duration::{Duration, InvalidDuration};
pub use integration::*;
pub use last_good::{KafkaTopic, LastGood, TopicRole, UsedTopic};
pub use outgoing::{InvalidNetwork, Network, OutgoingCalls, Refused};
pub use pods::{PodSettings, Receiver, ReceiverMode, SecretName, Variable};
pub use reference::{
    ConfigMapReference, DeadLetters, NamespacedName, SecretReference, TopicReference, TopicTemplate, WebhookReference,
};
pub use settings::{
    AdminRequests, Grant, Images, KafkaClients, KafkaCluster, Measuring, NetworkPolicies, SchemaRegistry, Settings,
    SharedReceivers, Tenancy, Tracing,
};
pub use size::{InvalidSize, Size};
pub use topic::*;
pub use webhook::*;
