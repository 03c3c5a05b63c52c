//! Dead letters, as anybody would read them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use sluice_crds::KafkaConnection;
use sluice_kafka::consumer::{
    BaseConsumer, Consumer, ConsumerSettings, Headers, Message, Offset, TopicPartitionList, consumer_config,
};
use tokio::time::Instant;

/// One record, as text.
#[derive(Debug)]
pub struct Letter {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// Reads the first `count` records of a topic with one partition.
pub fn read(
    connection: &KafkaConnection,
    topic: &str,
    count: usize,
    patience: Duration,
) -> anyhow::Result<Vec<Letter>> {
    let config = consumer_config(connection, "reader-of-dead-letters", &ConsumerSettings::default())?;
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let deadline = Instant::now() + patience;
    let (mut letters, mut trouble) = (Vec::new(), None);
    while letters.len() < count {
        if Instant::now() > deadline {
            bail!("{topic} has {} of {count} records; the last trouble: {trouble:?}", letters.len());
        }
        if let Some(polled) = consumer.poll(Duration::from_millis(200)) {
            let record = match polled {
                Ok(record) => record,
                // Such as a connection that broke: it is made again.
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = record.headers().into_iter().flat_map(Headers::iter);
            letters.push(Letter {
                key: record.key().map(text),
                value: record.payload().map(text).unwrap_or_default(),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default()))
                    .collect(),
            });
        }
    }
    Ok(letters)
}
