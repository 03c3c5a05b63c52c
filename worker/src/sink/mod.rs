//! What a worker delivers to. A new kind of sink is a file here, a variant of `SinkConfig` and of [`Sink`], and the arms that
//! the compiler then asks for.

mod answer;
mod http;
#[cfg(test)]
pub(crate) mod scripted;

use sluice_crds::wire::SinkConfig;
use sluice_outgoing::Guard;
use sluice_pipeline::{Message, Record};

use crate::{config::Job, retry::Failure};

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

impl Sink {
    /// Makes the sink of this job. Errors: it can never work, whatever the world does.
    pub(crate) fn new(job: &Job) -> anyhow::Result<Self> {
        match &job.config.sink {
            SinkConfig::Http(config) => {
                let delivery = &job.config.delivery;
                let guard = Guard::new(job.config.outgoing.clone());
                let sink = http::HttpSink::new(config, delivery, &guard)?;
                Ok(Self::Http(Box::new(sink)))
            }
        }
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
