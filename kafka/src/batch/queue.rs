//! librdkafka's producer, for callers who send many records and wait for all of them.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError as ClientError, KafkaResult},
    producer::{DeliveryResult, Producer as _, ProducerContext},
};

use crate::{
    ErrorCode, KafkaError, OutgoingRecord,
    native::{self, Sent},
    running::Running,
    trouble::Trouble,
    write_log_line,
};

/// A producer, and which of the records that were sent last are not written.
pub(super) struct Queue {
    pub(super) producer: Running<Reports>,
    trouble: Arc<Trouble>,
    failures: Failures,
}

/// Records that were not written, by their place, and why.
pub(super) type Failure = (usize, KafkaError);
type Failures = Arc<Mutex<Vec<Failure>>>;

/// Why a record did not get into the queue.
pub(super) struct NotQueued {
    pub(super) error: KafkaError,
    /// Whether the producer can do nothing more.
    pub(super) dead: bool,
}

/// Receives what librdkafka has to say: of records, which are not written.
pub(super) struct Reports {
    trouble: Arc<Trouble>,
    failures: Failures,
}

impl Queue {
    pub(super) fn start(config: &ClientConfig, trouble: &Arc<Trouble>) -> KafkaResult<Self> {
        let failures = Failures::default();
        let reports = Reports { trouble: Arc::clone(trouble), failures: Arc::clone(&failures) };
        Ok(Self { producer: Running::start(config, reports)?, trouble: Arc::clone(trouble), failures })
    }

    /// Puts a record into the queue; waits while it is full.
    pub(super) fn send(&self, place: usize, record: &OutgoingRecord, deadline: Instant) -> Result<(), NotQueued> {
        loop {
            let Err((error, _)) = native::produce(self.producer.client(), record, place) else { return Ok(()) };
            if error.code == ErrorCode::QUEUE_FULL && Instant::now() < deadline && self.flush(deadline).is_ok() {
                continue;
            }
            let dead = error.code == ErrorCode::FATAL;
            lock(&self.failures).push((place, error.clone()));
            return Err(NotQueued { error, dead });
        }
    }

    /// Waits until each record is written, or reported as one that is not.
    pub(super) fn flush(&self, deadline: Instant) -> Result<(), KafkaError> {
        // librdkafka is done with each before that, by its own timeout.
        if !self.producer.flush(left(deadline)) {
            return Err(KafkaError::local(ErrorCode::TIMED_OUT, "no report of what was sent"));
        }
        if lock(&self.failures).is_empty() {
            self.trouble.forget();
        }
        Ok(())
    }

    /// What was not written of all that was sent since this was asked last.
    pub(super) fn take_failures(&self) -> Vec<Failure> {
        mem::take(&mut *lock(&self.failures))
    }

    pub(super) fn first_failure(&self) -> Option<KafkaError> {
        lock(&self.failures).first().map(|(_, error)| error.clone())
    }
}

/// The time until then. librdkafka takes none for "at once".
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// What these locks guard is whole after every change, so a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    type DeliveryOpaque = Box<Sent<usize>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent<usize>>) {
        let error = match result {
            Ok(message) if message.offset() >= 0 => return,
            Ok(_) => KafkaError::overtaken(),
            Err((_, message)) => self.trouble.explain(native::failure(message).1),
        };
        lock(&self.failures).push((sent.report, error));
    }
}
