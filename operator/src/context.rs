//! What every pass may use.

use kube::Client;
use sluice_crds::Settings;

use crate::{clusters::Clusters, measure::Measurements, metrics::Metrics, topic::Sightings};

/// What every pass may use.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's configuration.
    pub settings: Settings,
    /// The Kafka clusters.
    pub clusters: Clusters,
    /// Lag and dead letters, as the brokers last told.
    pub measurements: Measurements,
    /// What the last passes saw of Kafka topics.
    pub sightings: Sightings,
    /// What is counted.
    pub metrics: Metrics,
}
