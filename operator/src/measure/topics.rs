//! What a Kafka cluster tells of the topics that Integrations read or keep dead letters in: which partitions they have, and where those
//! begin and end.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::Reason;
use sluice_kafka::{Admin, CommittedOffset, ErrorCode, KafkaError, OffsetAt, PerPartition, TopicPartition};
use sluice_model::integration::{Earlier, History, PartitionOffsets, Why};

use super::layout::Layout;
use crate::error::Error;

/// Looks between two at where partitions begin.
const BEGINNINGS: u32 = 3;

/// What is known of topics.
#[derive(Debug, Default)]
pub struct Topics {
    looks: u32,
    layout: Layout,
    /// Where partitions begin.
    lows: PerPartition<i64>,
    /// Where partitions end and ended.
    ends: HashMap<TopicPartition, History>,
    /// Why it is not known at the moment where others end.
    silent: HashMap<TopicPartition, KafkaError>,
}

/// Where a partition begins and ends, and ended.
struct Bounds<'a> {
    low: i64,
    end: i64,
    history: &'a History,
}

impl Topics {
    /// Looks at these topics, and forgets others.
    pub async fn look(&mut self, kafka: &Admin, topics: &BTreeSet<&str>) -> Result<(), sluice_kafka::Error> {
        let due = self.layout.due(topics, self.looks);
        if !due.is_empty() {
            self.layout.take(kafka.describe_topics(&due).await?, self.looks);
        }
        let partitions = self.layout.partitions();
        let is_new = partitions.iter().any(|partition| !self.lows.contains_key(partition));
        if is_new || self.looks.is_multiple_of(BEGINNINGS) {
            self.lows = kafka.list_offsets(&partitions, OffsetAt::Earliest).await?;
        }
        let ends = kafka.list_offsets(&partitions, OffsetAt::LastStable).await?;
        self.take_ends(ends, Timestamp::now());
        self.looks = self.looks.wrapping_add(1);
        Ok(())
    }

    /// What was seen of a partition's end is kept while the partition is silent: it may only be without a leader.
    fn take_ends(&mut self, ends: PerPartition<i64>, now: Timestamp) {
        self.ends.retain(|partition, _| ends.contains_key(partition));
        self.silent.clear();
        for (partition, end) in ends {
            match end {
                Ok(end) => self.ends.entry(partition).or_default().saw(end, now),
                Err(error) => drop(self.silent.insert(partition, error)),
            }
        }
        self.layout.doubt(|partition| self.silent.contains_key(partition), self.looks);
    }

    /// How many partitions these topics have; `None` where that is not known of one of them, whose partitions need not be gone.
    pub fn partitions(&self, topics: &[String]) -> Option<usize> {
        topics.iter().map(|topic| self.layout.of(topic).ok().map(<[_]>::len)).sum()
    }

    /// The ends of all partitions together: another sum after anything came. `Err` where one of them is not known.
    pub fn ends(&self, topics: &[String]) -> Result<i64, Why> {
        let mut ends = 0;
        for topic in topics {
            for partition in self.layout.of(topic)? {
                ends += self.bounds(partition)?.end;
            }
        }
        Ok(ends)
    }

    /// The offsets of all partitions of some topics; `Err` where one of them is not known, because half a sum is a lie. `earlier` is what
    /// was known of a partition, by its name, where the group is at this offset.
    pub fn source(
        &self,
        topics: &[String],
        committed: &PerPartition<CommittedOffset>,
        earlier: impl Fn(&str, i64) -> Option<Earlier>,
        now: Timestamp,
    ) -> Result<Vec<PartitionOffsets>, Why> {
        let mut source = Vec::new();
        for topic in topics {
            for partition in self.layout.of(topic)? {
                let Bounds { low, end, history } = self.bounds(partition)?;
                let committed = match committed.get(partition) {
                    Some(Ok(committed)) => Some(committed.offset),
                    Some(Err(error)) => return Err(untold(partition, error)),
                    None => None,
                };
                let offsets = PartitionOffsets::new(partition.to_string(), (low, end), committed);
                source.push(offsets.aged(|name, position| history.age(position, earlier(name, position), now)));
            }
        }
        Ok(source)
    }

