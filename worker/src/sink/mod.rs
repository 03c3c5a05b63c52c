//! What a worker delivers to, one record at a time. A new kind of sink is a file here, a variant of `SinkConfig` and of [`Sink`], and the
//! arms that the compiler then asks for. Kafka sinks take records in batches: `batched`.

mod http;
#[cfg(test)]
pub(crate) mod scripted;

use std::sync::Arc;

use sluice_crds::wire::HttpSinkConfig;
use sluice_outgoing::Guard;
use sluice_pipeline::{Message, Record};
use sluice_telemetry::traces::Span;

use crate::{config::Job, retry::Failure, status::Status};

/// What records are delivered to.
pub(crate) enum Sink {
    Http(Box<http::HttpSink>),
    #[cfg(test)]
    Scripted(scripted::ScriptedSink),
}

/// A record on its way to a sink.
pub(crate) struct Outgoing<'a> {
    /// The record as it was read.
    pub(crate) record: &'a Record,
    /// What is delivered of it.
    pub(crate) message: &'a Message,
    /// The same for all attempts, before and after a restart.
    pub(crate) idempotency_key: &'a str,
    /// What its trace says of it; attempts are below it.
    pub(crate) span: &'a Span,
}

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryError {
    pub(crate) failure: Failure,
    /// For programs: an HTTP status, or the kind of failure.
    pub(crate) code: String,
    /// For people. It holds no credentials.
    pub(crate) message: String,
}

/// Why there is no sink.
#[derive(Debug)]
pub(crate) enum NotOpen {
    /// Something is missing that may come, as a Secret; with what to do.
    Yet(String),
    /// It can never work, whatever the world does.
    Ever(anyhow::Error),
}

impl From<anyhow::Error> for NotOpen {
    fn from(error: anyhow::Error) -> Self {
        Self::Ever(error)
    }
}

impl Sink {
    /// Makes an HTTP sink for this job.
    pub(crate) fn open(config: &HttpSinkConfig, job: &Job, status: &Arc<Status>) -> Result<Self, NotOpen> {
        let guard = Guard::new(job.config.outgoing.clone());
        let sink = http::HttpSink::open(config, &job.config.delivery, &guard, status)?;
        Ok(Self::Http(Box::new(sink)))
    }

    /// The sink's name as stage of an error.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            #[cfg(test)]
            Self::Scripted(_) => "scripted",
        }
    }

    /// Makes one attempt.
    pub(crate) async fn deliver(&self, outgoing: &Outgoing<'_>) -> Result<(), DeliveryError> {
        match self {
            Self::Http(sink) => sink.deliver(outgoing).await,
            #[cfg(test)]
            Self::Scripted(sink) => sink.deliver(outgoing).await,
        }
    }
}
