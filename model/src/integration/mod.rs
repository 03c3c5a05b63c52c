//! Integration: a worker between a source and a sink, and a Topic for what it cannot deliver.

mod auth;
mod desire;
mod farewell;
mod held;
mod history;
mod measure;
mod report;
mod scaling;
mod sink;
mod steps;
mod subject;
mod validate;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use sluice_crds::{
    Decode, Delivery, HeaderStyle, LogLevel, NamespacedName, OutgoingCalls, PodSettings, Scaling, StartFrom, Topic,
    TopicTemplate, UsedTopic, Webhook, wire,
};

pub use desire::{desire, worker_name};
pub use farewell::{Farewell, GroupUse, Leaving, Release, complaints_of_deletion, farewell, is_deleted_too};
pub use held::Held;
pub use history::{Age, Earlier, History};
pub use measure::{Backlog, Drain, PartitionOffsets, Told, Why, age_said, with_numbers};
pub use report::{Outcome, report};
pub use scaling::{Needs, bounds, needed};
pub use subject::Subject;
pub use validate::{owner, validate};
pub use work::{Health, Shown, Work, with_work};

use crate::{Cluster, Refused, children::Owner};

/// The component that an Integration's objects belong to.
pub const COMPONENT: &str = "worker";

/// What an Integration refers to, as it was found. What does not exist is `None`.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The Webhook that `source.webhook` names.
    pub webhook: Option<Webhook>,
    /// The Topic that `source.topic` names, or that holds the Webhook's events.
    pub source: Option<Topic>,
    /// The Topic that `sink.kafka.topic` names.
    pub sink: Option<Topic>,
    /// The Topic that `deadLetters.topicRef` names.
    pub dead_letters: Option<Topic>,
    /// Those of them that other namespaces do not let it use.
    pub refused: Refused,
    /// The data of the ConfigMaps that steps name, by name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
}

/// An Integration that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The Integration.
    pub owner: Owner,
    /// The Kafka cluster of source and dead letters, and of a Kafka sink.
    pub cluster: Cluster,
    /// Kafka topics to read, at least one.
    pub topics: Vec<String>,
    /// The Topics of other namespaces that it uses.
    pub elsewhere: BTreeSet<NamespacedName>,
    /// All that it reads and writes, as its status notes it.
    pub uses: Vec<UsedTopic>,
    /// Kafka consumer group.
    pub group: String,
    /// Where the group begins.
    pub start_from: StartFrom,
    /// The steps, whose programs and schemas compile.
    pub steps: Vec<wire::StepConfig>,
    /// How records are decoded.
    pub decode: Decode,
    /// The sink, its address and headers well formed.
    pub sink: wire::SinkConfig,
    /// How to deliver.
    pub delivery: Delivery,
    /// Which addresses its workers may call.
    pub outgoing: OutgoingCalls,
    /// Where dead letters go.
    pub dead_letters: DeadLetterTopic,
    /// What dead letters say of themselves.
    pub dead_letter_headers: HeaderStyle,
    /// Workers to run: none while the Integration is paused. With `scaling`: as many as there are, until it is told how many
    /// are needed.
    pub replicas: i32,
    /// How their number follows the lag.
    pub scaling: Option<Scaling>,
    /// Whether it is paused.
    pub paused: bool,
    /// What is said about the workers' pods.
    pub pods: PodSettings,
    /// CPU and memory of a worker.
    pub resources: Option<ResourceRequirements>,
    /// How much a worker logs.
    pub log_level: LogLevel,
    /// Topics that are referred to and not ready, each with its field and what it says.
    pub waiting_for: Vec<crate::Rejection>,
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterTopic {
    /// To a Topic that the Integration owns.
    Own(TopicTemplate),
    /// To a Kafka topic that a Topic of somebody else declares.
    Named(String),
}

impl Flow {
    /// Name of the Kafka topic of the dead letters.
    pub fn dead_letter_topic(&self) -> String {
        match &self.dead_letters {
            DeadLetterTopic::Own(_) => format!("{}.{}", self.owner.name.namespace, desire::own_dead_letters(self)),
            DeadLetterTopic::Named(name) => name.clone(),
        }
    }

    /// What records are read from, for people.
    pub fn source_title(&self) -> String {
        self.topics.join(", ")
    }

    /// What records are delivered to, for people: a topic, or method and host, never a query that may hold a secret.
    pub fn sink_title(&self) -> String {
        let http = match &self.sink {
            wire::SinkConfig::Http(http) => http,
            wire::SinkConfig::Kafka(kafka) => return kafka.topic.clone(),
        };
        let host = http.origin().split_once("://").map_or(http.origin(), |(_, host)| host);
        if wire::is_template(&http.method) { host.to_owned() } else { format!("{} {host}", http.method) }
    }
}
