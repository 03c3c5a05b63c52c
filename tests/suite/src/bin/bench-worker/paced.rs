//! How long records take through a program while they come at a steady rate that it can easily keep up with.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, Message,
    consumer::BaseConsumer,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, task, time::interval};

use crate::{
    PATIENCE,
    arrived::assign,
    records::{Records, Stamp},
};

/// Records that come in a second, and for how long. The broker gets each alone, and is far from being busy with that; 64 requests at a
/// time to an API that takes 100 ms are 640 in a second.
pub(crate) const RATE: usize = 500;
const SECONDS: usize = 6;
/// Records in all, the first included, which is sent ahead.
pub(crate) const RECORDS: usize = RATE * SECONDS + 1;
const TICK: Duration = Duration::from_millis(1);

/// From when records were written until they arrived, in milliseconds.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Latency {
    pub(crate) fn of(ages: &mut [Duration]) -> Self {
        ages.sort_unstable();
        let at = |share: usize| ages.get(ages.len() * share / 100).map_or(f64::NAN, |age| age.as_secs_f64() * 1e3);
        Self { median: at(50), p99: at(99) }
    }
}

/// What writes the records, one by one as they are due.
pub(crate) struct Pace {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    records: Records,
}

impl Pace {
    pub(crate) fn new(kafka: &str, topic: &str) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka)
            .set("socket.nagle.disable", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .create()?;
        Ok(Self { producer, topic: topic.to_owned(), records: Records::new() })
    }

    pub(crate) fn send(&self, number: usize) -> anyhow::Result<()> {
        let (key, value) = (Records::key(number), self.records.value(number));
        let sent = self.producer.send(BaseRecord::to(&self.topic).key(&key).payload(&value));
        sent.map_err(|(error, _)| error.into())
    }

    /// All records but the first.
    pub(crate) async fn send_all(&self) -> anyhow::Result<()> {
        let mut ticks = interval(TICK);
        let (begin, mut next) = (Instant::now(), 1);
        while next < RECORDS {
            ticks.tick().await;
            let due = usize::try_from(begin.elapsed().as_micros())? * RATE / 1_000_000;
            for number in next..=due.min(RECORDS - 1) {
                self.send(number)?;
            }
            next = next.max(due + 1);
        }
        task::block_in_place(|| self.producer.flush(PATIENCE))?;
        Ok(())
    }
}

/// Reads a topic to which records are written meanwhile, until so many are there. `listening` is told when the first is.
pub(crate) fn listen(
    kafka: &str,
    topic: &str,
    expected: usize,
    listening: oneshot::Sender<()>,
) -> anyhow::Result<Latency> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("socket.nagle.disable", "true")
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .create()?;
    assign(&consumer, topic)?;
    let mut listening = Some(listening);
    let mut ages = Vec::with_capacity(expected);
    while ages.len() + 1 < expected {
        let message = consumer.poll(PATIENCE).with_context(|| format!("{topic}: {} records came", ages.len()))??;
        let stamp = Stamp::read(message.payload().context("records have a value")?)?;
        match listening.take() {
            Some(listening) => {
                ensure!(stamp.id == 0, "{topic}: record {} came first", stamp.id);
                // Nobody waits for it any more where the measurement failed.
                let _ = listening.send(());
            }
            None => ages.push(stamp.age()),
        }
    }
    Ok(Latency::of(&mut ages))
}
