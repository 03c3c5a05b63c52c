//! The latest trouble of a client's connections: why nobody answers, when nobody answers.

use std::sync::{Mutex, PoisonError};

use tracing::debug;

use crate::{ErrorCode, KafkaError};

/// The latest error of a client's connections; forgotten as soon as a broker answers again.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<KafkaError>>);

impl Trouble {
    /// "All brokers are down" follows every error of a connection and says less than it.
    pub(crate) fn remember(&self, error: KafkaError) {
        let error = as_told_by_the_broker(error);
        debug!(code = %error.code, "Kafka connection in trouble: {}", error.message);
        self.change(|latest| {
            if latest.is_none() || error.code != ErrorCode::ALL_BROKERS_DOWN {
                *latest = Some(error);
            }
        });
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

/// With TLS 1.3 a broker that misses a client's certificate says so after the handshake; librdkafka then calls it a lost connection.
fn as_told_by_the_broker(error: KafkaError) -> KafkaError {
    let is_alert = error.code == ErrorCode::TRANSPORT && error.message.contains("SSL alert");
    if is_alert { KafkaError { code: ErrorCode::SSL, ..error } } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
