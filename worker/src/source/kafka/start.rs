//! Where to begin in a partition without a committed offset, or with one that no longer exists.

use std::{collections::BTreeSet, time::Duration};

use sluice_crds::StartFrom;
use sluice_kafka::{
    CommittedOffset, PerPartition, TopicPartition,
    consumer::{
        ClientError, CommitMode, Consumer as _, Membership, Offset, RDKafkaErrorCode, TopicPartitionList,
        TopicPartitionListElem, committed as committed_in,
    },
};
use tracing::{info, warn};

use super::{
    GroupConsumer,
    lists::{commit, id, ids, list},
};
use crate::source::{Commit, Extent, PartitionId, Start};

/// How long a broker may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for one that is only asked whether it answers: the reading waits meanwhile.
const GLANCE: Duration = Duration::from_millis(500);
/// How often it is asked for commits.
const TRIES: usize = 3;

/// Commits where the group begins in those of these partitions, all of them this member's, that have no committed offset.
///
/// A group without any offset for a topic is new to it and begins by `start_from`, in all of its partitions at once. Who has the first
/// of them writes that down for all, and nobody else: two members that look at the same time cannot move what the other one has committed
/// since, and Kafka refuses it from a member that has lost the partition. The others find no offset until then, and look again.
/// A partition that came later is read from its first record, which its own member writes down.
pub(super) fn commit_beginnings(
    consumer: &GroupConsumer,
    held: &TopicPartitionList,
    start_from: StartFrom,
) -> Result<(), ClientError> {
    let missing = without_offset(consumer, held.clone())?;
    let held = ids(held);
    let mut beginnings = Vec::new();
    for topic in missing.iter().map(|partition| &partition.topic).collect::<BTreeSet<_>>() {
        let all = partitions_of(consumer, topic)?;
        let unread = without_offset(consumer, list(&all))?;
        let (begin, wanted) = to_begin(all, unread, &held, start_from);
        for partition in wanted {
            let (low, high) = consumer.fetch_watermarks(topic, partition.partition, PATIENCE)?;
            let offset = match begin {
                StartFrom::Earliest => low,
                StartFrom::Latest => high,
            };
            info!(%partition, offset, "Beginning");
            beginnings.push(Commit { partition, offset, note: String::new() });
        }
    }
    // From somebody who shows no membership Kafka would take them while the group is empty.
    if !beginnings.is_empty() && Membership::of(consumer).is_none() {
        return Err(ClientError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId));
    }
    commit(consumer, &beginnings, CommitMode::Sync)
}

/// Where a member begins who holds some partitions, and in which: `all` are those of one topic, `unread` those without an offset.
fn to_begin(
    all: Vec<PartitionId>,
    unread: Vec<PartitionId>,
    held: &[PartitionId],
    start_from: StartFrom,
) -> (StartFrom, Vec<PartitionId>) {
    let is_new = unread.len() == all.len();
    let has_first = all.iter().min().is_some_and(|first| held.contains(first));
    match (is_new, has_first) {
        (true, true) => (start_from, all),
        (true, false) => (start_from, Vec::new()),
        (false, _) => (StartFrom::Earliest, unread.into_iter().filter(|partition| held.contains(partition)).collect()),
    }
}

/// What is committed of these partitions, with its notes; `None` where Kafka does not say it.
pub(super) fn committed(
    consumer: &GroupConsumer,
    partitions: &TopicPartitionList,
) -> Option<PerPartition<CommittedOffset>> {
    let mut tries = (0..TRIES).map(|_| consumer.committed_offsets(partitions.clone(), PATIENCE));
    let read = tries.find_map(|read| read.inspect_err(|error| warn!("Commits cannot be read: {error}")).ok());
    read.as_ref().map(committed_in)
}

/// What these partitions go on from. Where that is not known, librdkafka waits for it, and records that are settled above the committed
/// offset are delivered again.
pub(super) fn starts(partitions: &TopicPartitionList, committed: &PerPartition<CommittedOffset>) -> Vec<Start> {
    ids(partitions).into_iter().map(|partition| start(partition, committed)).collect()
}

/// Whether Kafka says now what is committed of these partitions. It does not while a transaction that commits some of it is undecided.
pub(super) fn are_known(consumer: &GroupConsumer, partitions: &[PartitionId]) -> Result<(), ClientError> {
    consumer.committed_offsets(list(partitions), GLANCE).map(drop)
}

/// What there is of those of these partitions in which the group has begun, as is done first where this member can.
pub(super) fn extents(
    consumer: &GroupConsumer,
    partitions: &[PartitionId],
    start_from: StartFrom,
) -> Result<Vec<Extent>, ClientError> {
    commit_beginnings(consumer, &consumer.assignment()?, start_from)?;
    let committed = committed_in(&consumer.committed_offsets(list(partitions), PATIENCE)?);
    let starts = partitions.iter().map(|partition| start(partition.clone(), &committed));
    let extent = |Start { partition, committed }| {
        let (low, high) = consumer.fetch_watermarks(&partition.topic, partition.partition, PATIENCE)?;
        Ok(Extent { partition, low, high, committed })
    };
    starts.filter(|start| start.committed.is_some()).map(extent).collect()
}

fn start(partition: PartitionId, committed: &PerPartition<CommittedOffset>) -> Start {
    let name = TopicPartition { topic: partition.topic.to_string(), partition: partition.partition };
    let committed = committed.get(&name).and_then(|committed| committed.as_ref().ok());
    let committed = committed.map(|CommittedOffset { offset, metadata }| Commit {
        partition: partition.clone(),
        offset: *offset,
        note: metadata.clone(),
    });
    Start { partition, committed }
}

fn without_offset(consumer: &GroupConsumer, partitions: TopicPartitionList) -> Result<Vec<PartitionId>, ClientError> {
    let committed = consumer.committed_offsets(partitions, PATIENCE)?;
    let mut missing = Vec::new();
    for element in committed.elements() {
        element.error()?;
        if offset(&element).is_none() {
            missing.push(id(element.topic(), element.partition()));
        }
    }
    Ok(missing)
}

fn partitions_of(consumer: &GroupConsumer, topic: &str) -> Result<Vec<PartitionId>, ClientError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found
        .map_or_else(Vec::new, |found| found.partitions().iter().map(|partition| id(topic, partition.id())).collect()))
}

fn offset(element: &TopicPartitionListElem<'_>) -> Option<i64> {
    match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: &[i32]) -> Vec<PartitionId> {
        numbers.iter().map(|number| id("orders", *number)).collect()
    }

    #[test]
    fn one_member_begins_a_topic_and_each_member_what_came_later() {
        use StartFrom::{Earliest, Latest};
        for (what, unread, held, expected) in [
            (
                "new, and the first partition is held",
                [0, 1, 2].as_slice(),
                [2, 0].as_slice(),
                (Latest, [0, 1, 2].as_slice()),
            ),
            ("new, and another member has the first", &[0, 1, 2], &[1, 2], (Latest, &[])),
            ("begun, and one came later", &[2], &[1, 2], (Earliest, &[2])),
            ("begun, and what came later is another member's", &[2], &[0, 1], (Earliest, &[])),
            ("begun but for the first", &[0, 2], &[0, 1], (Earliest, &[0])),
        ] {
            let begun = to_begin(partitions(&[0, 1, 2]), partitions(unread), &partitions(held), Latest);
            assert_eq!(begun, (expected.0, partitions(expected.1)), "{what}");
        }
    }
}
