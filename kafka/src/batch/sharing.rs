//! How many records share a request, and what a refusal says of each of them. Pure.
//!
//! Kafka refuses a request as a whole, for one record in it or for all of them together. Which of them is at fault is certain only of a
//! record that was alone: a broker names the invalid records of a request (KIP-467), but librdkafka says of all records of a request that
//! they are invalid where only one of them is.

use std::collections::BTreeSet;

use rdkafka::ClientConfig;

use super::queue::Failure;
use crate::{ErrorCode, OutgoingRecord};

/// How many records share a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// As many as have room in so many bytes before they are compressed; a record that needs more is alone.
    UpTo(usize),
    /// None do, and each is confirmed before the next one is sent.
    Alone,
}

/// What is not written of records that were sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// For their own sake.
    pub(super) refused: Vec<Failure>,
    /// Perhaps for the sake of others in their request.
    pub(super) in_company: Vec<Failure>,
    /// For no fault of any record.
    pub(super) failed: Vec<Failure>,
}

impl Sharing {
    /// The same settings for a producer of such requests.
    pub(super) fn configure(self, config: &ClientConfig) -> ClientConfig {
        let mut config = config.clone();
        match self {
            Self::UpTo(bytes) => config.set("batch.size", bytes.to_string()),
            // What is under way behind a record that is refused would have to be sent again, each time after a pause.
            Self::Alone => config.set("batch.num.messages", "1").set("max.in.flight.requests.per.connection", "1"),
        };
        config
    }

    /// How those are written again that were refused in company.
    pub(super) fn after(self, in_company: &[Failure]) -> Self {
        let is_about_size = |(_, error): &Failure| error.code == ErrorCode::MESSAGE_TOO_LARGE;
        match self {
            Self::UpTo(bytes) if bytes > 1 && in_company.iter().all(is_about_size) => Self::UpTo(bytes / 2),
            Self::UpTo(_) | Self::Alone => Self::Alone,
        }
    }
}

impl Outcome {
    /// What these failures say of the records, which were sent like that.
    pub(super) fn of(failures: Vec<Failure>, records: &[OutgoingRecord], sharing: Sharing) -> Self {
        let mut outcome = Self::default();
        for failure in failures {
            let (place, error) = &failure;
            let is_certain = match (sharing, error.code) {
                (Sharing::UpTo(bytes), ErrorCode::MESSAGE_TOO_LARGE) => records[*place].bytes() >= bytes,
                (
                    Sharing::UpTo(_),
                    ErrorCode::INVALID_RECORD | ErrorCode::INVALID_TIMESTAMP | ErrorCode::INVALID_DIFFERENT_RECORD,
                ) => false,
                _ => true,
            };
            let list = match (is_certain, error.is_about(&records[*place])) {
                (false, _) => &mut outcome.in_company,
                (true, true) => &mut outcome.refused,
                (true, false) => &mut outcome.failed,
            };
            list.push(failure);
        }
        outcome
    }

