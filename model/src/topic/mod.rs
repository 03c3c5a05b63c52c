//! Topic: one Kafka topic, created, grown and kept as declared.

mod approval;
mod claim;
mod farewell;
mod plan;
mod reassignment;
mod relations;
mod report;
mod risk;
mod schema;
mod step;
mod users;
mod validate;

use std::collections::BTreeMap;

use sluice_crds::ManagementPolicy;

pub use approval::Approval;
pub use claim::{Claim, Place, winner};
pub use farewell::{Farewell, Release, farewell, is_deleted_too};
pub use plan::{Change, Known, Plan, plan, settings_that_matter, stakes_matter};
pub use relations::{References, Relations};
pub use report::{Outcome, report};
pub use risk::oldest_kept;
pub use schema::{
    SchemaChange, SchemaOutcome, SchemaPlan, SchemaVersion, SubjectState, WantedSchema, plan_schema, subject_of,
    wanted_schema,
};
pub use users::{Across, Role, Target, Usage, Use, User, UserKind, Users, uses_of_integration, uses_of_webhook};
pub use validate::validate;

pub(crate) use users::{named, named_by_integration, named_by_webhook, noted_uses};

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
    /// Copies of each partition: the fewest, while a reassignment is under way. Kafka lists those that are still to be filled, too.
    pub replicas: i16,
    /// Copies that have all records, of the partition that has the fewest. It is looked at only while another number of copies waits:
    /// else each restart of a broker would make a difference.
    pub in_sync: Option<i16>,
    /// The settings that were made for this topic, those at least on which a plan depends; what it inherits is not among them.
    pub config: BTreeMap<String, String>,
}

/// What is at stake where settings change by which Kafka deletes records. It is asked for only then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stakes {
    /// The values of all settings that hold where the topic has none of its own.
    pub inherited: BTreeMap<String, String>,
    /// The records that it holds.
    pub held: Held,
}

/// What is known of the records that a topic holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There is none.
    Nothing,
    /// There are some, and none is older than the wanted `retention.ms`.
    Younger,
    /// There are some, older ones among them.
    Older,
}
