//! The least that copies records: rdkafka's consumer and producer in one loop, without promises. With `Transform` it filters and maps with
//! serde_json, as one would by hand.

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::{
    ClientConfig, Message,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord},
};
use serde::{Deserialize, Serialize};

use crate::{SOURCE, subject::Job};

/// The first argument of this program where it is to be the loop.
pub(crate) const ARGUMENT: &str = "bare";

/// What is left of a record.
#[derive(Deserialize, Serialize)]
struct Purchase<'a> {
    id: u64,
    #[serde(skip_serializing)]
    action: &'a str,
    customer: &'a str,
    amount: f64,
    note: &'a str,
}

/// `arguments` are the broker, the topic to write to, and the job. Runs until it is killed.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [kafka, target, job] = arguments else { bail!("bare BROKER TOPIC JOB") };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", target)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5")
        .set_log_level(RDKafkaLogLevel::Error)
        .create()?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()?;
    consumer.subscribe(&[SOURCE])?;
    let transforms = job == Job::Transform.name();
    loop {
        producer.poll(Duration::ZERO);
        let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
        let message = message?;
        let (key, value) = (message.key().unwrap_or_default(), message.payload().context("records have a value")?);
        if !transforms {
            send(&producer, target, key, value)?;
            continue;
        }
        let purchase: Purchase<'_> = serde_json::from_slice(value)?;
        if purchase.action == "purchase" {
            send(&producer, target, key, &serde_json::to_vec(&purchase)?)?;
        }
    }
}

fn send(producer: &BaseProducer, target: &str, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(target).key(key).payload(value);
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => return Err(error.into()),
        };
        producer.poll(Duration::from_millis(10));
    }
}
