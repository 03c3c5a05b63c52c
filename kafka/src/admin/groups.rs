//! Consumer groups: which there are, their state and who is in them, and deleting them.

use std::collections::BTreeMap;

use super::{Admin, TopicPartition, batch::Batch, rights::Task};
use crate::{Error, KafkaError, native};

/// A consumer group, as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// What the group is doing.
    pub state: GroupState,
    /// The consumers that are in it now.
    pub members: Vec<GroupMember>,
}

/// Kafka's states of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Members are joining.
    PreparingRebalance,
    /// Partitions are being handed out.
    CompletingRebalance,
    /// Every member has its partitions.
    Stable,
    /// No member, and no offsets either: what Kafka says of a group that does not exist.
    Dead,
    /// No member, but committed offsets.
    Empty,
    /// A state that this library has no name for.
    Other,
}

/// A consumer in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its `client.id`.
    pub client_id: String,
    /// Its address, as the broker sees it.
    pub host: String,
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
}

const LIST: &str = "list consumer groups";
const DESCRIBE: Task = Task { doing: "describe consumer groups", right: ("Describe", "--group"), changes: false };
const DELETE: Task = Task { doing: "delete consumer groups", right: ("Delete", "--group"), changes: true };

impl Admin {
    /// Describes consumer groups by name: one request to each of their coordinators.
    ///
    /// A group that does not exist is `Dead`, or since Kafka 4 the error `GROUP_ID_NOT_FOUND`.
    pub async fn describe_groups(
        &self,
        groups: &[&str],
    ) -> Result<BTreeMap<String, Result<GroupDescription, KafkaError>>, Error> {
        let batch = Batch::build(groups.iter().map(|group| (*group, native::name(group))));
        self.ask(DESCRIBE, batch, native::describe_groups, native::group_descriptions).await
    }

    /// All consumer groups of the cluster that we may describe, by name: one request to each broker.
    ///
    /// Errors: also where a single broker does not answer, whose groups would be missing.
    pub async fn list_groups(&self) -> Result<BTreeMap<String, GroupState>, Error> {
        let event = self.request(LIST, false, native::list_groups).await?;
        native::group_list(&event).map_err(|error| Error::of_request(LIST, self.timeout, error, None))
    }

    /// Deletes consumer groups with all their offsets, by name: one request to each of their coordinators.
    ///
    /// A group with members is not deleted: [`ErrorCode::NON_EMPTY_GROUP`](crate::ErrorCode::NON_EMPTY_GROUP). One that does not exist gives
    /// [`ErrorCode::GROUP_ID_NOT_FOUND`](crate::ErrorCode::GROUP_ID_NOT_FOUND).
    pub async fn delete_groups(&self, groups: &[&str]) -> Result<BTreeMap<String, Result<(), KafkaError>>, Error> {
        let batch = Batch::build(groups.iter().map(|group| (*group, native::deleted_group(group))));
        self.ask(DELETE, batch, native::delete_groups, native::group_deletions).await
    }
}
