//! Follows one Kafka cluster: one look at all topics that Integrations read or keep dead letters in, and offsets of some groups.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Measuring, NamespacedName};
use sluice_kafka::{Admin, CommittedOffset, OffsetAt, PerPartition, TopicPartition};
use sluice_model::integration::{Backlog, History, PartitionOffsets, Subject};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use super::turns::{Group, Pace, turns};
use crate::{context::Context, error::Error};

/// Looks between two at the partitions of topics, which change seldom.
const LAYOUT: u32 = 12;
/// What a cluster said last is not true for longer.
const SILENCE: Duration = Duration::from_mins(1);
/// Looks between two at where partitions begin.
const BEGINNINGS: u32 = 3;

/// Follows all clusters for ever. No cluster waits for another.
pub async fn follow_clusters(context: Arc<Context>) {
    let context = context.as_ref();
    join_all(context.clusters.names().map(|cluster| Poller::new(cluster, context.settings.measuring).run(context)))
        .await;
}

/// What is known of one cluster.
struct Poller<'a> {
    cluster: &'a str,
    measuring: Measuring,
    looks: u32,
    /// When it last answered.
    answered: Instant,
    /// Partitions of the topics that exist.
    layout: BTreeMap<String, Vec<i32>>,
    /// Where partitions begin.
    lows: PerPartition<i64>,
    /// Where partitions end and ended.
    ends: HashMap<TopicPartition, History>,
    groups: HashMap<NamespacedName, Asked>,
}

/// What is known of a group.
struct Asked {
    subject: Subject,
    at: Option<Instant>,
    /// The ends together, when it was asked.
    ends: i64,
    backlog: Option<Backlog>,
}

