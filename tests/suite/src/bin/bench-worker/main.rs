//! What a worker costs from Kafka to Kafka and from Kafka to an API, beside the least possible work, a loop of the client libraries, and
//! beside another program that does the same.
//!
//! - `records`, `job`: what is delivered, and what is done with it.
//! - `subject`: a program that is measured.
//! - `bare`: the loop.
//! - `target`, `api`, `punctual`: where records go, and how long that takes.
//! - `arrived`: whether each is there, and once.
//! - `paced`: how long they take.
//! - `figures`: medians, ratios and what must hold.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

mod api;
mod arrived;
mod bare;
mod figures;
mod job;
mod paced;
mod punctual;
mod records;
mod subject;
mod target;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use sluice_cluster::{Cluster, Part, exit};
use sluice_kafka::{Admin, BatchProducer, Compression, KafkaConnection};
use sluice_suite::{measured::Measured, until};
use tokio::{
    sync::oneshot,
    task,
    time::{MissedTickBehavior, interval},
};

use self::{
    figures::{Figures, Sample},
    job::Job,
    paced::{Latency, Pace},
    records::Records,
    subject::{Kind, Task},
    target::{Target, make_topic, tell},
};

const CLUSTER: &str = "bench-worker";
const ROUNDS: usize = 5;
const RECORDS: usize = 1_000_000;
const PARTITIONS: i32 = 6;
/// The longest time without progress.
const PATIENCE: Duration = Duration::from_mins(2);

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some((bare::ARGUMENT, rest)) => return runtime.block_on(bare::run(rest)),
        Some((api::ARGUMENT, rest)) => return runtime.block_on(api::serve(rest)),
        _ => {}
    }
    let number = |at: usize, what: &'static str, default| {
        arguments.get(at).map_or(Ok(default), |number| number.parse::<usize>().context(what))
    };
    let (rounds, records) = (number(0, "a number of rounds", ROUNDS)?, number(1, "a number of records", RECORDS)?);
    let jobs = arguments.iter().skip(2).map(|name| Job::named(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let jobs = if jobs.is_empty() { Job::ALL.to_vec() } else { jobs };
    // The API is asked by HTTP, without TLS, which reqwest wants to be possible all the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let measured = Cluster::up(CLUSTER, &[Part::Kafka])
        .and_then(|cluster| runtime.block_on(Bench::measure(&cluster.kafka_bootstrap(), rounds, records, &jobs)));
    Cluster::remove(CLUSTER)?;
    measured?.print();
    Ok(())
}

struct Bench {
    kafka: String,
    admin: Admin,
    records: usize,
}

impl Bench {
    async fn measure(kafka: &str, rounds: usize, records: usize, jobs: &[Job]) -> anyhow::Result<Figures> {
        let connection = KafkaConnection { bootstrap_servers: vec![kafka.to_owned()], ..KafkaConnection::default() };
        let bench = Self { kafka: kafka.to_owned(), admin: Admin::connect(&connection)?, records };
        bench.fill(&connection).await?;
        let mut figures = Figures::default();
        let mut subjects: Vec<(Job, Kind)> =
            jobs.iter().flat_map(|job| job.kinds().iter().map(move |kind| (*job, *kind))).collect();
        for round in 0..rounds {
            let begin = Instant::now();
            for (job, kind) in subjects.clone() {
                let name = format!("{}-{}-{round}", kind.name(), job.name());
                let sample = bench.measure_one(job, kind, &name).await?;
                println!("{name}: {sample}");
                figures.take(job, kind, sample);
                let latency = bench.measure_latency(job, kind, &format!("paced-{name}")).await?;
                println!("{name}: p50 {:.1} ms, p99 {:.1} ms", latency.median, latency.p99);
                figures.take_latency(job, kind, latency);
            }
            // Each comes first once.
            subjects.rotate_left(1);
            println!("round {}: {:.0} s", round + 1, begin.elapsed().as_secs_f64());
        }
        Ok(figures)
    }

    async fn fill(&self, connection: &KafkaConnection) -> anyhow::Result<()> {
        let producer = BatchProducer::connect(connection, Compression::None)?;
        for job in [Job::Copy, Job::Quick, Job::Slow] {
            let (source, count) = job.source(self.records);
            make_topic(&self.admin, source).await?;
            Records::new().fill(&producer, source, count).await?;
        }
        Ok(())
    }

    fn start(&self, kind: Kind, (job, source): (Job, &str), target: &Target, name: &str) -> anyhow::Result<Measured> {
        let (kafka, source, target) = (self.kafka.clone(), source.to_owned(), target.place());
        let folder = tempfile::tempdir()?;
        let command = kind.command(&Task { job, kafka, source, target, group: name.to_owned() }, folder.path())?;
        Measured::start(command, folder)
    }

    /// One program alone, from its start until everything is delivered. What it takes to start is in its CPU, and in no rate.
    async fn measure_one(&self, job: Job, kind: Kind, name: &str) -> anyhow::Result<Sample> {
        let (source, records) = job.source(self.records);
        let target = Target::open(job, &self.admin, name).await?;
        let program = self.start(kind, (job, source), &target, name)?;
        let expected = job.is_left_of(records);
        let watched = watch(&target, expected).await;
        let rate = watched.with_context(|| format!("{name}:\n{}", program.log()))?;
        let (cpu, memory) = (program.cpu()? / (float(records) / 1e6), program.peak_memory()?);
        let checked = target.check(&self.kafka, expected).await;
        let repeats = checked.with_context(|| format!("{name}:\n{}", program.log()))?;
        drop(program);
        target.close().await?;
        // Of records that are read, whatever is left of them.
        Ok(Sample { rate: rate / float(expected) * float(records), cpu, memory, repeats })
    }

    /// One program alone, which waits for records.
    async fn measure_latency(&self, job: Job, kind: Kind, name: &str) -> anyhow::Result<Latency> {
        let source = format!("source-{name}");
        make_topic(&self.admin, &source).await?;
        let target = Target::open(job, &self.admin, name).await?;
        let program = self.start(kind, (job, &source), &target, name)?;
        let pace = Pace::new(&self.kafka, &source)?;
        pace.send(0)?;
        let expected = job.is_left_of(paced::RECORDS);
        let latency = latency(&self.kafka, &target, &pace, expected).await;
        let latency = latency.with_context(|| format!("{name}:\n{}", program.log()));
        drop(program);
        target.close().await?;
        self.admin.delete_topics(&[&source]).await?;
        latency
    }
}

/// Sends all records once the first has arrived, and waits until so many are there.
async fn latency(kafka: &str, target: &Target, pace: &Pace, expected: usize) -> anyhow::Result<Latency> {
    match target {
        Target::Topic(_, name) => {
            let (listening, heard) = oneshot::channel();
            let (kafka, name) = (kafka.to_owned(), name.clone());
            let listener = task::spawn_blocking(move || paced::listen(&kafka, &name, expected, listening));
            if heard.await.is_ok() {
                pace.send_all().await?;
            }
            listener.await?
        }
        Target::Api { address, .. } => {
            arrived(target, 1).await?;
            pace.send_all().await?;
            arrived(target, expected).await?;
            tell(*address, api::LATENCY).await?.latency.context("it was asked for")
        }
    }
}

async fn arrived(target: &Target, wanted: usize) -> anyhow::Result<()> {
    let look = async || match target.delivered().await {
        Ok(delivered) if delivered >= wanted => Ok(()),
        seen => Err(format!("{seen:?}")),
    };
    until("records", PATIENCE, look).await
}

/// Waits until so many records are delivered; gives how many came in a second, from the first that was seen on.
async fn watch(target: &Target, expected: usize) -> anyhow::Result<f64> {
    let mut pace = interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut first, mut before, mut moved) = (None, 0, Instant::now());
    loop {
        pace.tick().await;
        let delivered = target.delivered().await?;
        let now = Instant::now();
        if delivered > before {
            (before, moved) = (delivered, now);
            first.get_or_insert((now, delivered));
        }
        if let (true, Some((begin, there))) = (delivered >= expected, first) {
            return Ok(float(delivered - there) / (now - begin).as_secs_f64());
        }
        if moved.elapsed() > PATIENCE {
            bail!("no progress at {delivered} of {expected} records");
        }
    }
}

fn float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
