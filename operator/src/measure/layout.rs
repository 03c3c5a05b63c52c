//! Which partitions topics have, which changes seldom: all topics are described now and then, and in between those that are new or
//! in doubt.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::Reason;
use sluice_kafka::{PerTopic, TopicDescription, TopicPartition};
use sluice_model::integration::Why;

use crate::error::Error;

/// Looks between two descriptions of all topics. A topic in doubt is described in each of so many looks, because it may be about to be
/// made, and then with all others.
const LOOKS: u32 = 12;

/// What is known of topics.
#[derive(Debug, Default)]
pub struct Layout {
    /// Their partitions, or why those are not known.
    topics: BTreeMap<String, Result<Vec<TopicPartition>, Why>>,
    /// Since which look a topic is missing, or tells nothing of a partition.
    doubts: BTreeMap<String, u32>,
}

impl Layout {
    /// Which of these topics are to be described in this look. Others are forgotten.
    pub fn due<'t>(&mut self, topics: &BTreeSet<&'t str>, look: u32) -> Vec<&'t str> {
        self.topics.retain(|topic, _| topics.contains(topic.as_str()));
        self.doubts.retain(|topic, _| topics.contains(topic.as_str()));
        let is_due = |topic: &str| match (self.topics.get(topic), self.doubts.get(topic)) {
            (None, _) => true,
            (_, Some(since)) => look.wrapping_sub(*since) < LOOKS,
            (_, None) => false,
        };
        topics.iter().copied().filter(|topic| look.is_multiple_of(LOOKS) || is_due(topic)).collect()
    }

    /// Takes what they were described as in this look.
    pub fn take(&mut self, described: PerTopic<Option<TopicDescription>>, look: u32) {
        for (topic, description) in described {
            let partition = |partition| TopicPartition { topic: topic.clone(), partition };
            let known = match description {
                Ok(Some(found)) => Ok(found.partitions.iter().map(|found| partition(found.partition)).collect()),
                Ok(None) => Err(missing(&topic)),
                Err(source) => {
                    let error = Error::Refused { doing: format!("describe topic {topic:?}"), source };
                    Err(Why::from(&error))
                }
            };
            if known.is_err() {
                self.doubts.entry(topic.clone()).or_insert(look);
            }
            self.topics.insert(topic, known);
        }
    }

    /// Doubts those topics from this look on of which a partition is silent, and no others that have partitions.
    pub fn doubt(&mut self, is_silent: impl Fn(&TopicPartition) -> bool, look: u32) {
        for (topic, partitions) in &self.topics {
            let Ok(partitions) = partitions else { continue };
            if partitions.iter().any(&is_silent) {
                self.doubts.entry(topic.clone()).or_insert(look);
            } else {
                self.doubts.remove(topic);
            }
        }
    }

    /// The partitions of a topic, or why they are not known.
    pub fn of(&self, topic: &str) -> Result<&[TopicPartition], Why> {
        match self.topics.get(topic) {
            Some(Ok(partitions)) => Ok(partitions),
            Some(Err(why)) => Err(why.clone()),
            None => Err(missing(topic)),
        }
    }

    /// All partitions.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.topics.values().flatten().flatten().cloned().collect()
    }
}

fn missing(topic: &str) -> Why {
    Why { reason: Reason::NotFound, message: format!("Kafka has no topic {topic:?}") }
}

#[cfg(test)]
mod tests {
    use sluice_kafka::PartitionDescription;

    use super::*;

    fn described(topics: &[&str]) -> PerTopic<Option<TopicDescription>> {
        let partition = PartitionDescription { partition: 0, leader: None, replicas: Vec::new(), in_sync: Vec::new() };
        let description = TopicDescription { id: String::new(), internal: false, partitions: vec![partition] };
        let of = |topic: &&str| ((*topic).to_owned(), Ok((*topic != "gone").then(|| description.clone())));
        topics.iter().map(of).collect()
    }

    /// How many of these topics are described in each of these looks.
    fn looks(
        layout: &mut Layout,
        topics: &[&'static str],
        looks: std::ops::Range<u32>,
        is_silent: fn(&TopicPartition) -> bool,
    ) -> Vec<usize> {
        let topics: BTreeSet<&str> = topics.iter().copied().collect();
        let look = |look| {
            let due = layout.due(&topics, look);
            layout.take(described(&due), look);
            layout.doubt(is_silent, look);
            due.len()
        };
        looks.map(look).collect()
    }

    #[test]
    fn a_missing_topic_is_looked_for_alone_and_after_a_while_with_all_others_only() {
        let mut layout = Layout::default();
        let described = looks(&mut layout, &["dead", "gone", "orders"], 0..36, |_| false);
        let mut expected = vec![3];
        expected.extend([1; 11]);
        for _ in 0..2 {
            expected.push(3);
            expected.extend([0; 11]);
        }
        assert_eq!(described, expected);
        assert_eq!(layout.of("gone"), Err(missing("gone")));
        assert_eq!(layout.of("orders").map(<[_]>::len), Ok(1));
        assert_eq!(layout.partitions().len(), 2);
    }

    #[test]
    fn a_topic_with_a_silent_partition_may_be_gone_and_one_that_speaks_again_is_not() {
        let (mut layout, topics) = (Layout::default(), ["dead", "orders"]);
        assert_eq!(looks(&mut layout, &topics, 0..2, |_| false), [2, 0]);
        assert_eq!(looks(&mut layout, &topics, 2..5, |partition| partition.topic == "orders"), [0, 1, 1]);
        assert_eq!(looks(&mut layout, &topics, 5..8, |_| false), [1, 0, 0]);
    }
}
