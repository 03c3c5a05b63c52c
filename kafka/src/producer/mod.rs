//! A producer that says of every record whether it is written, certainly not written, or unknown.
//!
//! - `record`: what is written and where it landed.
//! - `settings`: how librdkafka is told to be durable.
//! - `engine`: librdkafka's producer, its delivery reports and its thread.
//! - `line`: an engine, and the next one when it has failed for good.

mod engine;
mod line;
mod record;
mod settings;

use std::{sync::Arc, time::Duration};

use sluice_crds::KafkaConnection;
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

pub use record::{Header, OutgoingRecord, Position};
pub use settings::{Compression, ProducerSettings};

use self::line::Line;
use crate::{Error, ErrorCode, KafkaError};

/// Writes records, each confirmed by all in-sync replicas, in order and without duplicates while the producer lives.
///
/// Clones share connections and buffer. When librdkafka gives up for good (a fatal error of the idempotent producer), the
/// next record is given to a new one; what was on its way is reported as it ended.
///
/// Records that are sent at the same time share batches, and Kafka refuses a batch as a whole: a topic's `max.message.bytes` is about
/// batches, and one record that is invalid has the others refused with it. A record that is refused so is sent once more, alone, so that
/// it is refused only for what it is itself. So is one that is confirmed without a place, which may be nowhere, or there twice then.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    patience: Duration,
    together: Line,
    /// Made for the first record that is refused in company.
    alone: OnceCell<Line>,
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
    /// For programs: what went wrong, in one word of few.
    pub fn name(&self) -> String {
        match self {
            Self::Busy => "Busy".to_owned(),
            Self::NotWritten(error) | Self::Unknown(error) => error.code.name(),
        }
    }

    /// Whether the record is sent once more, alone: its fate may be due to others, or it may have been overtaken by them.
    fn may_be_another_one_alone(&self) -> bool {
        match self {
            Self::Busy => false,
            Self::NotWritten(error) => error.may_be_about_others(),
            Self::Unknown(error) => error.code == ErrorCode::INCONSISTENT,
        }
    }

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
        let together = Line::open(settings.config(connection)?)?;
        Ok(Self { shared: Arc::new(Shared { patience: settings.patience, together, alone: OnceCell::new() }) })
    }

    /// Writes a record; resolves with its delivery report, or when `patience` is over.
    ///
    /// Records for one partition are written in the order in which this is first polled, but for those that are sent alone. A
    /// dropped future takes nothing back.
    pub async fn send(&self, record: OutgoingRecord) -> Result<Position, SendError> {
        let deadline = Instant::now() + self.shared.patience;
        let fate = match self.send_by(&self.shared.together, &record, deadline).await {
            Err(fate) if fate.may_be_another_one_alone() => fate,
            outcome => return outcome,
        };
        let alone = match self.shared.alone().await {
            Ok(alone) => self.send_by(alone, &record, deadline).await,
            Err(error) => Err(error),
        };
        // That it is not written now does not tell what became of it before.
        alone.map_err(|error| if matches!(fate, SendError::Unknown(_)) { fate } else { error })
    }

    async fn send_by(&self, line: &Line, record: &OutgoingRecord, deadline: Instant) -> Result<Position, SendError> {
        let delivered = line.queue(record)?;
        match timeout_at(deadline, delivered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_closed)) => Err(unknown("the producer was closed")),
            Err(_elapsed) => Err(line.out_of_patience(self.shared.patience)),
        }
    }

    /// Waits until every record that was sent is reported, at most until `deadline` has passed; says whether all are.
    ///
    /// For an orderly end: what is still unreported when the last clone goes is given up.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let deadline = Instant::now() + deadline;
        // In this order: what the first one reports may go to the second one.
        self.shared.together.flush(deadline).await
            && match self.shared.alone.get() {
                None => true,
                Some(alone) => alone.flush(deadline).await,
            }
    }
}

fn unknown(message: &str) -> SendError {
    SendError::Unknown(KafkaError::local(ErrorCode::TIMED_OUT, message))
}

impl Shared {
    async fn alone(&self) -> Result<&Line, SendError> {
        self.alone.get_or_try_init(async || self.together.with_single_records()).await.map_err(|error| {
            SendError::NotWritten(KafkaError::local(
                ErrorCode::FATAL,
                format!("no producer for single records: {error}"),
            ))
        })
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
        let first = producer.shared.together.engine();
        first.fail_for_good();

        let outcome = producer.send(OutgoingRecord::new("orders", "value")).await;
        assert!(!Arc::ptr_eq(&first, &producer.shared.together.engine()));
        let Err(SendError::Unknown(error) | SendError::NotWritten(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.code.is_retriable(), "the new producer found no broker, and nothing worse: {error:?}");
    }
}
