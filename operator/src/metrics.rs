//! What the operator counts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

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
    events_lost: Counter<u64, AtomicU64>,
    topics_released: Family<ReasonLabels, Counter<u64, AtomicU64>>,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// The object changed meanwhile.
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
            Err(Error::Stale) => Self::Stale,
            Err(error) => Self::Failed(error.reason().to_string()),
        }
    }

    fn label(self) -> String {
        match self {
            Self::Ok => "ok".to_owned(),
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
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
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
            registry: Registry::with_prefix("sluice"),
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
            events_lost: Counter::default(),
            topics_released: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "This build", Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }));
        registry.register("leader", "1 where this replica leads, 0 where it stands by", self.leader.clone());
        registry.register("reconciles", "Passes by kind and outcome", self.passes.clone());
        registry.register_with_unit("reconcile_duration", "Time of a pass", Unit::Seconds, self.durations.clone());
        registry.register("resources", "Resources that exist", self.objects.clone());
        let help = "Resources that cannot be decoded and are left alone; each has an Event that says why";
        registry.register("resources_undecodable", help, self.undecodable.clone());
        registry.register("queue_depth", "Resources whose pass is due and has not begun", self.waiting.clone());
        registry.register("reconciles_in_progress", "Passes under way", self.running.clone());
        let help = "Age of the oldest pass under way";
        registry.register_with_unit("reconcile_oldest", help, Unit::Seconds, self.oldest.clone());
        let help = "Requests to the API server by verb and answer; none where no answer came";
        registry.register("api_requests", help, self.api_requests.clone());
        let help = "Admin requests to a Kafka cluster by what they ask for; one about many topics counts once";
        registry.register("kafka_requests", help, self.kafka_requests.clone());
        registry.register("events_lost", "Events that could not be written", self.events_lost.clone());
        let help = "Topics with deletionPolicy Delete that went while their Kafka topic stayed";
        registry.register("topics_released", help, self.topics_released.clone());
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

    /// Sets how many requests were made to a Kafka cluster. A client that was made anew counts from the beginning.
    pub fn kafka_requests(&self, cluster: &str, made: &BTreeMap<&'static str, u64>) {
        for (request, count) in made {
            let labels = KafkaLabels { cluster: cluster.to_owned(), request };
            self.kafka_requests.get_or_create(&labels).inner().store(*count, Ordering::Relaxed);
        }
    }

    /// Counts an Event that could not be written.
    pub fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// Counts a Topic that is let go although its Kafka topic stays.
    pub fn topic_released(&self, reason: &'static str) {
        self.topics_released.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Sets what is known of a kind at this moment.
    pub fn kind(&self, kind: &'static str, objects: usize, undecodable: usize, depth: Depth) {
        let labels = KindLabels { kind };
        let set = |family: &Family<KindLabels, Gauge>, value: usize| {
            family.get_or_create(&labels).set(value.try_into().unwrap_or(i64::MAX));
        };
        set(&self.objects, objects);
        set(&self.undecodable, undecodable);
        set(&self.waiting, depth.waiting);
        set(&self.running, depth.running);
        self.oldest.get_or_create(&labels).set(depth.oldest);
    }

    /// Sets whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// All of it, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}
