//! librdkafka's producer, for callers who send many records and wait for all of them.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError as ClientError, KafkaResult, RDKafkaError},
    producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use crate::{ErrorCode, KafkaError, OutgoingRecord, native, trouble::Trouble, write_log_line};

/// A producer, and which of the records that were sent last are not written.
///
/// Its end takes librdkafka up to a second and happens on a thread of its own.
pub(super) struct Queue {
    /// `None` only while being dropped.
    producer: Option<ThreadedProducer<Reports>>,
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

/// Receives what librdkafka has to say.
pub(super) struct Reports {
    trouble: Arc<Trouble>,
    failures: Failures,
}

impl Queue {
    pub(super) fn start(config: &ClientConfig, trouble: &Arc<Trouble>) -> KafkaResult<Self> {
        let failures = Failures::default();
        let reports = Reports { trouble: Arc::clone(trouble), failures: Arc::clone(&failures) };
        Ok(Self { producer: Some(ThreadedProducer::from_config_and_context(config, reports)?), failures })
    }

    pub(super) fn producer(&self) -> &ThreadedProducer<Reports> {
        self.producer.as_ref().expect("taken only by drop")
    }

    /// Puts a record into the queue; waits while it is full.
    pub(super) fn send(&self, place: usize, record: &OutgoingRecord, deadline: Instant) -> Result<(), NotQueued> {
        loop {
            let Err((error, _)) = self.producer().send(record.to_base(place)) else { return Ok(()) };
            let full = matches!(error, ClientError::MessageProduction(RDKafkaErrorCode::QueueFull));
            if full && Instant::now() < deadline && self.flush(deadline).is_ok() {
                continue;
            }
            let dead = matches!(error, ClientError::MessageProduction(RDKafkaErrorCode::Fatal));
            let error = described(&error);
            lock(&self.failures).push((place, error.clone()));
            return Err(NotQueued { error, dead });
        }
    }

    /// Waits until all records are reported.
    pub(super) fn flush(&self, deadline: Instant) -> KafkaResult<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.producer().flush(left.max(Duration::from_millis(1)))
    }

    /// What was not written of all that was sent since this was asked last.
    pub(super) fn take_failures(&self) -> Vec<Failure> {
        mem::take(&mut *lock(&self.failures))
    }

    pub(super) fn first_failure(&self) -> Option<KafkaError> {
        lock(&self.failures).first().map(|(_, error)| error.clone())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // Without a further thread it ends on this one.
        drop(thread::Builder::new().name("kafka-close".into()).spawn(move || drop(producer)));
    }
}

/// An error of librdkafka, in its own words.
pub(super) fn described(error: &ClientError) -> KafkaError {
    let Some(code) = error.rdkafka_error_code().map(ErrorCode::from) else {
        return KafkaError::local(ErrorCode::INVALID_ARGUMENT, error.to_string());
    };
    let message = told(error).map_or_else(|| native::code_description(code), RDKafkaError::string);
    KafkaError { code, message }
}

/// What librdkafka says of an error of a transaction.
pub(super) fn told(error: &ClientError) -> Option<&RDKafkaError> {
    if let ClientError::Transaction(told) = error { Some(told) } else { None }
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
        let code = error.rdkafka_error_code().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::from);
        self.trouble.remember(KafkaError::local(code, reason));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        match result {
            Ok(_) => self.trouble.forget(),
            Err((_, message)) => {
                let (_, mut error) = native::failure(message);
                if error.code == ErrorCode::MESSAGE_TIMED_OUT {
                    error = error.with_cause(self.trouble.latest());
                }
                lock(&self.failures).push((place, error));
            }
        }
    }
}
