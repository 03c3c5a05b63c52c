//! Why Kafka did not take the last event: what a person must change, while nothing is taken. Pure: the time is an argument.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_kafka::KafkaError;

/// Why Kafka refused the last event for what it is, until it takes one or the sender has given up.
#[derive(Debug, Default)]
pub(crate) struct LastRefusal {
    /// Whether there is any: most events are taken, and look at no more than this.
    is_there: AtomicBool,
    refusal: Mutex<Option<Refusal>>,
}

#[derive(Debug)]
struct Refusal {
    reason: String,
    at: Instant,
}

/// Senders come again in that time, unless they have given up: then nobody knows whether it would be refused still.
const TOLD: Duration = Duration::from_mins(10);

impl LastRefusal {
    /// Kafka refused an event.
    pub(super) fn note(&self, topic: &str, error: &KafkaError, now: Instant) {
        let advice = "see its `cleanup.policy` and the Webhook's `event.key`";
        self.set(Some(Refusal {
            reason: format!("the Kafka topic {topic:?} refuses events; {advice}: {error}"),
            at: now,
        }));
    }

    /// Kafka took an event.
    pub(super) fn forget(&self) {
        if self.is_there.load(Ordering::Relaxed) {
            self.set(None);
        }
    }

    /// The reason, as a sentence.
    pub(crate) fn told(&self, now: Instant) -> Option<String> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = refusal.as_ref().filter(|refusal| now.saturating_duration_since(refusal.at) < TOLD);
        recent.map(|refusal| refusal.reason.clone())
    }

    fn set(&self, refusal: Option<Refusal>) {
        let mut place = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_there.store(refusal.is_some(), Ordering::Relaxed);
        *place = refusal;
    }
}

#[cfg(test)]
mod tests {
    use sluice_kafka::ErrorCode;

    use super::*;

    #[test]
    fn a_refusal_is_told_until_an_event_is_taken_or_its_sender_must_have_given_up() {
        let (last, now) = (LastRefusal::default(), Instant::now());
        last.forget();
        assert_eq!(last.told(now), None);
        let error = KafkaError { code: ErrorCode::INVALID_RECORD, message: "no key".to_owned() };
        last.note("orders", &error, now);
        let told = last.told(now + TOLD / 2).unwrap();
        assert!(told.contains("\"orders\"") && told.ends_with("no key (INVALID_RECORD)"), "{told}");
        assert_eq!(last.told(now + TOLD), None);
        last.note("orders", &error, now + TOLD);
        last.forget();
        assert_eq!(last.told(now + TOLD), None);
    }
}
