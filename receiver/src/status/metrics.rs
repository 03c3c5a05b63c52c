//! The counts and the moment's numbers as Prometheus reads them.

use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use sluice_telemetry::{Certificates, metrics};

use super::counters::Moment;
use crate::{link::Links, process::Process, receive::Receiver};

/// All metrics of a process.
pub(super) struct Metrics(Registry);

/// The certificates that are in use: those of the Kafka clusters, and those by which traces are sent.
#[derive(Debug)]
struct InUse {
    links: Links,
    of_traces: Certificates,
}

impl Collector for InUse {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.links.connections();
        connections.iter().fold(self.of_traces.clone(), Certificates::of_kafka).encode(encoder)
    }
}

impl Metrics {
    pub(super) fn of(process: &Process) -> Self {
        let mut registry = metrics::registry("receiver", env!("CARGO_PKG_VERSION"));
        let of_traces = process.tracer.with_certificates(Certificates::default());
        registry.register_collector(Box::new(InUse { links: process.links.clone(), of_traces }));
        process.families.register(&mut registry);
        Self(registry)
    }

    /// The metrics as they are now.
    pub(super) fn text<'a>(&self, receivers: impl Iterator<Item = &'a Receiver>) -> String {
        for receiver in receivers {
            receiver.counters.note(Moment {
                remembered: receiver.remembered(),
                window: receiver.window(),
                unusable_secrets: receiver.keys.current().unusable.len(),
            });
        }
        metrics::text(&self.0)
    }
}
