//! What every pass may use.

use std::{collections::HashMap, sync::Arc};

use kube::Client;
use sluice_crds::{ConditionType, Integration, NamespacedName, Settings, Topic, Webhook};
use sluice_model::{conditions, integration::Work};

use crate::{
    clusters::Clusters,
    controller::Kind,
    data_plane::Asker,
    events::Events,
    farewell::Farewells,
    leader::Leadership,
    measure::Measurements,
    metrics::{Metrics, ResourceNumbers},
    queue::{Depth, Queue},
    rounds::Rounds,
    schema::Schemas,
    topic::{Growths, Identities, Relations, Sightings},
    watch::{Known, Seen, Watched},
    webhook::{Absences, Reception, SHARED_KIND, Shared, UnknownKinds},
};

/// What every pass may use.
pub struct Context {
    /// The API server. A replica that does not lead gets nothing through.
    pub client: Client,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// The operator's configuration.
    pub settings: Settings,
    /// The Kafka clusters.
    pub clusters: Clusters,
    /// Who asks receivers and workers about themselves.
    pub asker: Asker,
    /// What receivers said about themselves.
    pub reception: Rounds<Reception>,
    /// The receivers that Webhooks share.
    pub shared: Shared,
    /// What workers said about themselves.
    pub work: Rounds<Work>,
    /// The Topics that exist.
    pub topics: Watched<Topic>,
    /// The Webhooks that exist.
    pub webhooks: Watched<Webhook>,
    /// The Integrations that exist.
    pub integrations: Watched<Integration>,
    /// Which objects exist that most Webhooks and Integrations have none of.
    pub known: Known,
    /// Which kinds of routes the cluster did not have a moment ago.
    pub unknown_kinds: UnknownKinds,
    /// Which objects of routes Webhooks do not have.
    pub absences: Absences,
    /// The namespaces whose resources are looked at; none means all.
    pub namespaces: Vec<String>,
    /// Which names of the configuration mean the same Kafka cluster.
    pub identities: Identities,
    /// Who uses which Topic, and who claims the same Kafka topic.
    pub relations: Relations,
    /// Lag and dead letters, as the brokers last told.
    pub measurements: Measurements,
    /// What passes over resources in deletion look at together.
    pub farewells: Farewells,
    /// What passes over Topics that grow look at together.
    pub growths: Growths,
    /// What the last passes saw of Kafka topics.
    pub sightings: Sightings,
    /// The schema registries.
    pub schemas: Schemas,
    /// Where transitions are told.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Whether resources of this namespace are looked after.
    pub fn looks_after(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace)
    }

    /// All metrics, in the OpenMetrics text format.
    pub fn metrics_text(&self) -> String {
        self.metrics.leader(self.leadership.is_held());
        for cluster in self.clusters.names() {
            self.metrics.kafka_requests(cluster, &self.clusters.requests_made(cluster));
        }
        self.measure::<Topic>();
        self.measure::<Webhook>();
        self.measure::<Integration>();
        self.metrics.depth(SHARED_KIND, self.depth(&self.shared.queue));
        self.metrics.resources(self.resources());
        self.metrics.text()
    }

    /// Every resource with its numbers. A replica that stands by leaves them to the one that leads.
    fn resources(&self) -> Vec<ResourceNumbers> {
        if !self.leadership.is_held() {
            return Vec::new();
        }
        let mut all = self.readiness::<Topic>();
        all.extend(self.readiness::<Webhook>().into_iter().map(|resource| {
            let Some(Seen::Resource(webhook)) = self.webhooks.get(&resource.name) else { return resource };
            let receivers_ready = webhook.status.as_ref().and_then(|status| status.ready_replicas);
            ResourceNumbers { receivers_ready, ..resource }
        }));
        let measured: HashMap<_, _> = self.measurements.all().into_iter().collect();
        all.extend(self.readiness::<Integration>().into_iter().map(|resource| {
            let Some(numbers) = measured.get(&resource.name) else { return resource };
            let backlog = numbers.backlog.known();
            let lag = backlog.and_then(|backlog| backlog.lag);
            let oldest = backlog.and_then(|backlog| backlog.oldest).map(|age| age.at_least().as_secs_f64());
            let oldest_waiting = if lag == Some(0) { Some(0.0) } else { oldest };
            let dead_letters = numbers.held_dead_letters.known().copied();
            ResourceNumbers { lag, oldest_waiting, dead_letters, ..resource }
        }));
        all
    }

    fn readiness<K: Kind>(&self) -> Vec<ResourceNumbers> {
        let resource = |(name, object): (NamespacedName, Arc<K>)| {
            let conditions = object.status().map(K::conditions).unwrap_or_default();
            let ready = conditions::is_true(conditions, ConditionType::Ready);
            ResourceNumbers {
                kind: K::NAME,
                name,
                ready,
                receivers_ready: None,
                lag: None,
                oldest_waiting: None,
                dead_letters: None,
            }
        };
        K::watched(self).all().map(resource).collect()
    }

    fn measure<K: Kind>(&self) {
        let watched = K::watched(self);
        let (objects, undecodable) = watched.count();
        self.metrics.count(K::NAME, objects, undecodable);
        self.metrics.depth(K::NAME, self.depth(&watched.queue));
    }

    /// Nothing is due on a replica that stands by.
    fn depth(&self, queue: &Queue) -> Depth {
        if self.leadership.is_held() { queue.depth() } else { Depth::default() }
    }
}
