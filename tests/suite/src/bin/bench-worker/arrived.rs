//! Whether each record has arrived once: offsets count markers of transactions too, and would hide a loss behind a repetition.

use std::collections::HashSet;

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use serde::Deserialize;

use crate::{PARTITIONS, PATIENCE};

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

/// Lets a consumer read all of a topic from its first record on.
pub(crate) fn assign(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<()> {
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    Ok(consumer.assign(&partitions)?)
}

/// Reads what is committed in a topic, and waits until so many records are there. Error: there are others, or one of them twice.
pub(crate) fn once(kafka: &str, topic: &str, expected: usize) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "arrived")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    assign(&consumer, topic)?;
    let (mut ids, mut read, mut at_end) = (HashSet::with_capacity(expected), 0, HashSet::new());
    let all = usize::try_from(PARTITIONS)?;
    while read < expected || at_end.len() < all {
        match consumer.poll(PATIENCE).with_context(|| format!("{topic}: only {read} of {expected} records came"))? {
            Ok(message) => {
                at_end.remove(&message.partition());
                let value = message.payload().context("records have a value")?;
                ids.insert(serde_json::from_slice::<Numbered>(value)?.id);
                read += 1;
            }
            Err(KafkaError::PartitionEOF(partition)) => drop(at_end.insert(partition)),
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(read == expected && ids.len() == expected, "{topic}: {read} records with {} ids came", ids.len());
    Ok(())
}
