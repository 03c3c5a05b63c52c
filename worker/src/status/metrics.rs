//! The worker's counts as Prometheus reads them.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{Counts, Status};

/// A metric that is a function of the counts.
struct Metric<T> {
    name: &'static str,
    help: &'static str,
    value: fn(&Counts) -> T,
}

const COUNTERS: [Metric<u64>; 7] = [
    Metric { name: "records_received", help: "Records read", value: |counts| counts.received },
    Metric { name: "records_delivered", help: "Records that the sink took", value: |counts| counts.delivered },
    Metric {
        name: "records_skipped",
        help: "Records that a filter held back or that were dropped",
        value: |counts| counts.skipped,
    },
    Metric {
        name: "records_dead_lettered",
        help: "Records that became dead letters",
        value: |counts| counts.dead_lettered,
    },
    Metric {
        name: "records_returned",
        help: "Records that were not settled when their partition went to another worker",
        value: |counts| counts.returned,
    },
    Metric {
        name: "records_gone",
        help: "Records that Kafka deleted before they were read, at most",
        value: |counts| counts.gone,
    },
    Metric { name: "delivery_retries", help: "Attempts that failed and are repeated", value: |counts| counts.retries },
];

const GAUGES: [Metric<u64>; 2] = [
    Metric { name: "records_unsettled", help: "Records read and not settled yet", value: Counts::unsettled },
    Metric {
        name: "partitions",
        help: "Partitions that are assigned to this worker",
        value: |counts| counts.partitions,
    },
];

/// The registry of a worker.
pub(crate) fn registry(status: &Arc<Status>) -> Registry {
    let labels = status.integration.iter().map(|(name, value)| ((*name).into(), value.clone().into()));
    let mut registry = Registry::with_prefix_and_labels("sluice_worker", labels);
    let help = "Time that one attempt to deliver a record took";
    registry.register_with_unit("delivery_duration", help, Unit::Seconds, status.attempts.clone());
    registry.register_collector(Box::new(Snapshot(Arc::clone(status))));
    registry
}

/// All metrics as text.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry).expect("writing to a String cannot fail");
    text
}

/// Reads all counts at one moment, so that they add up in every scrape.
#[derive(Debug)]
struct Snapshot(Arc<Status>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = *self.0.counts();
        for metric in &COUNTERS {
            let counter = ConstCounter::new((metric.value)(&counts));
            counter.encode(encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?)?;
        }
        for metric in &GAUGES {
            let gauge = ConstGauge::new((metric.value)(&counts));
            gauge.encode(encoder.encode_descriptor(metric.name, metric.help, None, ConstGauge::<u64>::TYPE)?)?;
        }
        Ok(())
    }
}
