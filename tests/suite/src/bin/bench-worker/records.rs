//! What is delivered: records of about 1 KiB, JSON, each with a key, a number and the time at which it was written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use sluice_kafka::{BatchProducer, OutgoingRecord, Unwritten};

/// One in so many is let through where records are filtered.
pub(crate) const EVERY: usize = 2;
/// Keys that there are.
const KEYS: usize = 1_000;
/// Records that are written in one batch.
const BATCH: usize = 10_000;

/// What makes records.
pub(crate) struct Records {
    noise: String,
}

/// What is told of a record that arrived.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Stamp {
    /// Its number.
    pub(crate) id: u64,
    /// When it was written, in microseconds since the epoch.
    pub(crate) at: u64,
}

impl Records {
    pub(crate) fn new() -> Self {
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_digit(state >> 27, 32).expect("five bits are a digit of base 32")
        });
        Self { noise: noise.take(4_096).collect() }
    }

    pub(crate) fn key(number: usize) -> String {
        format!("c-{}", number % KEYS)
    }

    pub(crate) fn value(&self, number: usize) -> String {
        let action = if number.is_multiple_of(EVERY) { "purchase" } else { "view" };
        format!(
            r#"{{"id": {number}, "at": {}, "action": "{action}", "customer": "{}", "amount": {}.5, "note": "{}"}}"#,
            now().as_micros(),
            Self::key(number),
            number % 977,
            &self.noise[number % 3_000..][..880],
        )
    }

    /// Writes the first so many records into a topic.
    pub(crate) async fn fill(&self, producer: &BatchProducer, topic: &str, count: usize) -> anyhow::Result<()> {
        let record = |number: usize| OutgoingRecord {
            key: Some(Self::key(number).into()),
            ..OutgoingRecord::new(topic, self.value(number))
        };
        for first in (0..count).step_by(BATCH) {
            let unwritten = producer.write((first..count.min(first + BATCH)).map(record).collect()).await;
            ensure!(unwritten == Unwritten::default(), "{unwritten:?}");
        }
        Ok(())
    }
}

impl Stamp {
    /// Of what a record holds. Error: it is none of [`Records`].
    pub(crate) fn read(value: &[u8]) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(value)?)
    }

    /// How long ago it was written.
    pub(crate) fn age(self) -> Duration {
        now().saturating_sub(Duration::from_micros(self.at))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970")
}
