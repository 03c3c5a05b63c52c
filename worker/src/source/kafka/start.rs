//! Where to begin in a partition without a committed offset, or with one that no longer exists.

use std::{collections::BTreeSet, time::Duration};

use sluice_crds::StartFrom;
use sluice_kafka::{
    CommittedOffset, PerPartition, TopicPartition,
    consumer::{
        ClientError, CommitMode, Consumer as _, Offset, TopicPartitionList, TopicPartitionListElem,
        committed as committed_in,
    },
};
use tracing::{info, warn};

use super::{Commit, Extent, GroupConsumer, PartitionId, Start, commit, id, ids, list};

/// How long a broker may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked for commits.
const TRIES: usize = 3;

/// Commits where the group begins in those of these partitions that have no committed offset.
///
/// A group without any offset for a topic is new to it and begins by `start_from`, in all of its partitions at once: whoever
/// is assigned the others finds them begun. A partition that came later is read from its first record.
pub(super) fn commit_beginnings(
    consumer: &GroupConsumer,
    partitions: &TopicPartitionList,
    start_from: StartFrom,
) -> Result<(), ClientError> {
    let missing = without_offset(consumer, partitions.clone())?;
    let mut beginnings = Vec::new();
    for topic in missing.iter().map(|partition| &partition.topic).collect::<BTreeSet<_>>() {
        let all = partitions_of(consumer, topic)?;
        let unread = without_offset(consumer, list(&all))?;
        let is_new = unread.len() == all.len();
        let (begin, wanted) = if is_new { (start_from, all) } else { (StartFrom::Earliest, unread) };
        for partition in wanted.into_iter().filter(|partition| is_new || missing.contains(partition)) {
            let (low, high) = consumer.fetch_watermarks(topic, partition.partition, PATIENCE)?;
            let offset = match begin {
                StartFrom::Earliest => low,
                StartFrom::Latest => high,
            };
            info!(%partition, offset, "Beginning");
            beginnings.push(Commit { partition, offset, note: String::new() });
        }
    }
    commit(consumer, &beginnings, CommitMode::Sync)
}

/// What these partitions go on from: what is committed, with its notes. Where that cannot be read, records that are settled
/// above the committed offset are delivered again.
pub(super) fn starts(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Vec<Start> {
    let mut tries = (0..TRIES).map(|_| consumer.committed_offsets(partitions.clone(), PATIENCE));
    let committed = tries.find_map(|read| read.inspect_err(|error| warn!("Commits cannot be read: {error}")).ok());
    let committed = committed.as_ref().map(committed_in).unwrap_or_default();
    ids(partitions).into_iter().map(|partition| start(partition, &committed)).collect()
}

/// What there is of these partitions, those without a committed offset begun as ever.
pub(super) fn extents(
    consumer: &GroupConsumer,
    partitions: &[PartitionId],
    start_from: StartFrom,
) -> Result<Vec<Extent>, ClientError> {
    commit_beginnings(consumer, &list(partitions), start_from)?;
    let committed = committed_in(&consumer.committed_offsets(list(partitions), PATIENCE)?);
    let extent = |partition: &PartitionId| {
        let Start { partition, committed } = start(partition.clone(), &committed);
        let (low, high) = consumer.fetch_watermarks(&partition.topic, partition.partition, PATIENCE)?;
        Ok(Extent { partition, low, high, committed })
    };
    partitions.iter().map(extent).collect()
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