impl<'a> Poller<'a> {
    fn new(cluster: &'a str, measuring: Measuring) -> Self {
        Self {
            cluster,
            measuring,
            looks: 0,
            answered: Instant::now(),
            layout: BTreeMap::new(),
            lows: PerPartition::new(),
            ends: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    async fn run(mut self, context: &Context) {
        let mut ticks = interval(self.measuring.interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let subjects = context.measurements.subjects(self.cluster, |name| context.integrations.get(name).is_some());
            if subjects.is_empty() {
                continue;
            }
            match self.look(context, subjects).await {
                Ok(()) => self.answered = Instant::now(),
                Err(error) => {
                    // Its Topics say so already.
                    debug!(cluster = self.cluster, %error, "No measurement this time");
                    if self.answered.elapsed() >= SILENCE {
                        context.measurements.lose(self.cluster);
                        self.groups.clear();
                    }
                }
            }
        }
    }

    async fn look(&mut self, context: &Context, subjects: BTreeMap<NamespacedName, Subject>) -> Result<(), Error> {
        let cluster = self.cluster;
        let unreachable = |source| Error::Kafka { cluster: cluster.to_owned(), source };
        let kafka = context.clusters.client(cluster)?;
        self.take(subjects);
        self.look_at_topics(&kafka).await.map_err(unreachable)?;
        self.look_at_groups(&kafka, context).await;
        let now = Timestamp::now();
        for (name, asked) in &self.groups {
            if context.relations.shares_dead_letters(name) {
                context.measurements.share_dead_letters(name);
            } else if let Some(held) = self.records_in(&asked.subject.dead_letters) {
                context.measurements.take_dead_letters(name, held);
            }
            let topics = &asked.subject.topics;
            let partitions = topics.iter().flat_map(|topic| self.partitions_of(topic)).count();
            // Where Kafka says nothing of a topic, its partitions are not gone.
            let is_known = topics.iter().all(|topic| self.layout.contains_key(topic));
            if is_known && context.measurements.needs_others(name, partitions, now) {
                context.integrations.queue.wake(name);
            }
        }
        self.looks = self.looks.wrapping_add(1);
        Ok(())
    }

    /// Forgets what is gone or reads something else now.
    fn take(&mut self, subjects: BTreeMap<NamespacedName, Subject>) {
        self.groups.retain(|name, asked| subjects.get(name) == Some(&asked.subject));
        for (name, subject) in subjects {
            let new = || Asked { subject, at: None, ends: 0, backlog: None };
            self.groups.entry(name).or_insert_with(new);
        }
    }

    async fn look_at_topics(&mut self, kafka: &Admin) -> Result<(), sluice_kafka::Error> {
        let topics: BTreeSet<String> =
            self.groups.values().flat_map(|asked| asked.subject.all_topics()).cloned().collect();
        let is_new = topics.iter().any(|topic| !self.layout.contains_key(topic));
        if is_new || self.looks.is_multiple_of(LAYOUT) {
            self.layout = layout(kafka, &topics).await?;
        }
        let partitions = self.partitions();
        let is_new = partitions.iter().any(|partition| !self.lows.contains_key(partition));
        if is_new || self.looks.is_multiple_of(BEGINNINGS) {
            self.lows = kafka.list_offsets(&partitions, OffsetAt::Earliest).await?;
        }
        let ends = kafka.list_offsets(&partitions, OffsetAt::LastStable).await?;
        let now = Timestamp::now();
        self.ends.retain(|partition, _| ends.contains_key(partition));
        for (partition, end) in ends {
            if let Ok(end) = end {
                self.ends.entry(partition).or_default().saw(end, now);
            } else {
                self.ends.remove(&partition);
            }
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let of = |(topic, partitions): (&String, &Vec<i32>)| {
            let topic = topic.clone();
            partitions.clone().into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
        };
        self.layout.iter().flat_map(of).collect()
    }

    async fn look_at_groups(&mut self, kafka: &Admin, context: &Context) {
        let names: Vec<NamespacedName> = self.groups.keys().cloned().collect();
        let groups: Vec<Group> = names.iter().map(|name| self.group(&self.groups[name])).collect();
        let chosen: Vec<&NamespacedName> =
            turns(&groups, Pace::new(self.measuring)).into_iter().map(|index| &names[index]).collect();
        let answers = chosen.iter().map(|name| kafka.group_offsets(&self.groups[*name].subject.group));
        let answers = join_all(answers.collect::<Vec<_>>()).await;
        let now = Timestamp::now();
        for (name, answer) in chosen.into_iter().zip(answers) {
            let Ok(committed) = answer else { continue };
            let asked = &self.groups[name];
            let Some(source) = self.source(&asked.subject.topics, &committed, now) else { continue };
            let backlog = Backlog::of(&source, asked.backlog.as_ref(), now);
            let ends = self.ends_of(&asked.subject.topics);
            context.measurements.take_backlog(name, backlog.clone());
            let asked = self.groups.get_mut(name).expect("its name is from there");
            if asked.backlog.as_ref().is_none_or(|before| before.lag != backlog.lag) {
                context.work.hurry(name);
            }
            (asked.at, asked.ends, asked.backlog) = (Some(Instant::now()), ends, Some(backlog));
        }
    }

    fn group(&self, asked: &Asked) -> Group {
        let waits = asked.backlog.as_ref().is_none_or(|backlog| backlog.lag != Some(0));
        Group { asked: asked.at, moves: waits || self.ends_of(&asked.subject.topics) != asked.ends }
    }

    /// The ends of all partitions together: another sum after anything came.
    fn ends_of(&self, topics: &[String]) -> i64 {
        let partitions = topics.iter().flat_map(|topic| self.partitions_of(topic));
        partitions.filter_map(|partition| self.ends.get(&partition)?.end()).sum()
    }

    fn partitions_of<'s>(&'s self, topic: &str) -> impl Iterator<Item = TopicPartition> + use<'s, 'a> {
        let known = self.layout.get_key_value(topic);
        known.into_iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|partition| TopicPartition { topic: topic.clone(), partition: *partition })
        })
    }

    /// The offsets of all partitions of some topics; `None` where one of them is not known, because half a sum is a lie.
    fn source(
        &self,
        topics: &[String],
        committed: &PerPartition<CommittedOffset>,
        now: Timestamp,
    ) -> Option<Vec<PartitionOffsets>> {
        if !topics.iter().all(|topic| self.layout.contains_key(topic)) {
            return None;
        }
        let offsets = |partition: TopicPartition| {
            let history = self.ends.get(&partition)?;
            let bounds = (*self.lows.get(&partition)?.as_ref().ok()?, history.end()?);
            let committed = committed.get(&partition).and_then(|offset| offset.as_ref().ok());
            let committed = committed.map(|committed| committed.offset);
            Some(PartitionOffsets::new(partition.to_string(), bounds, committed, Some(history), now))
        };
        topics.iter().flat_map(|topic| self.partitions_of(topic)).map(offsets).collect()
    }

    /// The records that a topic holds.
    fn records_in(&self, topic: &str) -> Option<u64> {
        self.layout.get(topic)?;
        let held = |partition: TopicPartition| {
            let low = self.lows.get(&partition)?.as_ref().ok()?;
            u64::try_from(self.ends.get(&partition)?.end()? - low).ok()
        };
        self.partitions_of(topic).map(held).sum()
    }
}

/// The partitions of those topics that exist.
async fn layout(kafka: &Admin, topics: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<i32>>, sluice_kafka::Error> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let described = kafka.describe_topics(&topics).await?;
    let known = described.into_iter().filter_map(|(topic, description)| {
        let partitions = description.ok()??.partitions.into_iter().map(|partition| partition.partition).collect();
        Some((topic, partitions))
    });
    Ok(known.collect())
}
