//! librdkafka's lists of partitions, and what is done with them.

use std::{collections::BTreeSet, slice};

use sluice_kafka::consumer::{ClientError, CommitMode, Consumer as _, TopicPartitionList, offset_list};
use tracing::debug;

use super::GroupConsumer;
use crate::source::{Commit, PartitionId};

/// Lets librdkafka read a partition anew. Whether it was paused stays with it or not, so that is said too.
pub(super) fn hand_out(
    consumer: &GroupConsumer,
    partition: &PartitionId,
    offset: i64,
    paused: bool,
) -> Result<(), ClientError> {
    let alone = list(slice::from_ref(partition));
    if let Err(error) = consumer.incremental_unassign(&alone) {
        debug!(%partition, "Not handed out before: {error}");
    }
    let start = Commit { partition: partition.clone(), offset, note: String::new() };
    consumer.incremental_assign(&list_with_offsets(&[start]))?;
    if paused { consumer.pause(&alone) } else { consumer.resume(&alone) }
}

/// A partition by librdkafka's names.
pub(super) fn id(topic: &str, partition: i32) -> PartitionId {
    PartitionId { topic: topic.into(), partition }
}

/// The partitions of librdkafka's list.
pub(super) fn ids(list: &TopicPartitionList) -> Vec<PartitionId> {
    list.elements().iter().map(|element| id(element.topic(), element.partition())).collect()
}

pub(super) fn list(partitions: &[PartitionId]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for PartitionId { topic, partition } in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// The commits, each with its note.
fn list_with_offsets(commits: &[Commit]) -> TopicPartitionList {
    offset_list(commits.iter().map(|Commit { partition: PartitionId { topic, partition }, offset, note }| {
        (&**topic, *partition, *offset, note.as_str())
    }))
}

/// Commits what is still held. Of a partition that was taken away since this was told, more is committed already, by us or by its next
/// holder, and Kafka would take this from any member.
pub(super) fn commit_held(consumer: &GroupConsumer, mut commits: Vec<Commit>) -> Result<(), ClientError> {
    let held: BTreeSet<_> = ids(&consumer.assignment()?).into_iter().collect();
    commits.retain(|commit| held.contains(&commit.partition));
    commit(consumer, &commits, CommitMode::Async)
}

pub(super) fn commit(consumer: &GroupConsumer, commits: &[Commit], mode: CommitMode) -> Result<(), ClientError> {
    if commits.is_empty() {
        return Ok(());
    }
    consumer.commit(&list_with_offsets(commits), mode)
}
