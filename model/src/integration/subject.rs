//! What is asked of a Kafka cluster about an Integration.

use serde::{Deserialize, Serialize};

use super::Flow;

/// What is asked of a Kafka cluster about an Integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The Kafka cluster, as the operator's configuration names it.
    pub cluster: String,
    /// The consumer group.
    pub group: String,
    /// What the group reads.
    pub topics: Vec<String>,
    /// Where dead letters go.
    pub dead_letters: String,
}

impl Subject {
    /// That of an Integration that can be carried out.
    pub fn of(flow: &Flow) -> Self {
        Self {
            cluster: flow.cluster.name.clone(),
            group: flow.group.clone(),
            topics: flow.topics.clone(),
            dead_letters: flow.dead_letter_topic(),
        }
    }

    /// All topics that are looked at.
    pub fn all_topics(&self) -> impl Iterator<Item = &String> {
        self.topics.iter().chain([&self.dead_letters])
    }
}
