//! The latest trouble of a client's connections: why nobody answers, when nobody answers.

use std::sync::{Mutex, PoisonError};

use rdkafka::error::KafkaError as ClientError;
use tracing::debug;

use crate::{ErrorCode, KafkaError};

/// The latest error of a client's connections; forgotten as soon as a broker answers again.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<KafkaError>>);

impl Trouble {
    /// "All brokers are down" follows every error of a connection and says less than it.
    pub(crate) fn remember(&self, error: KafkaError) {
        let error = without_accidents(as_told_by_tls(error));
        debug!(code = %error.code, "Kafka connection in trouble: {}", error.message);
        self.change(|latest| {
            if latest.is_none() || error.code != ErrorCode::ALL_BROKERS_DOWN {
                *latest = Some(error);
            }
        });
    }

    /// The same of what librdkafka says of a connection.
    pub(crate) fn hear(&self, error: &ClientError, reason: &str) {
        let code = error.rdkafka_error_code().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::from);
        self.remember(KafkaError::local(code, reason));
    }

    /// Why a record was not confirmed, with what the connection failed with where nobody answered in time.
    pub(crate) fn explain(&self, error: KafkaError) -> KafkaError {
        if error.code == ErrorCode::MESSAGE_TIMED_OUT { error.with_cause(self.latest()) } else { error }
    }

    pub(crate) fn forget(&self) {
        self.change(|latest| *latest = None);
    }

    pub(crate) fn latest(&self) -> Option<KafkaError> {
        self.change(|latest| latest.clone())
    }

    /// What the lock guards is whole after every change, so a panic elsewhere does not spoil it.
    fn change<T>(&self, change: impl FnOnce(&mut Option<KafkaError>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// librdkafka calls it a lost connection where a broker that misses a client's certificate says so after the handshake, as with
/// TLS 1.3, and now and then also where the broker's own certificate is not trusted. A connection that just ends is none of them.
fn as_told_by_tls(error: KafkaError) -> KafkaError {
    let told = ["SSL alert", "certificate verify failed"].iter().any(|told| error.message.contains(told));
    if error.code == ErrorCode::TRANSPORT && told { KafkaError { code: ErrorCode::SSL, ..error } } else { error }
}

/// "Connection refused (after 3ms in state CONNECT, 2 identical error(s) suppressed)": what stands in a status must be the same at each
/// attempt, or it would be written at each.
fn without_accidents(mut error: KafkaError) -> KafkaError {
    if let Some(accident) = error.message.find(" (after ") {
        error.message.truncate(accident);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_in_the_same_words_at_each_attempt() {
        let trouble = Trouble::default();
        let transport = ErrorCode::TRANSPORT;
        for accident in
            [" (after 0ms in state CONNECT)", " (after 4ms in state CONNECT, 30 identical error(s) suppressed)"]
        {
            trouble.remember(KafkaError::local(transport, format!("kafka:9092: Connection refused{accident}")));
            assert_eq!(trouble.latest().unwrap().message, "kafka:9092: Connection refused");
        }
    }

    #[test]
    fn the_error_that_says_more_is_kept() {
        let trouble = Trouble::default();
        let refused = KafkaError::local(ErrorCode::from_number(-195), "kafka:9092: Connection refused");
        trouble.remember(refused.clone());
        trouble.remember(KafkaError::local(ErrorCode::ALL_BROKERS_DOWN, "1/1 brokers are down"));
        assert_eq!(trouble.latest(), Some(refused));
        trouble.forget();
        assert_eq!(trouble.latest(), None);
    }

    #[test]
    fn what_tls_refuses_is_no_lost_connection() {
        let code = |message: &str| as_told_by_tls(KafkaError::local(ErrorCode::TRANSPORT, message)).code;
        let untrusted = "sasl_ssl://kafka:9132/bootstrap: error:0A000086:SSL routines::certificate verify failed";
        assert_eq!(code(untrusted), ErrorCode::SSL);
        assert_eq!(
            code("error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116"),
            ErrorCode::SSL
        );
        assert_eq!(code("error:0A000126:SSL routines::unexpected eof while reading"), ErrorCode::TRANSPORT);
    }
}
