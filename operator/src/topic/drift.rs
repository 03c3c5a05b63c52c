//! Finds what other tools changed: one look at all topics of a Kafka cluster, and a pass only for those that differ from
//! what their last pass saw.
//!
//! Kafka has no watch. This is also what notices that a cluster answers again, or that our credentials changed, and wakes
//! the Topics that waited for it.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use sluice_crds::{ConditionType, NamespacedName, Reason, Topic};
use sluice_kafka::{Admin, PerTopic, TopicDescription};
use sluice_model::{conditions, topic::Observed};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use super::observe::observed;
use crate::{context::Context, error::Error};

/// How often a cluster that does not answer is asked again, and credentials are looked at.
const TICK: Duration = Duration::from_secs(5);

/// What the last pass over each Topic saw. It is filled again after a restart.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<HashMap<NamespacedName, Sighting>>);

#[derive(Clone, Debug)]
struct Sighting {
    cluster: String,
    topic: String,
    look: u64,
    at: Instant,
}

impl Sightings {
    /// Remembers what a pass saw of the Kafka topic `topic`: a change of it wakes the Topic.
    pub fn saw(&self, name: NamespacedName, cluster: &str, topic: &str, observed: Option<&Observed>) {
        let sighting = Sighting {
            cluster: cluster.to_owned(),
            topic: topic.to_owned(),
            look: look_of(observed),
            at: Instant::now(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, sighting);
    }

    /// The sightings of a cluster's topics, without those of Topics that are gone.
    fn of(&self, cluster: &str, exists: impl Fn(&NamespacedName) -> bool) -> Vec<(NamespacedName, Sighting)> {
        let mut sightings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sightings.retain(|name, sighting| sighting.cluster != cluster || exists(name));
        let of_cluster = sightings.iter().filter(|(_, sighting)| sighting.cluster == cluster);
        of_cluster.map(|(name, sighting)| (name.clone(), sighting.clone())).collect()
    }

    /// Whether the last pass is older than `moment` and saw something else.
    fn differs(&self, name: &NamespacedName, look: u64, moment: Instant) -> bool {
        let sightings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sightings.get(name).is_some_and(|sighting| sighting.at < moment && sighting.look != look)
    }
}

/// Two topics that look the same have the same number; only this is kept of each.
fn look_of(observed: Option<&Observed>) -> u64 {
    let mut hasher = DefaultHasher::new();
    observed.hash(&mut hasher);
    hasher.finish()
}

/// Follows all clusters for ever. No cluster waits for another.
pub async fn follow_clusters(context: Arc<Context>) {
    let context = context.as_ref();
    let follower = |cluster| Follower { context, cluster, last_look: Instant::now(), silent: false };
    join_all(context.clusters.names().map(|cluster| follower(cluster).run())).await;
}

/// Follows one cluster.
struct Follower<'a> {
    context: &'a Context,
    cluster: &'a str,
    last_look: Instant,
    /// Whether it did not answer when it was last asked.
    silent: bool,
}

impl Follower<'_> {
    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.tick().await {
                self.silent = true;
                // Its Topics say so already.
                debug!(cluster = self.cluster, %error, "No look at the topics this time");
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let clusters = &self.context.clusters;
        if clusters.renew(self.cluster)? {
            info!(cluster = self.cluster, "Kafka credentials changed; connecting anew");
            self.silent = true;
        }
        // Nobody has asked for a cluster that no resource names.
        let Some(kafka) = clusters.connected(self.cluster) else { return Ok(()) };
        if self.silent || !kafka.is_answering() {
            self.silent = true;
            kafka.describe_cluster().await.map_err(|error| self.unreachable(error))?;
            self.silent = false;
            info!(cluster = self.cluster, "Kafka answers again");
            self.wake_those_that_wait();
        }
        if self.last_look.elapsed() >= self.context.settings.admin_requests.drift_interval.get() {
            self.last_look = Instant::now();
            self.look(&kafka).await?;
        }
        Ok(())
    }

    /// Looks at all topics that passes saw, and wakes the Topics whose topic differs.
    async fn look(&self, kafka: &Admin) -> Result<(), Error> {
        let moment = Instant::now();
        let sightings = &self.context.sightings;
        let seen = sightings.of(self.cluster, |name| self.context.topics.get(name).is_some());
        let max_topics = self.context.settings.admin_requests.max_topics.into();
        for some in seen.chunks(max_topics) {
            let names: Vec<&str> = some.iter().map(|(_, sighting)| sighting.topic.as_str()).collect();
            let looks = looks(kafka, &names).await.map_err(|error| self.unreachable(error))?;
            for (name, sighting) in some {
                let look = looks.get(&sighting.topic);
                if look.is_some_and(|look| sightings.differs(name, *look, moment)) {
                    info!(
                        namespace = name.namespace,
                        name = name.name,
                        topic = sighting.topic,
                        "Topic changed by others"
                    );
                    self.context.topics.queue.wake(name);
                }
            }
        }
        Ok(())
    }

    fn wake_those_that_wait(&self) {
        let waits = |topic: &Topic| {
            let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let ready = conditions::find(conditions, ConditionType::Ready);
            topic.spec.cluster == self.cluster
                && ready.is_some_and(|ready| ready.reason == Reason::KafkaUnreachable.to_string())
        };
        for (name, topic) in self.context.topics.all() {
            if waits(&topic) {
                self.context.topics.queue.wake(&name);
            }
        }
    }

    fn unreachable(&self, source: sluice_kafka::Error) -> Error {
        Error::Kafka { cluster: self.cluster.to_owned(), source }
    }
}

/// What each topic looks like now. One that Kafka does not tell about is left out.
async fn looks(kafka: &Admin, names: &[&str]) -> Result<BTreeMap<String, u64>, sluice_kafka::Error> {
    let (topics, configs) = futures::try_join!(kafka.describe_topics(names), kafka.describe_own_configs(names))?;
    Ok(joined(topics, configs).map(|(name, topic)| (name, look_of(topic.as_ref()))).collect())
}

fn joined(
    topics: PerTopic<Option<TopicDescription>>,
    mut configs: PerTopic<BTreeMap<String, String>>,
) -> impl Iterator<Item = (String, Option<Observed>)> {
    topics.into_iter().filter_map(move |(name, topic)| {
        let config = configs.remove(&name);
        match (topic.ok()?, config) {
            (None, _) => Some((name, None)),
            (Some(topic), Some(Ok(config))) => Some((name, Some(observed(topic, config)))),
            (Some(_), _) => None,
        }
    })
}
