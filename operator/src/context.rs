//! What every pass may use.

use std::sync::Arc;

use kube::Client;
use sluice_crds::{Integration, Settings, Topic, Webhook};

use crate::{
    clusters::Clusters,
    controller::Kind,
    data_plane::Asker,
    events::Events,
    leader::Leadership,
    measure::Measurements,
    metrics::Metrics,
    queue::Depth,
    topic::{Identities, Relations, Sightings},
    watch::Watched,
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
    /// The Topics that exist.
    pub topics: Watched<Topic>,
    /// The Webhooks that exist.
    pub webhooks: Watched<Webhook>,
    /// The Integrations that exist.
    pub integrations: Watched<Integration>,
    /// The namespaces whose resources are looked at; none means all.
    pub namespaces: Vec<String>,
    /// Which names of the configuration mean the same Kafka cluster.
    pub identities: Identities,
    /// Who uses which Topic, and who claims the same Kafka topic.
    pub relations: Relations,
    /// Lag and dead letters, as the brokers last told.
    pub measurements: Measurements,
    /// What the last passes saw of Kafka topics.
    pub sightings: Sightings,
    /// Where transitions are told.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// All metrics, in the OpenMetrics text format.
    pub fn metrics_text(&self) -> String {
        self.metrics.leader(self.leadership.is_held());
        for cluster in self.clusters.names() {
            self.metrics.kafka_requests(cluster, &self.clusters.requests_made(cluster));
        }
        self.measure::<Topic>();
        self.measure::<Webhook>();
        self.measure::<Integration>();
        self.metrics.text()
    }

    fn measure<K: Kind>(&self) {
        let watched = K::watched(self);
        let (objects, undecodable) = watched.count();
        // Nothing is due on a replica that stands by.
        let depth = if self.leadership.is_held() { watched.queue.depth() } else { Depth::default() };
        self.metrics.kind(K::NAME, objects, undecodable, depth);
    }
}
