//! librdkafka's producer, the thread that reads its delivery reports, and what the reports mean.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::KafkaError as ClientError,
    producer::{DeliveryResult, Producer as _, ProducerContext},
};
use tokio::sync::oneshot;

use super::{OutgoingRecord, Position, SendError};
use crate::{
    Error, ErrorCode, KafkaError,
    native::{self, Fate, Sent},
    running::Running,
    trouble::Trouble,
    write_log_line,
};

/// Where a record's outcome goes.
pub(super) type Report = oneshot::Sender<Result<Position, SendError>>;

/// A running producer.
pub(super) struct Engine {
    producer: Running<Reports>,
    trouble: Arc<Trouble>,
}

/// Why a record did not get into the queue.
pub(super) enum NotQueued {
    Refused(SendError),
    /// The producer has had a fatal error and takes no more records; the record's report is given back.
    Dead(Report),
}

/// Receives what librdkafka has to say.
struct Reports {
    trouble: Arc<Trouble>,
}

impl Engine {
    pub(super) fn start(config: &ClientConfig) -> Result<Self, Error> {
        let trouble = Arc::<Trouble>::default();
        let reports = Reports { trouble: Arc::clone(&trouble) };
        Ok(Self { producer: Running::start(config, reports)?, trouble })
    }

    pub(super) fn queue(&self, record: &OutgoingRecord, report: Report) -> Result<(), NotQueued> {
        native::produce(self.producer.client(), record, report).map_err(|(error, report)| match error.code {
            ErrorCode::FATAL => NotQueued::Dead(report),
            ErrorCode::QUEUE_FULL => NotQueued::Refused(SendError::Busy),
            _ => NotQueued::Refused(SendError::NotWritten(error)),
        })
    }

    /// What to say of a record whose report did not come in time: it may still be on its way.
    pub(super) fn out_of_patience(&self, patience: Duration) -> SendError {
        let error = KafkaError::local(ErrorCode::TIMED_OUT, format!("no answer within {patience:?}"));
        SendError::Unknown(error.with_cause(self.trouble.latest()))
    }

    /// Blocks until all records are reported or the deadline has passed.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        self.producer.flush(deadline)
    }

    #[cfg(test)]
    pub(super) fn fail_for_good(&self) {
        native::fail_for_good(self.producer.client());
    }
}

impl From<NotQueued> for SendError {
    fn from(reason: NotQueued) -> Self {
        match reason {
            NotQueued::Refused(error) => error,
            NotQueued::Dead(_) => {
                Self::NotWritten(KafkaError::local(ErrorCode::FATAL, "a new producer failed at once"))
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        write_log_line(level, facility, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.trouble.hear(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sent<Report>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent<Report>>) {
        let outcome = match result {
            Ok(message) if message.offset() >= 0 => {
                self.trouble.forget();
                Ok(Position { partition: message.partition(), offset: message.offset() })
            }
            Ok(_) => Err(SendError::Unknown(KafkaError::overtaken())),
            Err((_, message)) => Err(self.failure(native::failure(message))),
        };
        // Nobody waits any longer where the future was dropped.
        drop(sent.report.send(outcome));
    }
}

impl Reports {
    fn failure(&self, (fate, error): (Fate, KafkaError)) -> SendError {
        let error = self.trouble.explain(error);
        match fate {
            Fate::NotWritten => SendError::NotWritten(error),
            Fate::Unknown => SendError::Unknown(error),
        }
    }
}