    /// Which of these places are written again, in order: of a topic all from the first one that was refused in company, as those behind it
    /// may be written already, and would be before it. Those that are refused for their own sake are left out.
    pub(super) fn again(&self, places: &[usize], records: &[OutgoingRecord]) -> Vec<usize> {
        if self.in_company.is_empty() {
            return Vec::new();
        }
        let set = |failures: &[Failure]| failures.iter().map(|(place, _)| *place).collect::<BTreeSet<_>>();
        let (refused, in_company) = (set(&self.refused), set(&self.in_company));
        let mut topics = BTreeSet::<&str>::new();
        let is_again = |place: &usize| {
            let topic = &*records[*place].topic;
            if in_company.contains(place) {
                topics.insert(topic);
            }
            topics.contains(topic) && !refused.contains(place)
        };
        places.iter().copied().filter(is_again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KafkaError;

    #[test]
    fn a_record_is_too_large_for_its_own_sake_where_it_cannot_have_had_company() {
        let records = [record("orders", 10), record("orders", 500), record("orders", 10)];
        let failures = vec![too_large(0), too_large(1), too_large(2)];
        let outcome = Outcome::of(failures.clone(), &records, Sharing::UpTo(500));
        let in_company = vec![too_large(0), too_large(2)];
        assert_eq!(outcome, Outcome { refused: vec![too_large(1)], in_company, ..Outcome::default() });
        let outcome = Outcome::of(failures.clone(), &records, Sharing::UpTo(501));
        assert_eq!(outcome, Outcome { in_company: failures.clone(), ..Outcome::default() });
        let outcome = Outcome::of(failures.clone(), &records, Sharing::Alone);
        assert_eq!(outcome, Outcome { refused: failures, ..Outcome::default() });
    }

    #[test]
    fn an_invalid_record_is_refused_where_it_was_alone() {
        let records = [record("orders", 10), record("orders", 10)];
        let (invalid, other) = (failure(0, ErrorCode::INVALID_RECORD), failure(1, ErrorCode::INVALID_DIFFERENT_RECORD));
        let both = vec![invalid.clone(), other];
        let in_company = Outcome::of(both.clone(), &records, Sharing::UpTo(1000));
        assert_eq!(in_company, Outcome { in_company: both, ..Outcome::default() });
        let alone = Outcome::of(vec![invalid.clone()], &records, Sharing::Alone);
        assert_eq!(alone, Outcome { refused: vec![invalid], ..Outcome::default() });
    }

    #[test]
    fn a_partition_that_is_not_there_and_a_broker_that_is_away_are_certain() {
        let nowhere = |place| failure(place, ErrorCode::UNKNOWN_PARTITION);
        let away = failure(1, ErrorCode::MESSAGE_TIMED_OUT);
        // The last one names no partition, so that it is written when the topic's are known again.
        let named = OutgoingRecord { partition: Some(9), ..record("orders", 10) };
        let records = [named, record("orders", 10), record("orders", 10)];
        let outcome = Outcome::of(vec![nowhere(0), away.clone(), nowhere(2)], &records, Sharing::UpTo(1000));
        let (refused, failed) = (vec![nowhere(0)], vec![away, nowhere(2)]);
        assert_eq!(outcome, Outcome { refused, failed, ..Outcome::default() });
    }

    #[test]
    fn of_a_topic_all_are_written_again_from_the_first_that_was_refused_in_company() {
        let records = ["orders", "letters", "orders", "letters", "orders", "orders"].map(|topic| record(topic, 10));
        let outcome = Outcome { refused: vec![too_large(4)], in_company: vec![too_large(2)], ..Outcome::default() };
        assert_eq!(outcome.again(&[0, 1, 2, 3, 4, 5], &records), [2, 5]);
        assert_eq!(outcome.again(&[2, 5], &records), [2, 5]);
        assert!(Outcome { in_company: vec![], ..outcome }.again(&[2, 5], &records).is_empty());
    }

    #[test]
    fn requests_become_smaller_for_size_only_and_end_with_single_records() {
        let invalid = failure(0, ErrorCode::INVALID_RECORD);
        let other = failure(0, ErrorCode::INVALID_DIFFERENT_RECORD);
        assert_eq!(Sharing::UpTo(1000).after(&[too_large(0), too_large(1)]), Sharing::UpTo(500));
        assert_eq!(Sharing::UpTo(1000).after(&[other]), Sharing::Alone);
        assert_eq!(Sharing::UpTo(1000).after(&[too_large(0), invalid]), Sharing::Alone);
        let mut sharing = Sharing::UpTo(1_000_000);
        for _ in 0..20 {
            sharing = sharing.after(&[too_large(0)]);
        }
        assert_eq!(sharing, Sharing::Alone);
    }

    #[test]
    fn librdkafka_takes_every_way() {
        let mut idempotent = ClientConfig::new();
        idempotent.set("enable.idempotence", "true");
        for sharing in [Sharing::UpTo(1), Sharing::UpTo(1_000_000), Sharing::Alone] {
            sharing.configure(&idempotent).create_native_config().unwrap();
        }
    }

    fn record(topic: &str, bytes: usize) -> OutgoingRecord {
        OutgoingRecord::new(topic, vec![b'x'; bytes])
    }

    fn too_large(place: usize) -> Failure {
        failure(place, ErrorCode::MESSAGE_TOO_LARGE)
    }

    fn failure(place: usize, code: ErrorCode) -> Failure {
        (place, KafkaError::local(code, ""))
    }
}
