//! Asks the brokers how far each Integration is behind: one poller, whatever the number of Integrations, and a pass only for
//! those whose numbers changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use sluice_crds::NamespacedName;
use sluice_kafka::{Admin, CommittedOffset, OffsetAt, PerPartition, TopicPartition};
use sluice_model::integration::{Flow, Measurement, PartitionOffsets};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use crate::{context::Context, error::Error};

/// How often the brokers are asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// Numbers of one Integration are written no more often.
const QUIET: Duration = Duration::from_secs(30);

/// What is asked about an Integration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    cluster: String,
    group: String,
    topics: Vec<String>,
    dead_letters: String,
}

#[derive(Debug)]
struct Followed {
    subject: Subject,
    newest: Option<Measurement>,
    /// What the last pass was given, and when.
    told: Option<(Option<Measurement>, Instant)>,
}

/// The newest measurement of every Integration that a pass has seen. It is filled again after a restart.
#[derive(Debug, Default)]
pub struct Measurements {
    followed: Mutex<HashMap<NamespacedName, Followed>>,
}

impl Measurements {
    /// The newest measurement for a pass; from now on the Integration is measured.
    pub fn follow(&self, flow: &Flow) -> Option<Measurement> {
        let subject = Subject {
            cluster: flow.cluster.name.clone(),
            group: flow.group.clone(),
            topics: flow.topics.clone(),
            dead_letters: flow.dead_letter_topic(),
        };
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = followed.entry(flow.owner.name.clone()).or_insert_with(|| Followed {
            subject: subject.clone(),
            newest: None,
            told: None,
        });
        if entry.subject != subject {
            *entry = Followed { subject, newest: None, told: None };
        }
        entry.told = Some((entry.newest, Instant::now()));
        entry.newest
    }

    /// Keeps only those Integrations that exist.
    fn keep(&self, exists: impl Fn(&NamespacedName) -> bool) {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| exists(name));
    }

    fn subjects(&self) -> BTreeMap<String, Vec<(NamespacedName, Subject)>> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_cluster: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, Followed { subject, .. }) in followed.iter() {
            by_cluster.entry(subject.cluster.clone()).or_default().push((name.clone(), subject.clone()));
        }
        by_cluster
    }

    /// Takes a measurement, and says whether a pass should show it.
    fn take(&self, name: &NamespacedName, measurement: Measurement, now: Instant) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = followed.get_mut(name) else { return false };
        entry.newest = Some(measurement);
        match entry.told {
            Some((Some(told), _)) if told.looks_like(&measurement) => false,
            Some((Some(_), at)) => now.duration_since(at) >= QUIET,
            Some((None, _)) | None => true,
        }
    }
}

/// Measures for ever.
pub async fn run(context: Arc<Context>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.measurements.keep(|name| context.integrations.get(name).is_some());
        for (cluster, subjects) in context.measurements.subjects() {
            match measure(&context, &cluster, &subjects).await {
                Ok(measured) => announce(&context, measured),
                // Its Topics say so already.
                Err(error) => debug!(cluster, %error, "No measurement this time"),
            }
        }
    }
}

fn announce(context: &Context, measured: Vec<(NamespacedName, Measurement)>) {
    let now = Instant::now();
    for (name, measurement) in measured {
        if context.measurements.take(&name, measurement, now) {
            context.integrations.queue.wake(&name);
        }
    }
}

async fn measure(
    context: &Context,
    cluster: &str,
    subjects: &[(NamespacedName, Subject)],
) -> Result<Vec<(NamespacedName, Measurement)>, Error> {
    let unreachable = |source| Error::Kafka { cluster: cluster.to_owned(), source };
    let kafka = context.clusters.client(cluster)?;
    let partitions = partitions(&kafka, subjects).await.map_err(unreachable)?;
    let (low, end) = futures::try_join!(
        kafka.list_offsets(&partitions, OffsetAt::Earliest),
        kafka.list_offsets(&partitions, OffsetAt::LastStable),
    )
    .map_err(unreachable)?;
    let groups = join_all(subjects.iter().map(|(_, subject)| kafka.group_offsets(&subject.group))).await;
    let bounds = Bounds { low, end };
    let measured = subjects.iter().zip(groups).filter_map(|((name, subject), committed)| {
        let committed = committed.ok()?;
        let source = bounds.of(&subject.topics, &committed)?;
        let dead_letters = bounds.of(std::slice::from_ref(&subject.dead_letters), &PerPartition::new())?;
        Some((name.clone(), Measurement::of(&source, &dead_letters)))
    });
    Ok(measured.collect())
}

/// All partitions of all topics that are asked about. A topic that does not exist has none.
async fn partitions(
    kafka: &Admin,
    subjects: &[(NamespacedName, Subject)],
) -> Result<Vec<TopicPartition>, sluice_kafka::Error> {
    let mut topics: Vec<&str> = subjects
        .iter()
        .flat_map(|(_, subject)| subject.topics.iter().chain([&subject.dead_letters]).map(String::as_str))
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let described = kafka.describe_topics(&topics).await?;
    let known = described.into_iter().filter_map(|(topic, description)| Some((topic, description.ok()??)));
    let all = known.flat_map(|(topic, description)| {
        let partition = move |partition| TopicPartition { topic: topic.clone(), partition };
        description.partitions.into_iter().map(move |description| partition(description.partition))
    });
    Ok(all.collect())
}

/// Where the partitions begin and end.
struct Bounds {
    low: PerPartition<i64>,
    end: PerPartition<i64>,
}

impl Bounds {
    /// The offsets of all partitions of some topics; `None` where one of them is not known, because half a sum is a lie.
    fn of(&self, topics: &[String], committed: &PerPartition<CommittedOffset>) -> Option<Vec<PartitionOffsets>> {
        let partitions: Vec<&TopicPartition> =
            self.end.keys().filter(|partition| topics.contains(&partition.topic)).collect();
        if !topics.iter().all(|topic| partitions.iter().any(|partition| partition.topic == *topic)) {
            return None;
        }
        let offsets = |partition: &TopicPartition| {
            let known = |offsets: &PerPartition<i64>| offsets.get(partition)?.as_ref().ok().copied();
            let committed = committed.get(partition).and_then(|offset| offset.as_ref().ok());
            Some(PartitionOffsets {
                low: known(&self.low)?,
                end: known(&self.end)?,
                committed: committed.map(|committed| committed.offset),
            })
        };
        partitions.into_iter().map(offsets).collect()
    }
}
