//! Topic: one Kafka topic, created, grown and kept as declared.

mod plan;
mod reassignment;
mod report;
mod validate;

use std::collections::BTreeMap;

use sluice_crds::ManagementPolicy;

pub use plan::{Change, Plan, plan};
pub use report::{Outcome, report};
pub use validate::validate;

use crate::Cluster;

/// A Topic that can be carried out: the Kafka topic that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The cluster that holds it.
    pub cluster: Cluster,
    /// Its name in Kafka: 1 to 249 of the characters that Kafka allows.
    pub name: String,
    /// Partitions, at least 1; as found where absent.
    pub partitions: Option<i32>,
    /// Copies of each partition, at least 1; as found where absent.
    pub replicas: Option<i16>,
    /// Kafka's own settings, the keys that are ours.
    pub config: BTreeMap<String, String>,
    /// How far to go.
    pub policy: ManagementPolicy,
}

/// A Kafka topic that exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// Kafka's id of it.
    pub id: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition: the fewest, while a reassignment is under way.
    pub replicas: i16,
    /// The settings that were made for this topic; what it inherits is not among them.
    pub config: BTreeMap<String, String>,
}
