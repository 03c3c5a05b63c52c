//! Reads a Kafka topic.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use sluice_kafka::{
    OffsetAt, PartitionDescription, PerPartition, TopicAdmin, TopicDescription, TopicError, TopicPartition,
};
use sluice_model::topic::{Held, Known, Observed, Stakes, Wanted, oldest_kept, settings_that_matter, stakes_matter};

use crate::error::Error;

/// What was seen of a Kafka topic.
pub struct Seen {
    /// The topic as it is; `None` where Kafka has none of that name.
    pub topic: Option<Observed>,
    /// What is at stake, where the plan depends on it.
    pub stakes: Option<Stakes>,
}

/// Looks at the Kafka topic.
pub async fn observe(kafka: &TopicAdmin, wanted: &Wanted, known: &Known<'_>) -> Result<Seen, Error> {
    let topic = topic(kafka, wanted, known).await?;
    let stakes = match &topic {
        Some(topic) if stakes_matter(wanted, topic, known) => Some(stakes(kafka, wanted, topic.partitions).await?),
        Some(_) | None => None,
    };
    Ok(Seen { topic, stakes })
}

async fn topic(kafka: &TopicAdmin, wanted: &Wanted, known: &Known<'_>) -> Result<Option<Observed>, Error> {
    let (name, cluster) = (wanted.name.as_str(), wanted.cluster.name.as_str());
    let describe = async {
        let topic = kafka.describe(name).await;
        topic.map_err(|error| Error::of_topic(cluster, || format!("describe topic {name:?}"), error))
    };
    let describe_config = async {
        let doing = || format!("describe the settings of topic {name:?}");
        let keys = settings_that_matter(wanted, known).into_iter().collect();
        kafka.describe_own_config(name, keys).await.map_err(|error| Error::of_topic(cluster, doing, error))
    };
    let observed = |topic: &TopicDescription, config| {
        let observed = observed(topic, config);
        let is_copied = known.replicates && wanted.replicas == Some(observed.replicas);
        Observed { in_sync: is_copied.then(|| in_sync(topic)), ..observed }
    };
    if known.id.is_none() {
        // It is not there, or was made just now: its settings are asked for only once it is.
        let Some(topic) = describe.await? else { return Ok(None) };
        return Ok(Some(observed(&topic, describe_config.await?)));
    }
    let (topic, config) = futures::join!(describe, describe_config);
    match topic? {
        Some(topic) => Ok(Some(observed(&topic, config?))),
        None => Ok(None),
    }
}

/// What a description and the settings that were made for the topic itself say, but for which copies have all records.
pub fn observed(topic: &TopicDescription, config: BTreeMap<String, String>) -> Observed {
    Observed {
        id: topic.id.clone(),
        partitions: topic.partitions.len().try_into().unwrap_or(i32::MAX),
        replicas: fewest(topic, |partition| partition.replicas.len()),
        in_sync: None,
        config,
    }
}

/// Copies that have all records, of the partition that has the fewest.
pub fn in_sync(topic: &TopicDescription) -> i16 {
    fewest(topic, |partition| partition.in_sync.len())
}

fn fewest(topic: &TopicDescription, count: impl Fn(&PartitionDescription) -> usize) -> i16 {
    topic.partitions.iter().map(count).min().unwrap_or_default().try_into().unwrap_or(i16::MAX)
}

async fn stakes(kafka: &TopicAdmin, wanted: &Wanted, partitions: i32) -> Result<Stakes, Error> {
    let inherited = inherited(kafka, wanted).await?;
    let partition = |partition| TopicPartition { topic: wanted.name.clone(), partition };
    let partitions: Vec<TopicPartition> = (0..partitions).map(partition).collect();
    let held = held(kafka, wanted, &partitions, oldest_kept(wanted, &inherited)).await?;
    Ok(Stakes { inherited, held })
}

/// The settings that hold where the topic has none of its own.
async fn inherited(kafka: &TopicAdmin, wanted: &Wanted) -> Result<BTreeMap<String, String>, Error> {
    let (name, cluster) = (wanted.name.as_str(), wanted.cluster.name.as_str());
    let mut answers = kafka.admin().describe_configs(&[name]).await.map_err(|error| unreachable(wanted, error))?;
    let refused = |error| {
        let doing = || format!("describe the settings of topic {name:?}");
        Error::of_topic(cluster, doing, TopicError::Topic(error))
    };
    let entries = answers.remove(name).transpose().map_err(refused)?.unwrap_or_default();
    Ok(entries.into_iter().filter_map(|(key, entry)| Some((key, entry.inherited?))).collect())
}

/// Whether there are records, and any that are older than that many milliseconds.
async fn held(
    kafka: &TopicAdmin,
    wanted: &Wanted,
    partitions: &[TopicPartition],
    kept: Option<u64>,
) -> Result<Held, Error> {
    let kept = kept.and_then(|age| i64::try_from(age).ok());
    // Whatever is kept for ever begins before every record.
    let kept_from = kept.map_or(0, |age| Timestamp::now().as_millisecond().saturating_sub(age));
    let list = async |at| {
        let listed = kafka.admin().list_offsets(partitions, at).await;
        listed.map_err(|error| unreachable(wanted, error))
    };
    let (first, end, first_kept) =
        futures::try_join!(list(OffsetAt::Earliest), list(OffsetAt::Latest), list(OffsetAt::Time(kept_from)))?;
    let mut held = Held::Nothing;
    for partition in partitions {
        let offset = |offsets: &PerPartition<i64>| match offsets.get(partition) {
            Some(offset) => offset.clone().map_err(|error| {
                let doing = || format!("list the offsets of {partition}");
                Error::of_topic(&wanted.cluster.name, doing, TopicError::Topic(error))
            }),
            None => Ok(0),
        };
        let (first, end, first_kept) = (offset(&first)?, offset(&end)?, offset(&first_kept)?);
        if first < end && (first_kept < 0 || first < first_kept) {
            return Ok(Held::Older);
        }
        if first < end {
            held = Held::Younger;
        }
    }
    Ok(held)
}

fn unreachable(wanted: &Wanted, source: sluice_kafka::Error) -> Error {
    Error::Kafka { cluster: wanted.cluster.name.clone(), source }
}
