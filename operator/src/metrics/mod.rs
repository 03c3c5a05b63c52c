//! What the operator counts.
//!
//! - `resource`: what it tells about single resources.

mod resource;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use sluice_crds::metrics::{
    labels::{GROUP_RELEASED_REASON, RELEASED_REASON},
    operator as defined,
};
use sluice_kafka::{Made, VISIT};
use sluice_telemetry::{
    Certificates,
    metrics::{self, Define as _},
};

pub use self::resource::ResourceNumbers;
use self::resource::Resources;
use crate::{error::Error, queue::Depth};

/// What the operator counts.
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    passes: Family<PassLabels, Counter<u64, AtomicU64>>,
    durations: Family<KindLabels, Histogram, fn() -> Histogram>,
    objects: Family<KindLabels, Gauge>,
    undecodable: Family<KindLabels, Gauge>,
    waiting: Family<KindLabels, Gauge>,
    running: Family<KindLabels, Gauge>,
    oldest: Family<KindLabels, Gauge<f64, AtomicU64>>,
    api_requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    kafka_requests: Family<KafkaLabels, Counter<u64, AtomicU64>>,
    registry_requests: Family<RegistryLabels, Counter<u64, AtomicU64>>,
    events_lost: Counter<u64, AtomicU64>,
    topics_released: Family<ReasonLabels, Counter<u64, AtomicU64>>,
    integrations_released: Family<ReasonLabels, Counter<u64, AtomicU64>>,
    resources: Resources,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// The object, or one that it owns, changed meanwhile.
    Stale,
    /// The world did not let it, by class.
    Failed(String),
    /// There is no object to look at, only text.
    Undecodable,
    /// By a bug.
    Panicked,
}