    /// The records that a topic holds; `Err` where that is not known of one of its partitions.
    pub fn records_in(&self, topic: &str) -> Result<u64, Why> {
        let mut records = 0;
        for partition in self.layout.of(topic)? {
            let Bounds { low, end, .. } = self.bounds(partition)?;
            records += u64::try_from(end - low).unwrap_or_default();
        }
        Ok(records)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<Bounds<'_>, Why> {
        if let Some(error) = self.silent.get(partition) {
            return Err(untold(partition, error));
        }
        let unanswered = || KafkaError { code: ErrorCode::UNKNOWN_SERVER_ERROR, message: "no answer".to_owned() };
        let low = self.lows.get(partition).cloned().unwrap_or_else(|| Err(unanswered()));
        let low = low.map_err(|error| untold(partition, &error))?;
        let seen = self.ends.get(partition).and_then(|history| Some((history, history.end()?)));
        let (history, end) = seen.ok_or_else(|| untold(partition, &unanswered()))?;
        Ok(Bounds { low, end, history })
    }
}

fn untold(partition: &TopicPartition, error: &KafkaError) -> Why {
    why(&Error::Refused { doing: format!("tell the offsets of {partition}"), source: error.clone() })
}

/// Why Kafka does not tell something. What it will tell by itself later on, as where a partition has no leader, is not refused.
pub(super) fn why(error: &Error) -> Why {
    match error {
        Error::Refused { source, .. } if source.is_retriable() => {
            Why { reason: Reason::KafkaUnreachable, ..Why::from(error) }
        }
        error => Why::from(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_kafka::{PartitionDescription, TopicDescription};
    use sluice_model::integration::Age;

    use super::*;

    const ORDERS: &str = "orders";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition { topic: ORDERS.into(), partition }
    }

    /// A topic with two partitions, seen once.
    fn topics() -> Topics {
        let partitions = [0, 1].map(|partition| PartitionDescription {
            partition,
            leader: None,
            replicas: Vec::new(),
            in_sync: Vec::new(),
        });
        let described = TopicDescription { id: String::new(), internal: false, partitions: partitions.into() };
        let mut topics = Topics::default();
        topics.layout.take([(ORDERS.to_owned(), Ok(Some(described)))].into(), 0);
        topics.lows = [0, 1].map(|number| (partition(number), Ok(1))).into();
        topics.take_ends([(partition(0), Ok(5)), (partition(1), Ok(3))].into(), at(0));
        topics
    }

    #[test]
    fn half_a_sum_is_none() {
        let mut topics = topics();
        assert_eq!((topics.ends(&[ORDERS.into()]), topics.records_in(ORDERS)), (Ok(8), Ok(6)));
        let error = KafkaError { code: ErrorCode::LEADER_NOT_AVAILABLE, message: String::new() };
        topics.take_ends([(partition(0), Ok(6)), (partition(1), Err(error))].into(), at(10));
        let why = topics.ends(&[ORDERS.into()]).unwrap_err();
        assert_eq!(why.reason, Reason::KafkaUnreachable);
        assert_eq!(why.message, "Kafka refused to tell the offsets of orders-1: LEADER_NOT_AVAILABLE");
        assert_eq!(topics.source(&[ORDERS.into()], &PerPartition::new(), |_, _| None, at(10)), Err(why.clone()));
        assert_eq!(topics.records_in(ORDERS), Err(why));
    }

    #[test]
    fn a_partition_that_was_silent_for_a_moment_remembers_when_its_records_came() {
        let mut topics = topics();
        let error = KafkaError { code: ErrorCode::LEADER_NOT_AVAILABLE, message: String::new() };
        topics.take_ends([(partition(0), Ok(5)), (partition(1), Err(error))].into(), at(10));
        topics.take_ends([(partition(0), Ok(5)), (partition(1), Ok(3))].into(), at(20));
        assert_eq!(topics.ends(&[ORDERS.into()]), Ok(8));
        let source = topics.source(&[ORDERS.into()], &PerPartition::new(), |_, _| None, at(30)).unwrap();
        let ages: Vec<_> = source.iter().map(|partition| partition.oldest).collect();
        assert_eq!(ages, [Some(Age::MoreThan(Duration::from_secs(30))); 2]);
    }

    #[test]
    fn a_topic_that_is_not_there_has_no_number_of_partitions() {
        let topics = topics();
        assert_eq!(topics.partitions(&[ORDERS.into()]), Some(2));
        assert_eq!(topics.partitions(&[ORDERS.into(), "gone".into()]), None);
    }
}
