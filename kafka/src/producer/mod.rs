//! A producer that says of every record whether it is written, certainly not written, or unknown.
//!
//! - `record`: what is written and where it landed.
//! - `settings`: how librdkafka is told to be durable.
//! - `engine`: librdkafka's producer, its delivery reports and its thread.

mod engine;
mod record;
mod settings;

use std::{
    mem,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rdkafka::ClientConfig;
use sluice_crds::KafkaConnection;
use tokio::{sync::oneshot, task, time};
use tracing::warn;

pub use record::{Header, OutgoingRecord, Position};
pub use settings::{Compression, ProducerSettings};

use self::engine::{Engine, NotQueued};
use crate::{Error, ErrorCode, KafkaError};

/// Writes records, each confirmed by all in-sync replicas, in order and without duplicates while the producer lives.
///
/// Clones share connections and buffer. When librdkafka gives up for good (a fatal error of the idempotent producer), the
/// next record is given to a new one; what was on its way is reported as it ended.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    patience: Duration,
    engine: RwLock<Arc<Engine>>,
}

/// Why a record is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The buffer is full: nothing was written; send less, or later.
    #[error("the producer's buffer is full")]
    Busy,
    /// The record is certainly not in the topic, and will not be.
    #[error("not written to Kafka: {0}")]
    NotWritten(KafkaError),
    /// The record may be in the topic, or may yet come there: it was sent, and nobody answered in time.
    #[error("not confirmed by Kafka, perhaps written: {0}")]
    Unknown(KafkaError),
}

impl SendError {
    /// Whether the same record may be written later without anybody doing anything. After `Unknown` it may then be there twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Busy | Self::Unknown(_) => true,
            Self::NotWritten(error) => error.is_retriable(),
        }
    }
}

impl Producer {
    /// Makes a producer. It connects in the background: an unreachable cluster is the first record's error, not this one's.
    ///
    /// Errors: [`Error::File`] and [`Error::Settings`], as [`crate::client_config`].
    pub fn connect(connection: &KafkaConnection, settings: &ProducerSettings) -> Result<Self, Error> {
        let config = settings.config(connection)?;
        let engine = RwLock::new(Arc::new(Engine::start(&config)?));
        Ok(Self { shared: Arc::new(Shared { config, patience: settings.patience, engine }) })
    }

    /// Writes a record; resolves with its delivery report, or when `patience` is over.
    ///
    /// Records for one partition are written in the order in which this is first polled. A dropped future takes nothing back.
    pub async fn send(&self, record: OutgoingRecord) -> Result<Position, SendError> {
        let (report, delivered) = oneshot::channel();
        self.shared.queue(&record, report)?;
        match time::timeout(self.shared.patience, delivered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_closed)) => Err(unknown("the producer was closed")),
            Err(_elapsed) => Err(self.shared.engine().out_of_patience(self.shared.patience)),
        }
    }

    /// Waits until every record that was sent is reported, at most until `deadline` has passed; says whether all are.
    ///
    /// For an orderly end: what is still unreported when the last clone goes is given up.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let engine = self.shared.engine();
        task::spawn_blocking(move || engine.flush(deadline)).await.unwrap_or(false)
    }
}

fn unknown(message: &str) -> SendError {
    SendError::Unknown(KafkaError::local(ErrorCode::TIMED_OUT, message))
}

impl Shared {
    fn queue(&self, record: &OutgoingRecord, report: engine::Report) -> Result<(), SendError> {
        let engine = self.engine();
        match engine.queue(record, report) {
            Ok(()) => Ok(()),
            Err(NotQueued::Refused(error)) => Err(error),
            Err(NotQueued::Dead(report)) => self.replace(&engine)?.queue(record, report).map_err(SendError::from),
        }
    }

    fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new engine in the place of a dead one, unless another thread has done so already.
    fn replace(&self, dead: &Arc<Engine>) -> Result<Arc<Engine>, SendError> {
        let mut place = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&place, dead) {
            warn!("Kafka producer failed for good; continuing with a new one");
            let engine = Engine::start(&self.config).map_err(|error| {
                SendError::NotWritten(KafkaError::local(ErrorCode::FATAL, format!("no new producer: {error}")))
            })?;
            drop(mem::replace(&mut *place, Arc::new(engine)));
        }
        Ok(Arc::clone(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_fatal_error_the_next_record_is_given_to_a_new_producer() {
        let connection =
            KafkaConnection { bootstrap_servers: vec!["127.0.0.1:9".into()], ..KafkaConnection::default() };
        let settings = ProducerSettings { patience: Duration::from_millis(200), ..ProducerSettings::default() };
        let producer = Producer::connect(&connection, &settings).unwrap();
        let first = producer.shared.engine();
        first.fail_for_good();

        let outcome = producer.send(OutgoingRecord::new("orders", "value")).await;
        assert!(!Arc::ptr_eq(&first, &producer.shared.engine()));
        let Err(SendError::Unknown(error) | SendError::NotWritten(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.code.is_retriable(), "the new producer found no broker, and nothing worse: {error:?}");
    }
}
