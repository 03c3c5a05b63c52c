//! Begins the consumer group of an Integration that has what is written from now on: now is when it was made, and not when its first
//! worker comes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::StartFrom;
use sluice_kafka::{Admin, OffsetAt, TopicPartition};
use sluice_model::{
    children::{Live, find_availability},
    integration::{Flow, worker_name},
};
use tracing::{info, warn};

use crate::{context::Context, error::Error};

/// Has the group begin where its topics end, as long as no worker is ready. Error: Kafka does not answer, and there is no Deployment
/// yet that it would hold up. Otherwise its workers begin the group themselves.
pub(super) async fn begin(context: &Context, flow: &Flow, live: &[Live], now: Timestamp) -> Result<(), Error> {
    let workers = find_availability(live, &worker_name(&flow.owner), &[], now);
    if flow.start_from != StartFrom::Latest || workers.as_ref().is_some_and(|workers| workers.ready > 0) {
        return Ok(());
    }
    let cluster = &flow.cluster.name;
    let begun = match context.clusters.client(cluster) {
        Ok(kafka) => {
            let begun = begin_group(&kafka, flow).await;
            begun.map_err(|source| Error::Kafka { cluster: cluster.clone(), source })
        }
        Err(error) => Err(error),
    };
    let Err(error) = begun else { return Ok(()) };
    let passes = matches!(&error, Error::Kafka { source, .. } if source.is_retriable());
    if passes && workers.is_none() {
        return Err(error);
    }
    warn!(integration = %flow.owner.name, "The workers begin their group themselves: {error}");
    Ok(())
}

/// Commits the ends of those topics of which the group has read nothing. A topic that does not exist is left out.
async fn begin_group(kafka: &Admin, flow: &Flow) -> Result<(), sluice_kafka::Error> {
    let committed = kafka.group_offsets(&flow.group).await?;
    let is_begun = |topic: &str| committed.keys().any(|partition| partition.topic == topic);
    let topics: Vec<&str> = flow.topics.iter().map(String::as_str).filter(|topic| !is_begun(topic)).collect();
    if topics.is_empty() {
        return Ok(());
    }
    let beginnings = ends(kafka, &topics).await?;
    if beginnings.is_empty() {
        return Ok(());
    }
    let answers = kafka.commit_group_offsets(&flow.group, &beginnings).await?;
    match answers.into_iter().find_map(|(partition, answer)| Some((partition, answer.err()?))) {
        None => info!(group = flow.group, partitions = beginnings.len(), "Group begun where its topics end"),
        Some((partition, error)) => {
            info!(group = flow.group, %partition, "The workers begin their group themselves: {error}");
        }
    }
    Ok(())
}

/// Where topics end, each with all of its partitions: one of which only some have begun would be taken for one that has grown.
async fn ends(kafka: &Admin, topics: &[&str]) -> Result<BTreeMap<TopicPartition, i64>, sluice_kafka::Error> {
    let described = kafka.describe_topics(topics).await?;
    let partitions = described.into_iter().filter_map(|(topic, description)| {
        let partitions = description.ok()??.partitions;
        Some(
            partitions
                .into_iter()
                .map(move |found| TopicPartition { topic: topic.clone(), partition: found.partition }),
        )
    });
    let partitions: Vec<TopicPartition> = partitions.flatten().collect();
    let ends = kafka.list_offsets(&partitions, OffsetAt::Latest).await?;
    let is_unknown = |(_, end): &(&TopicPartition, &Result<i64, _>)| end.is_err();
    let unknown: BTreeSet<String> =
        ends.iter().filter(is_unknown).map(|(partition, _)| partition.topic.clone()).collect();
    let known = ends.into_iter().filter(|(partition, _)| !unknown.contains(&partition.topic));
    Ok(known.filter_map(|(partition, end)| Some((partition, end.ok()?))).collect())
}
