//! What the body of an event must look like, and what becomes of one that does not. Pure, but for the thread's CPU time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use sluice_crds::{NamespacedName, wire::EventContract};
use sluice_kafka::{Header, OutgoingRecord};
use sluice_pipeline::{Code, Rejection, printable};

use crate::{event::Event, json};

/// What the body of an event must look like.
#[derive(Debug)]
pub(crate) struct Contract {
    schema: sluice_pipeline::Contract,
    /// Where events go that are not; where it is absent, they are refused.
    dead_letters: Option<DeadLetters>,
    /// What a body may take as a value, in bytes.
    most: usize,
}

/// What each may take, in bytes, and how many times the largest body more: the operator gives receivers as much (`memory` in
/// `model/src/webhook/desire.rs`).
const LEAST: usize = 32 * 1024 * 1024;
const TIMES: usize = 16;

/// Makes dead letters of events.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    topic: Arc<str>,
    webhook: String,
    generation: String,
}

impl Contract {
    /// What the configuration says, for bodies up to a limit in bytes. The error says what is wrong with the schema.
    pub(crate) fn of(
        config: &EventContract,
        webhook: &NamespacedName,
        generation: i64,
        body_limit: usize,
    ) -> Result<Self, String> {
        let dead_letters = config.dead_letters.as_deref().map(|topic| DeadLetters {
            topic: topic.into(),
            webhook: webhook.to_string(),
            generation: generation.to_string(),
        });
        let schema = sluice_pipeline::Contract::compile(&config.json_schema)?;
        Ok(Self { schema, dead_letters, most: LEAST.saturating_add(body_limit.saturating_mul(TIMES)) })
    }

    pub(crate) fn dead_letters(&self) -> Option<&DeadLetters> {
        self.dead_letters.as_ref()
    }

    /// Whether an event is as it must be. Of a cloud event the data is looked at; none is `null`.
    pub(crate) fn judge(&self, event: &Event, body: &[u8]) -> Result<(), Rejection> {
        let body = event.cloud.as_ref().map_or(body, |cloud| cloud.data.as_deref().unwrap_or(b"null"));
        // Most bodies are too small to be too much, whatever they are.
        if body.len() > self.most / json::WORST && json::weight(body) > self.most {
            return Err(self.too_large());
        }
        self.schema.judge(body, thread_time)
    }

    fn too_large(&self) -> Rejection {
        let most = self.most / (1024 * 1024);
        let message = format!("the value would take more than {most} MiB of memory; send fewer values in an event");
        Rejection { stage: "decode".to_owned(), code: Code::TooLarge, message }
    }
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl DeadLetters {
    /// Name of the topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The record of an event as a dead letter: its key, value, timestamp and headers untouched, and the reasons as further ones.
    pub(crate) fn letter(&self, record: OutgoingRecord, rejection: &Rejection, at: Timestamp) -> OutgoingRecord {
        let message = printable(&rejection.message);
        let at = format!("{at:.3}");
        let reasons = [
            ("sluice-error-class", "DataError"),
            ("sluice-error-stage", &rejection.stage),
            ("sluice-error-code", rejection.code.as_str()),
            ("sluice-error-message", &message),
            ("sluice-attempts", "1"),
            ("sluice-first-failed-at", &at),
            ("sluice-webhook", &self.webhook),
            ("sluice-generation", &self.generation),
            ("sluice-replay-count", "0"),
        ];
        let reasons = reasons.map(|(name, value)| Header::new(name, Bytes::copy_from_slice(value.as_bytes())));
        let mut headers = record.headers;
        headers.extend(reasons);
        OutgoingRecord { topic: Arc::clone(&self.topic), headers, ..record }
    }
}
