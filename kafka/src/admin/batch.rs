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

/// What was answered about each of many things.
pub(super) struct Answers<K, T> {
    pub(super) each: BTreeMap<K, Result<T, KafkaError>>,
    /// Why no broker has said any of this: librdkafka shares a request out among brokers, and tells of each item alone that nobody answered.
    pub(super) silence: Option<KafkaError>,
}

impl<K, T> Answers<K, T> {
    pub(super) fn of(each: BTreeMap<K, Result<T, KafkaError>>) -> Self {
        let mut errors = each.values().map(|answer| answer.as_ref().err().filter(|error| error.code.is_no_answer()));
        let first = errors.next().flatten().cloned();
        let silence = first.filter(|_| errors.all(|error| error.is_some()));
        Self { each, silence }
    }
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
        let silence = |all: Vec<Result<(), KafkaError>>| {
            Answers::of(all.into_iter().enumerate().collect()).silence.map(|error| error.code)
        };
        let [away, late] = [ErrorCode::TRANSPORT, ErrorCode::TIMED_OUT];
        assert_eq!(silence(vec![error(away), error(late)]), Some(away));
        assert_eq!(silence(vec![error(away), Ok(())]), None);
        assert_eq!(silence(vec![Ok(()), error(away)]), None);
        assert_eq!(silence(vec![error(away), error(ErrorCode::GROUP_ID_NOT_FOUND)]), None);
        assert_eq!(silence(vec![]), None, "nothing is missing");
    }

    #[test]
    fn a_repeated_name_is_asked_for_once() {
        let batch = Batch::build(["orders", "orders"].map(|name| (name, native::name(name))));
        assert_eq!(batch.requests, [c"orders".to_owned()]);
    }
}
