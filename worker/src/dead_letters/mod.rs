//! Writes what could not be processed or delivered to the dead-letter topic: the record as it was, and why it is there.

mod headers;

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use sluice_crds::HeaderStyle;
use sluice_kafka::{Header, OutgoingRecord, Producer, Renewed, SendError};
use sluice_pipeline::{Record, Rejection};

use self::headers::Origin;
use crate::{
    config::Job,
    retry::{GiveUp, Spent},
    sink::DeliveryError,
};

/// Writes dead letters.
pub(crate) struct DeadLetters {
    letters: Letters,
    writer: Writer,
}

/// Makes dead letters of records.
pub(crate) struct Letters {
    topic: Arc<str>,
    style: HeaderStyle,
    origin: Origin,
}

/// What takes the dead letters.
pub(crate) enum Writer {
    Kafka(Arc<Renewed<Producer>>),
    #[cfg(test)]
    Scripted(crate::engine::tests::ScriptedWriter),
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) class: ErrorClass,
    /// Where it failed: `decode`, a step's name, or the sink's name.
    pub(crate) stage: String,
    pub(crate) code: String,
    pub(crate) message: String,
    /// How often it was attempted.
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: DateTime<Utc>,
}

/// Whether the record or its delivery was at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// It cannot be processed.
    Data,
    /// It could not be delivered.
    Delivery,
}

impl Failed {
    /// A record that cannot be processed.
    pub(crate) fn to_process(rejection: Rejection, now: DateTime<Utc>) -> Self {
        let Rejection { stage, code, message } = rejection;
        Self {
            class: ErrorClass::Data,
            stage,
            code: code.as_str().to_owned(),
            message,
            attempts: 1,
            first_failed_at: now,
        }
    }

    /// A record that the sink of this name did not take.
    pub(crate) fn to_deliver(sink: &str, error: DeliveryError, reason: GiveUp, spent: &Spent) -> Self {
        let message = match reason {
            GiveUp::Refused => error.message,
            GiveUp::Attempts => format!("{} (all {} attempts used)", error.message, spent.attempts),
            GiveUp::Elapsed => format!("{} (no time left for another attempt)", error.message),
        };
        Self::delivery(sink, error.code, message, spent)
    }

    /// A record whose attempts were all used before this worker read it. What they failed with is not known any more.
    pub(crate) fn before(sink: &str, spent: &Spent) -> Self {
        let message = format!("all {} attempts were used before the worker was started anew", spent.attempts);
        Self::delivery(sink, "AttemptsUsed".to_owned(), message, spent)
    }

    /// The memory that it takes beside that of its record, about.
    pub(crate) fn memory(&self) -> usize {
        self.stage.len() + self.code.len() + self.message.len()
    }

    fn delivery(sink: &str, code: String, message: String, spent: &Spent) -> Self {
        let Spent { attempts, first_failed_at, .. } = *spent;
        Self { class: ErrorClass::Delivery, stage: sink.to_owned(), code, message, attempts, first_failed_at }
    }
}

impl DeadLetters {
    /// Writes the dead letters of this job.
    pub(crate) fn new(job: &Job, writer: Writer) -> Self {
        Self { letters: Letters::new(job), writer }
    }

    /// Their topic.
    pub(crate) fn topic(&self) -> &str {
        &self.letters.topic
    }

    /// What to say where they cannot be written.
    pub(crate) fn not_written(&self, error: &SendError) -> String {
        self.letters.not_written(error)
    }

    /// Writes one dead letter; when this is `Ok`, Kafka has it.
    pub(crate) async fn write(&self, record: &Record, failed: &Failed) -> Result<(), SendError> {
        let letter = self.letters.letter(record, failed);
        match &self.writer {
            Writer::Kafka(producer) => producer.client().send(letter).await.map(drop),
            #[cfg(test)]
            Writer::Scripted(writer) => writer.send(letter).await,
        }
    }
}

impl Letters {
    /// Makes the dead letters of this job.
    pub(crate) fn new(job: &Job) -> Self {
        let config = &job.config;
        Self { topic: config.dead_letters.as_str().into(), style: config.dead_letter_headers, origin: Origin::of(job) }
    }

    /// What to say where they cannot be written.
    pub(crate) fn not_written(&self, error: &impl fmt::Display) -> String {
        format!("dead letters cannot be written to topic {:?}, so their records wait: {error}", self.topic)
    }

    /// The record with its key, value, timestamp and headers untouched, and the reasons as further headers.
    pub(crate) fn letter(&self, record: &Record, failed: &Failed) -> OutgoingRecord {
        let original = record
            .headers
            .iter()
            .map(|header| Header { name: header.name.clone().into(), value: header.value.clone() });
        let reasons = headers::reasons(self.style, &self.origin, record, failed);
        OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: original.chain(reasons).collect(),
            timestamp: record.timestamp,
        }
    }
}
