//! The worker's counts as Prometheus reads them.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use sluice_crds::{
    metrics::{Metric, worker as defined},
    wire::Circuit,
};
use sluice_telemetry::metrics::{self, Define as _, describe};

use super::{Counts, Status};

/// A metric that is a function of the counts.
type Counted = (Metric, fn(&Counts) -> u64);

const COUNTERS: [Counted; 7] = [
    (defined::RECORDS_RECEIVED, |counts| counts.received),
    (defined::RECORDS_DELIVERED, |counts| counts.delivered),
    (defined::RECORDS_SKIPPED, |counts| counts.skipped),
    (defined::RECORDS_DEAD_LETTERED, |counts| counts.dead_lettered),
    (defined::RECORDS_RETURNED, |counts| counts.returned),
    (defined::RECORDS_GONE, |counts| counts.gone),
    (defined::DELIVERY_RETRIES, |counts| counts.retries),
];

const GAUGES: [Counted; 4] = [
    (defined::RECORDS_UNSETTLED, Counts::unsettled),
    (defined::PARTITIONS, |counts| counts.partitions),
    (defined::PARTITIONS_HALTED, |counts| counts.halted),
    (defined::CIRCUIT_OPEN, |counts| u64::from(counts.circuit != Circuit::Closed)),
];

/// The registry of a worker.
pub(crate) fn registry(status: &Arc<Status>) -> Registry {
    let labels = status.integration.iter().map(|(name, value)| ((*name).into(), value.clone().into()));
    let mut registry = metrics::registry("worker", env!("CARGO_PKG_VERSION"));
    registry.register_collector(Box::new(status.certificates.clone()));
    let ours = registry.sub_registry_with_labels(labels);
    ours.define(&defined::DELIVERY_DURATION, status.attempts.clone());
    ours.register_collector(Box::new(Snapshot(Arc::clone(status))));
    registry
}

/// Reads all counts at one moment, so that they add up in every scrape.
#[derive(Debug)]
struct Snapshot(Arc<Status>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = *self.0.counts();
        for (metric, value) in &COUNTERS {
            describe(&mut encoder, metric, |values| ConstCounter::new(value(&counts)).encode(values))?;
        }
        for (metric, value) in &GAUGES {
            describe(&mut encoder, metric, |values| ConstGauge::new(value(&counts)).encode(values))?;
        }
        let unusable = self.0.secrets_unusable();
        describe(&mut encoder, &defined::SECRETS_UNUSABLE, |values| ConstGauge::new(unusable).encode(values))
    }
}
