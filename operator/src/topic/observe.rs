//! Reads a Kafka topic.

use std::collections::BTreeMap;

use sluice_kafka::{Admin, ConfigEntry, ConfigSource, TopicDescription};
use sluice_model::topic::{Observed, Wanted};

use crate::error::{Doing, Error};

/// The Kafka topic as it is; `None` where Kafka has none of that name.
pub async fn observe(kafka: &Admin, wanted: &Wanted) -> Result<Option<Observed>, Error> {
    let name = wanted.name.as_str();
    let unreachable = |source| Error::Kafka { cluster: wanted.cluster.name.clone(), source };
    let topics = [name];
    let (mut topics, mut configs) =
        futures::try_join!(kafka.describe_topics(&topics), kafka.describe_configs(&topics)).map_err(unreachable)?;
    let topic = match topics.remove(name) {
        Some(topic) => topic.doing(|| format!("describe topic {name:?}"))?,
        None => None,
    };
    let Some(topic) = topic else { return Ok(None) };
    let config = match configs.remove(name) {
        Some(config) => config.doing(|| format!("describe the settings of topic {name:?}"))?,
        None => BTreeMap::new(),
    };
    Ok(Some(observed(topic, config)))
}

fn observed(topic: TopicDescription, config: BTreeMap<String, ConfigEntry>) -> Observed {
    let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or_default();
    let own = config.into_iter().filter(|(_, entry)| entry.source == ConfigSource::Topic);
    Observed {
        id: topic.id,
        partitions: topic.partitions.len().try_into().unwrap_or(i32::MAX),
        replicas: replicas.try_into().unwrap_or(i16::MAX),
        config: own.filter_map(|(key, entry)| Some((key, entry.value?))).collect(),
    }
}
