//! Finds what other tools changed: one look at all topics of a Kafka cluster, and a pass only for those that differ from
//! what their last pass saw.
//!
//! Kafka has no watch. This is also what notices that a cluster answers again, or that our credentials changed, and wakes
//! the Topics that waited for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use sluice_crds::{ConditionType, NamespacedName, Reason, Topic};
use sluice_kafka::{Admin, PerTopic, TopicDescription};
use sluice_model::{
    conditions,
    topic::{Known, Observed, Wanted, settings_that_matter},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use super::observe::{in_sync, observed};
use crate::{context::Context, error::Error};

/// How often a cluster that does not answer is asked again, and credentials are looked at.
const TICK: Duration = Duration::from_secs(5);
/// A client that no answer reached for so long is replaced: librdkafka's was seen once not to find a broker that had come back.
const SILENCE: Duration = Duration::from_secs(30);

/// What the last pass over each Topic saw. It is filled again after a restart.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<HashMap<NamespacedName, Sighting>>);

#[derive(Clone, Debug)]
struct Sighting {
    cluster: String,
    topic: String,
    /// The settings that were looked at: no other makes a difference.
    settings: Vec<String>,
    /// Whether it was looked at which copies have all records.
    in_sync: bool,
    look: u64,
    at: Instant,
}

impl Sightings {
    /// Remembers what a pass saw of the wanted Kafka topic: a change of it wakes the Topic.
    pub fn saw(&self, name: NamespacedName, wanted: &Wanted, known: &Known<'_>, observed: Option<&Observed>) {
        let sighting = Sighting {
            cluster: wanted.cluster.name.clone(),
            topic: wanted.name.clone(),
            settings: settings_that_matter(wanted, known).into_iter().collect(),
            in_sync: observed.is_some_and(|observed| observed.in_sync.is_some()),
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

    /// Whether the last pass is older than `moment` and saw something else. That is told once: a Topic that has lost its Kafka topic, or is being
    /// deleted, has passes that do not look at it.
    fn is_news(&self, name: &NamespacedName, look: u64, moment: Instant) -> bool {
        let mut sightings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sighting = sightings.get_mut(name).filter(|sighting| sighting.at < moment);
        sighting.is_some_and(|sighting| mem::replace(&mut sighting.look, look) != look)
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
    let follower = |cluster| Follower { context, cluster, last_look: Instant::now(), silence: None };
    join_all(context.clusters.names().map(|cluster| follower(cluster).run())).await;
}

/// Follows one cluster.
struct Follower<'a> {
    context: &'a Context,
    cluster: &'a str,
    last_look: Instant,
    /// Since when its client, or the one before, has had no answer.
    silence: Option<Instant>,
}

impl Follower<'_> {
    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let moment = ticks.tick().await;
            if let Err(error) = self.tick(moment).await {
                self.is_silent();
                // Its Topics say so already.
                debug!(cluster = self.cluster, %error, "No look at the topics this time");
            }
        }
    }

    /// What is due at this moment of the ticks.
    async fn tick(&mut self, moment: Instant) -> Result<(), Error> {
        let clusters = &self.context.clusters;
        if clusters.renew(self.cluster)? {
            info!(cluster = self.cluster, "Kafka credentials changed; connecting anew");
            self.silence = Some(Instant::now());
        }
        if self.silence.is_some_and(|since| since.elapsed() >= SILENCE) && clusters.replace(self.cluster)? {
            info!(cluster = self.cluster, "Kafka does not answer; connecting anew");
            self.silence = Some(Instant::now());
        }
        // Nobody has asked for a cluster that no resource names.
        let Some(kafka) = clusters.connected(self.cluster) else { return Ok(()) };
        if self.silence.is_some() || !kafka.is_answering() {
            self.is_silent();
            kafka.describe_cluster().await.map_err(|error| self.unreachable(error))?;
            self.silence = None;
            info!(cluster = self.cluster, "Kafka answers again");
            self.wake_those_that_wait();
        }
        // Topics of other clusters may have gone on without knowing whether this one is theirs.
        if let Err(error) = self.context.identities.learn(self.context, self.cluster).await {
            debug!(cluster = self.cluster, %error, "It is not known which Kafka cluster this is");
        }
        // From tick to tick: what is done before a look must not put the next one off by a whole tick.
        if moment.duration_since(self.last_look) >= self.context.settings.admin_requests.drift_interval.get() {
            self.last_look = moment;
            self.look(&kafka).await?;
        }
        Ok(())
    }

    fn is_silent(&mut self) {
        self.silence.get_or_insert_with(Instant::now);
    }

    /// Looks at all topics that passes saw, and wakes the Topics whose topic differs.
    async fn look(&self, kafka: &Admin) -> Result<(), Error> {
        let moment = Instant::now();
        let sightings = &self.context.sightings;
        let seen = sightings.of(self.cluster, |name| self.context.topics.get(name).is_some());
        let max_topics = self.context.settings.admin_requests.max_topics.into();
        for some in seen.chunks(max_topics) {
            let told = tell(kafka, some).await.map_err(|error| self.unreachable(error))?;
            for (name, sighting) in some {
                let look = told.look(sighting);
                if look.is_some_and(|look| sightings.is_news(name, look, moment)) {
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

/// What Kafka tells of topics now.
struct Told {
    topics: PerTopic<Option<TopicDescription>>,
    settings: PerTopic<BTreeMap<String, String>>,
}

/// Asks for the topics that were seen, and for those of their settings that were looked at: a tenth of what Kafka would tell.
async fn tell(kafka: &Admin, seen: &[(NamespacedName, Sighting)]) -> Result<Told, sluice_kafka::Error> {
    let names: Vec<&str> = seen.iter().map(|(_, sighting)| sighting.topic.as_str()).collect();
    let asked = settings_by_topic(seen);
    let settings =
        async { if asked.is_empty() { Ok(PerTopic::new()) } else { kafka.describe_own_configs(&asked).await } };
    let (topics, settings) = futures::try_join!(kafka.describe_topics(&names), settings)?;
    Ok(Told { topics, settings })
}

/// The settings to ask for. Several Topics may have seen one Kafka topic; one of which no setting matters is not among them.
fn settings_by_topic(seen: &[(NamespacedName, Sighting)]) -> Vec<(&str, Vec<String>)> {
    let mut by_topic: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for (_, sighting) in seen.iter().filter(|(_, sighting)| !sighting.settings.is_empty()) {
        by_topic.entry(&sighting.topic).or_default().extend(&sighting.settings);
    }
    by_topic.into_iter().map(|(topic, keys)| (topic, keys.into_iter().cloned().collect())).collect()
}

impl Told {
    /// What the topic of a sighting looks like now; `None` where Kafka does not tell.
    fn look(&self, sighting: &Sighting) -> Option<u64> {
        let Some(topic) = self.topics.get(&sighting.topic)?.as_ref().ok()? else { return Some(look_of(None)) };
        let config = if sighting.settings.is_empty() {
            BTreeMap::new()
        } else {
            let told = self.settings.get(&sighting.topic)?.as_ref().ok()?;
            let own = sighting.settings.iter().filter_map(|key| Some((key.clone(), told.get(key)?.clone())));
            own.collect()
        };
        let in_sync = sighting.in_sync.then(|| in_sync(topic));
        Some(look_of(Some(&Observed { in_sync, ..observed(topic, config) })))
    }
}

#[cfg(test)]
mod tests {
    use sluice_kafka::PartitionDescription;

    use super::*;

    fn seen(name: &str, topic: &str, settings: &[&str], observed: Option<&Observed>) -> (NamespacedName, Sighting) {
        let name = NamespacedName { namespace: "shop".into(), name: name.into() };
        let settings = settings.iter().map(|key| (*key).to_owned()).collect();
        let (cluster, topic) = ("default".into(), topic.into());
        let in_sync = observed.is_some_and(|observed| observed.in_sync.is_some());
        (name, Sighting { cluster, topic, settings, in_sync, look: look_of(observed), at: Instant::now() })
    }

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn topic() -> TopicDescription {
        let partition = PartitionDescription { partition: 0, leader: Some(1), replicas: vec![1], in_sync: vec![1] };
        TopicDescription { id: "id".into(), internal: false, partitions: vec![partition] }
    }

    #[test]
    fn only_what_was_looked_at_makes_a_difference() {
        let (_, sighting) =
            seen("orders", "orders", &["retention.ms"], Some(&observed(&topic(), config(&[("retention.ms", "5")]))));
        let told = |topic, pairs: &[(&str, &str)]| Told {
            topics: [("orders".to_owned(), Ok(topic))].into(),
            settings: [("orders".to_owned(), Ok(config(pairs)))].into(),
        };
        let differs = |told: Told| told.look(&sighting).map(|look| look != sighting.look);
        assert_eq!(differs(told(Some(topic()), &[("retention.ms", "5"), ("segment.bytes", "7")])), Some(false));
        assert_eq!(differs(told(Some(topic()), &[("retention.ms", "6")])), Some(true));
        assert_eq!(differs(told(Some(topic()), &[])), Some(true));
        assert_eq!(differs(told(None, &[])), Some(true));
        let another = TopicDescription { id: "another".into(), ..topic() };
        assert_eq!(differs(told(Some(another), &[("retention.ms", "5")])), Some(true));
        let nothing_told = Told { topics: PerTopic::new(), settings: PerTopic::new() };
        assert_eq!(differs(nothing_told), None);
    }

    #[test]
    fn what_others_changed_is_told_once_and_again_when_it_changes_back() {
        let (name, sighting) = seen("orders", "orders", &[], None);
        let (before, at) = (sighting.look, sighting.at);
        let sightings = Sightings(Mutex::new([(name.clone(), sighting)].into()));
        let made = look_of(Some(&observed(&topic(), BTreeMap::new())));
        let later = at + Duration::from_secs(1);
        let news = [before, made, made, before].map(|look| sightings.is_news(&name, look, later));
        assert_eq!(news, [false, true, false, true]);
        assert!(!sightings.is_news(&name, made, at), "a pass has looked since");
    }

    #[test]
    fn of_a_topic_without_settings_none_are_asked_for() {
        let sighting = seen("plain", "plain", &[], Some(&observed(&topic(), BTreeMap::new())));
        let told = Told { topics: [("plain".to_owned(), Ok(Some(topic())))].into(), settings: PerTopic::new() };
        assert_eq!(told.look(&sighting.1), Some(sighting.1.look));
        assert!(settings_by_topic(&[sighting]).is_empty());
    }

    #[test]
    fn copies_that_have_all_records_make_a_difference_where_they_are_waited_for() {
        let with = |in_sync: Vec<i32>| {
            let partition = PartitionDescription { partition: 0, leader: Some(1), replicas: vec![1, 2], in_sync };
            TopicDescription { partitions: vec![partition], ..topic() }
        };
        let before = with(vec![1]);
        let plain = observed(&before, BTreeMap::new());
        let told =
            Told { topics: [("orders".to_owned(), Ok(Some(with(vec![1, 2]))))].into(), settings: PerTopic::new() };
        for (waits, differs) in [(None, false), (Some(in_sync(&before)), true)] {
            let (_, sighting) = seen("orders", "orders", &[], Some(&Observed { in_sync: waits, ..plain.clone() }));
            assert_eq!(told.look(&sighting).map(|look| look != sighting.look), Some(differs), "{waits:?}");
        }
    }

    #[test]
    fn several_that_saw_one_topic_ask_for_the_settings_of_all() {
        let all =
            [seen("a", "orders", &["x", "y"], None), seen("b", "orders", &["z"], None), seen("c", "c", &["x"], None)];
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        assert_eq!(settings_by_topic(&all), [("c", keys(&["x"])), ("orders", keys(&["x", "y", "z"]))]);
    }
}
