//! What a worker costs from Kafka to Kafka, beside the least possible work, a loop of the client library, and beside another program that
//! does the same.
//!
//! - `bare`: the loop, alone and with the same filter and map written by hand.
//! - `subject`: a program that is measured.
//! - `figures`: medians, ratios and what must hold.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

mod bare;
mod figures;
mod subject;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use sluice_cluster::{Cluster, Part, exit};
use sluice_kafka::{
    Admin, BatchProducer, Compression, KafkaConnection, NewTopic, OffsetAt, OutgoingRecord, TopicPartition,
};
use sluice_suite::measured::Measured;
use tokio::time::{MissedTickBehavior, interval};

use self::{
    figures::{Figures, Sample},
    subject::{Job, Kind},
};

const CLUSTER: &str = "bench-worker";
const ROUNDS: usize = 5;
const RECORDS: usize = 1_000_000;
const PARTITIONS: i32 = 6;
/// The longest time without progress.
const PATIENCE: Duration = Duration::from_mins(2);
/// Where the records are.
const SOURCE: &str = "records";
/// One in so many is let through where records are filtered.
pub(crate) const EVERY: usize = 2;

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((bare::ARGUMENT, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return bare::run(rest);
    }
    let number = |at: usize, what: &'static str, default| {
        arguments.get(at).map_or(Ok(default), |number| number.parse::<usize>().context(what))
    };
    let (rounds, records) = (number(0, "a number of rounds", ROUNDS)?, number(1, "a number of records", RECORDS)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = Cluster::up(CLUSTER, &[Part::Kafka])
        .and_then(|cluster| runtime.block_on(Bench::measure(&cluster.kafka_bootstrap(), rounds, records)));
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
    async fn measure(kafka: &str, rounds: usize, records: usize) -> anyhow::Result<Figures> {
        let connection = KafkaConnection { bootstrap_servers: vec![kafka.to_owned()], ..KafkaConnection::default() };
        let bench = Self { kafka: kafka.to_owned(), admin: Admin::connect(&connection)?, records };
        bench.make_topic(SOURCE).await?;
        fill(&connection, records).await?;
        let mut figures = Figures::default();
        let of_job = |job: Job| Kind::ALL.map(|kind| (job, kind));
        let mut subjects: Vec<_> = Job::ALL.into_iter().flat_map(of_job).collect();
        for round in 0..rounds {
            let begin = Instant::now();
            for (job, kind) in subjects.clone() {
                let sample = bench.measure_one(job, kind, round).await?;
                println!("round {}: {} {}: {sample}", round + 1, kind.name(), job.name());
                figures.take(job, kind, sample);
            }
            // Each comes first once.
            subjects.rotate_left(1);
            println!("round {}: {:.0} s", round + 1, begin.elapsed().as_secs_f64());
        }
        Ok(figures)
    }

    /// One program alone, from its start until everything is written. What it takes to start is in its CPU, and in no rate.
    async fn measure_one(&self, job: Job, kind: Kind, round: usize) -> anyhow::Result<Sample> {
        let target = format!("{}-{}-{round}", kind.name(), job.name());
        self.make_topic(&target).await?;
        let folder = tempfile::tempdir()?;
        let command = kind.command(job, &self.kafka, &target, folder.path())?;
        let program = Measured::start(command, folder)?;
        let expected = if job == Job::Transform { self.records / EVERY } else { self.records };
        let watched = self.watch(&target, expected).await;
        let (written, rate) = watched.with_context(|| format!("{target}:\n{}", program.log()))?;
        ensure!(written == expected, "{target}: {written} records were written instead of {expected}");
        let (records, millions) = (float(self.records), float(self.records) / 1e6);
        let sample = Sample {
            // Of records that are read, whatever is left of them.
            rate: rate / float(expected) * records,
            cpu: program.cpu()? / millions,
            memory: program.peak_memory()?,
        };
        drop(program);
        self.admin.delete_topics(&[target.as_str()]).await?;
        Ok(sample)
    }

    /// Waits until so many records are written; gives how many there are, and how many came in a second, from the first that was
    /// seen on.
    async fn watch(&self, topic: &str, expected: usize) -> anyhow::Result<(usize, f64)> {
        let partitions: Vec<_> =
            (0..PARTITIONS).map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect();
        let mut pace = interval(Duration::from_millis(50));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut first, mut before, mut moved) = (None, 0, Instant::now());
        loop {
            pace.tick().await;
            let ends = self.admin.list_offsets(&partitions, OffsetAt::Latest).await?;
            let mut written = 0;
            for end in ends.into_values() {
                written += usize::try_from(end?)?;
            }
            let now = Instant::now();
            if written > before {
                (before, moved) = (written, now);
                first.get_or_insert((now, written));
            }
            if let (true, Some((begin, there))) = (written >= expected, first) {
                return Ok((written, float(written - there) / (now - begin).as_secs_f64()));
            }
            if moved.elapsed() > PATIENCE {
                bail!("no progress at {written} of {expected} records");
            }
        }
    }

    async fn make_topic(&self, name: &str) -> anyhow::Result<()> {
        let topic = NewTopic { name: name.to_owned(), partitions: Some(PARTITIONS), replicas: None, config: [].into() };
        let answers = self.admin.create_topics(&[topic]).await?;
        ensure!(answers.values().all(Result::is_ok), "{answers:?}");
        Ok(())
    }
}

/// Records of 1 KiB, JSON, each with a key.
async fn fill(connection: &KafkaConnection, records: usize) -> anyhow::Result<()> {
    let producer = BatchProducer::connect(connection, Compression::None)?;
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 27, 32).expect("five bits are a digit of base 32")
    });
    let text: String = noise.take(4_096).collect();
    let record = |number: usize| {
        let action = if number.is_multiple_of(EVERY) { "purchase" } else { "view" };
        let padding = &text[number % 3_000..][..900];
        let value = format!(
            r#"{{"id": {number}, "action": "{action}", "customer": "c-{}", "amount": {}.5, "note": "{padding}"}}"#,
            number % 1_000,
            number % 977,
        );
        OutgoingRecord { key: Some(format!("c-{}", number % 1_000).into()), ..OutgoingRecord::new(SOURCE, value) }
    };
    for first in (0..records).step_by(10_000) {
        let batch = (first..records.min(first + 10_000)).map(record).collect();
        let unwritten = producer.write(batch).await;
        ensure!(unwritten == sluice_kafka::Unwritten::default(), "{unwritten:?}");
    }
    Ok(())
}

fn float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
