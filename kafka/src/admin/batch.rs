//! What every answer about many topics, groups or partitions has in common.

use std::{collections::BTreeMap, fmt};

use crate::KafkaError;

/// What Kafka answered about each topic that was asked for, by the topic's name.
pub type PerTopic<T> = BTreeMap<String, Result<T, KafkaError>>;

/// What Kafka answered about each partition.
pub type PerPartition<T> = BTreeMap<TopicPartition, Result<T, KafkaError>>;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

/// What can be asked of a broker, and the answers that need none: what cannot even be said is that item's own error.
pub(super) struct Batch<T> {
    pub(super) requests: Vec<T>,
    pub(super) refused: BTreeMap<String, KafkaError>,
}

impl<T> Batch<T> {
    /// Builds each item's request; of equal names the last one counts, because a request that repeats one fails as a whole.
    pub(super) fn build<'a>(items: impl IntoIterator<Item = (&'a str, Result<T, KafkaError>)>) -> Self {
        let distinct: BTreeMap<_, _> = items.into_iter().collect();
        let mut batch = Self { requests: Vec::with_capacity(distinct.len()), refused: BTreeMap::new() };
        for (name, built) in distinct {
            match built {
                Ok(request) => batch.requests.push(request),
                Err(error) => drop(batch.refused.insert(name.to_owned(), error)),
            }
        }
        batch
    }
}

/// Whether no broker has said any of this: librdkafka shares a request out among brokers, and tells of each item alone that nobody answered.
pub(super) fn is_silence<K, T>(answers: &BTreeMap<K, Result<T, KafkaError>>) -> bool {
    let is_no_answer = |answer: &Result<T, KafkaError>| answer.as_ref().is_err_and(|error| error.code.is_no_answer());
    !answers.is_empty() && answers.values().all(is_no_answer)
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, native};

    #[test]
    fn a_name_that_cannot_be_said_holds_up_no_other() {
        let names = ["orders", "", "or\0ders"];
        let batch = Batch::build(names.map(|name| (name, native::name(name))));
        assert_eq!(batch.requests, [c"orders".to_owned()]);
        assert_eq!(batch.refused.keys().collect::<Vec<_>>(), ["", "or\0ders"]);
    }

    #[test]
    fn one_answer_of_a_broker_is_no_silence() {
        let error = |code| Err(KafkaError::local(code, ""));
        let answers = |all: Vec<Result<(), KafkaError>>| all.into_iter().enumerate().collect::<BTreeMap<_, _>>();
        let [away, late] = [ErrorCode::TRANSPORT, ErrorCode::TIMED_OUT];
        assert!(is_silence(&answers(vec![error(away), error(late)])));
        assert!(!is_silence(&answers(vec![error(away), Ok(())])));
        assert!(!is_silence(&answers(vec![error(away), error(ErrorCode::GROUP_ID_NOT_FOUND)])));
        assert!(!is_silence(&answers(vec![])), "nothing is missing");
    }

    #[test]
    fn a_repeated_name_is_asked_for_once() {
        let batch = Batch::build(["orders", "orders"].map(|name| (name, native::name(name))));
        assert_eq!(batch.requests, [c"orders".to_owned()]);
    }
}