impl Outcome {
    /// How a pass with that result ended.
    pub fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(error) if error.is_outdated() => Self::Stale,
            Err(error) => Self::Failed(error.reason().to_string()),
        }
    }

    fn label(self) -> String {
        match self {
            Self::Ok => "Ok".to_owned(),
            Self::Stale => "Stale".to_owned(),
            Self::Failed(reason) => reason,
            Self::Undecodable => "Undecodable".to_owned(),
            Self::Panicked => "Panicked".to_owned(),
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    kind: &'static str,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KafkaLabels {
    cluster: String,
    request: &'static str,
    outcome: &'static str,
}

impl KafkaLabels {
    fn of(cluster: &str, Made { doing, outcome }: Made) -> Self {
        Self { cluster: cluster.to_owned(), request: doing, outcome }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RegistryLabels {
    registry: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Upper bounds in seconds: a pass without changes takes some milliseconds, one that waits for a broker seconds.
const DURATIONS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        let mut metrics = Self {
            registry: metrics::registry("operator", env!("CARGO_PKG_VERSION")),
            leader: Gauge::default(),
            passes: Family::default(),
            durations,
            objects: Family::default(),
            undecodable: Family::default(),
            waiting: Family::default(),
            running: Family::default(),
            oldest: Family::default(),
            api_requests: Family::default(),
            kafka_requests: Family::default(),
            registry_requests: Family::default(),
            events_lost: Counter::default(),
            topics_released: Family::default(),
            integrations_released: Family::default(),
            resources: Resources::default(),
        };
        // A series that begins with 0 has a rate from its first count on.
        for reason in RELEASED_REASON.listed() {
            drop(metrics.topics_released.get_or_create(&ReasonLabels { reason }));
        }
        for reason in GROUP_RELEASED_REASON.listed() {
            drop(metrics.integrations_released.get_or_create(&ReasonLabels { reason }));
        }
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.define(&defined::LEADER, self.leader.clone());
        registry.define(&defined::RECONCILES, self.passes.clone());
        registry.define(&defined::RECONCILE_DURATION, self.durations.clone());
        registry.define(&defined::RECONCILES_IN_PROGRESS, self.running.clone());
        registry.define(&defined::RECONCILE_OLDEST, self.oldest.clone());
        registry.define(&defined::RESOURCES, self.objects.clone());
        registry.define(&defined::RESOURCES_UNDECODABLE, self.undecodable.clone());
        registry.define(&defined::QUEUE_DEPTH, self.waiting.clone());
        registry.define(&defined::API_REQUESTS, self.api_requests.clone());
        registry.define(&defined::KAFKA_REQUESTS, self.kafka_requests.clone());
        registry.define(&defined::REGISTRY_REQUESTS, self.registry_requests.clone());
        registry.define(&defined::EVENTS_LOST, self.events_lost.clone());
        registry.define(&defined::TOPICS_RELEASED, self.topics_released.clone());
        registry.define(&defined::INTEGRATIONS_RELEASED, self.integrations_released.clone());
        registry.register_collector(Box::new(self.resources.clone()));
    }

    /// Tells when these certificates expire.
    pub fn watching(mut self, certificates: Certificates) -> Self {
        self.registry.register_collector(Box::new(certificates));
        self
    }

    /// Counts a pass.
    pub fn pass(&self, kind: &'static str, outcome: Outcome, duration: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome: outcome.label() }).inc();
        self.durations.get_or_create(&KindLabels { kind }).observe(duration.as_secs_f64());
    }

    /// Counts a request to the API server; `code` is its answer's.
    pub fn api_request(&self, verb: &'static str, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.api_requests.get_or_create(&RequestLabels { verb, code }).inc();
    }

    /// Sets how many requests were made to a Kafka cluster.
    pub fn kafka_requests(&self, cluster: &str, made: &BTreeMap<Made, u64>) {
        for (made, count) in made {
            let labels = KafkaLabels::of(cluster, *made);
            self.kafka_requests.get_or_create(&labels).inner().store(*count, Ordering::Relaxed);
        }
    }

    /// Counts a visit to a consumer group, which no client for admin calls makes.
    pub fn visit(&self, cluster: &str, outcome: &'static str) {
        self.kafka_requests.get_or_create(&KafkaLabels::of(cluster, Made { doing: VISIT, outcome })).inc();
    }

    /// Begins the count of a schema registry with 0.
    pub fn registry(&self, registry: &str) {
        let labels = RegistryLabels { registry: registry.to_owned(), code: "none".to_owned() };
        drop(self.registry_requests.get_or_create(&labels));
    }

    /// Counts a request to a schema registry; `code` is its answer's.
    pub fn registry_request(&self, registry: &str, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.registry_requests.get_or_create(&RegistryLabels { registry: registry.to_owned(), code }).inc();
    }

    /// Counts an Event that could not be written.
    pub fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// Counts a Topic that is let go although its Kafka topic stays.
    pub fn topic_released(&self, reason: &'static str) {
        self.topics_released.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts an Integration that is let go although its consumer group stays.
    pub fn integration_released(&self, reason: &'static str) {
        self.integrations_released.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Sets how many resources of a kind there are at this moment, and how many of them cannot be decoded.
    pub fn count(&self, kind: &'static str, resources: usize, undecodable: usize) {
        set(&self.objects, kind, resources);
        set(&self.undecodable, kind, undecodable);
    }

    /// Sets how many passes over a kind are due and under way at this moment.
    pub fn depth(&self, kind: &'static str, depth: Depth) {
        set(&self.waiting, kind, depth.waiting);
        set(&self.running, kind, depth.running);
        self.oldest.get_or_create(&KindLabels { kind }).set(depth.oldest);
    }

    /// Sets what is known of single resources at this moment.
    pub fn resources(&self, numbers: Vec<ResourceNumbers>) {
        self.resources.set(numbers);
    }

    /// Sets whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// All of it, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        metrics::text(&self.registry)
    }
}

fn set(family: &Family<KindLabels, Gauge>, kind: &'static str, value: usize) {
    family.get_or_create(&KindLabels { kind }).set(value.try_into().unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use sluice_crds::{Integration, Topic, Webhook, metrics::labels::PASS_KIND};

    use crate::{controller::Kind as _, webhook::SHARED_KIND};

    #[test]
    fn passes_are_counted_under_the_kinds_that_the_metric_lists() {
        assert_eq!(PASS_KIND.listed(), [Topic::NAME, Webhook::NAME, Integration::NAME, SHARED_KIND]);
    }
}
