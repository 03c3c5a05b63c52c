//! Medians over all rounds, ratios within each, and what must hold.

use std::{collections::BTreeMap, time::Duration};

use sluice_suite::verdict::{At, median, tell, tell_median};

use crate::{
    CONNECTIONS,
    load::{SHARING, Traffic},
    subject::Kind,
};

/// MiB that a receiver may take.
const MEMORY: f64 = 32.0;
/// MiB that the container of shared ones may take.
const SHARED_MEMORY: f64 = 512.0;

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    median: Duration,
    ninety_ninth: Duration,
    /// Seconds for a million requests.
    cpu: f64,
    /// MiB, at most until then.
    memory: f64,
}

/// All measurements of one kind of load, by round.
type Samples = BTreeMap<(usize, Kind), Vec<Sample>>;

#[derive(Default)]
pub(crate) struct Figures {
    /// As fast as senders can.
    fast: Samples,
    /// At a part of what the bare handler can do.
    steady: Samples,
    /// Of each receiver the events that it has acknowledged, and the records that Kafka has got.
    written: Vec<(Kind, u64, u64)>,
}

impl Sample {
    /// `cpu` in seconds, `memory` in MiB.
    pub(crate) fn new(traffic: &Traffic, cpu: f64, memory: f64) -> Self {
        let count = traffic.latencies.len();
        let at = |share: usize| traffic.latencies.get(count * share / 100).copied().unwrap_or_default();
        let count = u32::try_from(count).map_or(f64::INFINITY, f64::from);
        Self { rate: traffic.rate, median: at(50), ninety_ninth: at(99), cpu: cpu / count * 1e6, memory }
    }
}

impl Figures {
    pub(crate) fn fast(&mut self, connections: usize, kind: Kind, sample: Sample) {
        self.fast.entry((connections, kind)).or_default().push(sample);
    }

    pub(crate) fn steady(&mut self, connections: usize, kind: Kind, sample: Sample) {
        self.steady.entry((connections, kind)).or_default().push(sample);
    }

    pub(crate) fn written(&mut self, kind: Kind, acknowledged: u64, records: u64) {
        self.written.push((kind, acknowledged, records));
    }

    pub(crate) fn print(&self) {
        println!(
            "| connections | program | requests/s | p50 | p99 | CPU s per million | peak memory | at 60 %: p50 | p99 | CPU |"
        );
        println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        for ((connections, kind), fast) in &self.fast {
            let of = |samples: &[Sample], value: fn(&Sample) -> f64| median(samples.iter().map(value).collect());
            let steady = self.steady.get(&(*connections, *kind)).map(Vec::as_slice).unwrap_or_default();
            let steady = match steady {
                [] => "| | |".to_owned(),
                all => format!("{:.2} ms | {:.2} ms | {:.1}", of(all, p50), of(all, p99), of(all, |one| one.cpu)),
            };
            println!(
                "| {connections} | {} | {:.0} | {:.2} ms | {:.2} ms | {:.1} | {:.0} MiB | {steady} |",
                kind.name(),
                of(fast, |one| one.rate),
                of(fast, p50),
                of(fast, p99),
                of(fast, |one| one.cpu),
                of(fast, |one| one.memory),
            );
        }
        for connections in CONNECTIONS {
            self.print_verdicts(connections);
        }
        let bounds = [(Kind::Receiver, MEMORY), (Kind::Shared, SHARED_MEMORY), (Kind::SharedTopics, SHARED_MEMORY)];
        for (kind, bound) in bounds {
            if let Some(peak) = self.peak_memory(kind) {
                tell(&format!("MiB of memory of {}, at most", kind.name()), peak, At::Most(bound));
            }
        }
        for (kind, acknowledged, records) in &self.written {
            let missing = acknowledged.saturating_sub(*records);
            let missing = u32::try_from(missing).map_or(f64::INFINITY, f64::from);
            tell(
                &format!("of {acknowledged} events that {} has acknowledged, those that Kafka lacks", kind.name()),
                missing,
                At::Most(0.0),
            );
        }
    }

    /// Under any load; `None` where it was not measured.
    fn peak_memory(&self, kind: Kind) -> Option<f64> {
        let all = self.fast.iter().chain(&self.steady).filter(|((_, of), _)| *of == kind);
        all.flat_map(|(_, samples)| samples).map(|one| one.memory).reduce(f64::max)
    }

    /// The bare handler counts with the settings that are best in that round.
    fn print_verdicts(&self, connections: usize) {
        let with = |samples: &Samples, kind| samples.get(&(connections, kind)).cloned().unwrap_or_default();
        let ratios_of =
            |kind: Kind, samples: &Samples, value: fn(&Sample) -> f64, better: fn(f64, f64) -> f64, others: &[Kind]| {
                let others = others.iter().map(|kind| with(samples, *kind)).filter(|others| !others.is_empty());
                let others: Vec<_> = others.collect();
                let each = with(samples, kind).into_iter().enumerate().filter_map(|(round, own)| {
                    Some(value(&own) / others.iter().map(|other| value(&other[round])).reduce(better)?)
                });
                each.collect::<Vec<_>>()
            };
        let ratios = |samples: &Samples, value: fn(&Sample) -> f64, better: fn(f64, f64) -> f64, others: &[Kind]| {
            ratios_of(Kind::Receiver, samples, value, better, others)
        };
        verdict(
            connections,
            "rate, times the bare handler's",
            ratios(&self.fast, |one| one.rate, f64::max, &Kind::BARE),
            At::Least(0.9),
        );
        verdict(
            connections,
            "p99 at 60 %, times the bare handler's",
            ratios(&self.steady, p99, f64::min, &Kind::BARE),
            At::Most(1.25),
        );
        verdict(
            connections,
            &format!("rate where {SHARING} Webhooks share the receiver, times that of one with its own"),
            ratios_of(Kind::Shared, &self.fast, |one| one.rate, f64::max, &[Kind::Receiver]),
            At::Least(0.95),
        );
        for peer in [Kind::Benthos, Kind::ArgoEvents] {
            let name = peer.name();
            let rate = ratios(&self.fast, |one| one.rate, f64::max, &[peer]);
            verdict(connections, &format!("rate, times that of {name}"), rate, At::Least(1.6));
            let cpu = ratios(&self.fast, |one| one.cpu, f64::min, &[peer]);
            verdict(connections, &format!("CPU for a request, times that of {name}"), cpu, At::Most(0.5));
        }
    }
}

/// Of the ratios of all rounds.
fn verdict(connections: usize, what: &str, ratios: Vec<f64>, bound: At) {
    tell_median(&format!("{connections} connections: {what}"), ratios, bound);
}

fn p50(sample: &Sample) -> f64 {
    sample.median.as_secs_f64() * 1e3
}

fn p99(sample: &Sample) -> f64 {
    sample.ninety_ninth.as_secs_f64() * 1e3
}
