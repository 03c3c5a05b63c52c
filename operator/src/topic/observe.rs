//! Reads a Kafka topic.

use std::collections::BTreeMap;

use sluice_kafka::{TopicAdmin, TopicDescription};
use sluice_model::topic::{Observed, Wanted};

use crate::error::Error;

/// The Kafka topic as it is; `None` where Kafka has none of that name.
pub async fn observe(kafka: &TopicAdmin, wanted: &Wanted) -> Result<Option<Observed>, Error> {
    let (name, cluster) = (wanted.name.as_str(), wanted.cluster.name.as_str());
    let (topic, config) = futures::join!(kafka.describe(name), kafka.describe_own_config(name));
    let topic = topic.map_err(|error| Error::of_topic(cluster, || format!("describe topic {name:?}"), error))?;
    let Some(topic) = topic else { return Ok(None) };
    let doing = || format!("describe the settings of topic {name:?}");
    let config = config.map_err(|error| Error::of_topic(cluster, doing, error))?;
    Ok(Some(observed(topic, config)))
}

/// What a description and the settings that were made for the topic itself say.
pub fn observed(topic: TopicDescription, config: BTreeMap<String, String>) -> Observed {
    let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or_default();
    Observed {
        id: topic.id,
        partitions: topic.partitions.len().try_into().unwrap_or(i32::MAX),
        replicas: replicas.try_into().unwrap_or(i16::MAX),
        config,
    }
}
