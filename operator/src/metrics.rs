//! What the operator counts.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::error::Error;

/// What the operator counts.
pub struct Metrics {
    registry: Registry,
    passes: Family<PassLabels, Counter<u64, AtomicU64>>,
    durations: Family<KindLabels, Histogram, fn() -> Histogram>,
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

/// Upper bounds in seconds: a pass without changes takes some milliseconds, one that waits for a broker seconds.
const DURATIONS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let passes = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        registry.register("reconciles", "Passes by kind and outcome", passes.clone());
        registry.register_with_unit("reconcile_duration", "Time of a pass", Unit::Seconds, durations.clone());
        Self { registry, passes, durations }
    }
}

impl Metrics {
    /// Counts a pass; the outcome is `ok` or the class of its error.
    pub fn pass(&self, kind: &'static str, error: Option<&Error>, duration: Duration) {
        let outcome = error.map_or_else(|| "ok".to_owned(), |error| error.reason().to_string());
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.durations.get_or_create(&KindLabels { kind }).observe(duration.as_secs_f64());
    }

    /// All of it, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}
