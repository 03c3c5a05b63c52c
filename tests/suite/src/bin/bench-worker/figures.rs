//! Medians over all rounds, ratios within each, and what must hold.

use std::{collections::BTreeMap, fmt};

use sluice_suite::verdict::{At, median, tell_median};

use crate::{
    job::Job,
    paced::{Latency, RATE},
    subject::Kind,
};

/// One measurement, of records that were read.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Records per second.
    pub(crate) rate: f64,
    /// Seconds of CPU for a million.
    pub(crate) cpu: f64,
    /// MiB, at most.
    pub(crate) memory: f64,
    /// Records that came again.
    pub(crate) repeats: usize,
}

#[derive(Default)]
pub(crate) struct Figures {
    samples: BTreeMap<(Job, Kind), Vec<Sample>>,
    latencies: BTreeMap<(Job, Kind), Vec<Latency>>,
}

type Value = fn(&Sample) -> f64;

impl Figures {
    pub(crate) fn take(&mut self, job: Job, kind: Kind, sample: Sample) {
        self.samples.entry((job, kind)).or_default().push(sample);
    }

    pub(crate) fn take_latency(&mut self, job: Job, kind: Kind, latency: Latency) {
        self.latencies.entry((job, kind)).or_default().push(latency);
    }

    pub(crate) fn print(&self) {
        println!("| job | program | records/s | CPU s per million | peak memory |");
        println!("|---|---|---:|---:|---:|");
        for ((job, kind), samples) in &self.samples {
            let of = |value: Value| median(samples.iter().map(value).collect());
            let (rate, cpu, memory) = (of(|one| one.rate), of(|one| one.cpu), of(|one| one.memory));
            println!("| {} | {} | {rate:.0} | {cpu:.2} | {memory:.0} MiB |", job.name(), kind.name());
        }
        println!();
        println!("| job at {RATE} records/s | program | p50 | p99 |");
        println!("|---|---|---:|---:|");
        for ((job, kind), latencies) in &self.latencies {
            let of = |value: fn(&Latency) -> f64| median(latencies.iter().map(value).collect());
            let (middle, p99) = (of(|one| one.median), of(|one| one.p99));
            println!("| {} | {} | {middle:.1} ms | {p99:.1} ms |", job.name(), kind.name());
        }
        println!();
        self.print_repeats();
        self.judge();
    }

    /// Of all rounds. They may come, for delivery to an API is at least once; in a topic each record is there once.
    fn print_repeats(&self) {
        let requests: Vec<_> = self.samples.iter().filter(|((job, _), _)| job.delay().is_some()).collect();
        if requests.is_empty() {
            return;
        }
        println!("| job | program | requests with a record that had come before |");
        println!("|---|---|---:|");
        for ((job, kind), samples) in requests {
            let repeats: usize = samples.iter().map(|one| one.repeats).sum();
            println!("| {} | {} | {repeats} |", job.name(), kind.name());
        }
        println!();
    }

    fn judge(&self) {
        let (rate, cpu, memory): (Value, Value, Value) = (|one| one.rate, |one| one.cpu, |one| one.memory);
        self.verdict((Job::Copy, Kind::Bare), "rate", rate, At::Least(0.8));
        self.verdict((Job::Copy, Kind::Bare), "CPU", cpu, At::Most(1.5));
        self.verdict((Job::Transform, Kind::Bare), "CPU", cpu, At::Most(2.0));
        self.verdict((Job::Quick, Kind::Bare), "rate", rate, At::Least(0.85));
        self.verdict((Job::Slow, Kind::Bare), "rate", rate, At::Least(0.85));
        for job in [Job::Copy, Job::Transform] {
            self.verdict((job, Kind::Benthos), "rate", rate, At::Least(4.0));
            self.verdict((job, Kind::Benthos), "CPU", cpu, At::Most(0.2));
        }
        self.verdict((Job::Quick, Kind::Benthos), "rate", rate, At::Least(3.5));
        self.verdict((Job::Quick, Kind::Benthos), "CPU", cpu, At::Most(1.0 / 6.0));
        for job in Job::ALL {
            self.verdict((job, Kind::Benthos), "memory", memory, At::Most(0.5));
        }
    }

    /// The median of the ratios within each round.
    fn verdict(&self, (job, other): (Job, Kind), what: &str, value: Value, bound: At) {
        let of = |kind| self.samples.get(&(job, kind)).into_iter().flatten();
        let ratios = of(Kind::Worker).zip(of(other)).map(|(own, other)| value(own) / value(other)).collect();
        tell_median(&format!("{}: {what}, times that of {}", job.name(), other.name()), ratios, bound);
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, cpu, memory, repeats: _ } = self;
        write!(f, "{rate:.0} records/s, {cpu:.2} s of CPU per million, {memory:.0} MiB")
    }
}
