//! What the receiver costs beside the least possible work, a handler that checks nothing, and beside other programs that turn webhooks
//! into Kafka records. `bench-webhook [ROUNDS [PROGRAM...]]`: five rounds of all programs where nothing is said.
//!
//! - `load`: senders, as fast as they can or at a given rate.
//! - `bare`: the handler that checks nothing.
//! - `subject`: a program that is measured.
//! - `peers`: the programs of others, and how they are set up.
//! - `figures`: medians, ratios and what must hold.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

mod bare;
mod figures;
mod load;
mod peers;
mod subject;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use sluice_cluster::{Cluster, Component, Part, exit};
use sluice_kafka::{Admin, KafkaConnection, NewTopic, OffsetAt, TopicPartition};
use tikv_jemallocator::Jemalloc;

use self::{
    figures::{Figures, Sample},
    subject::{Kind, Subject},
};

/// The receiver's, for the bare handler: it is this program too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const CLUSTER: &str = "bench-webhook";
const CONNECTIONS: [usize; 2] = [64, 256];
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// Which part of what the bare handler can do comes where latency is measured.
const LOAD: f64 = 0.6;
/// All that is written is read by nobody: it goes soon, so that the disk is not what is measured.
const BROKER: &str = "log.retention.check.interval.ms=3000";
const PARTITIONS: i32 = 6;

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some((bare::ARGUMENT, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return runtime.block_on(bare::serve(rest));
    }
    let rounds = arguments.first().map(|rounds| rounds.parse().context("a number of rounds")).transpose()?;
    let kinds = arguments.iter().skip(1).map(|name| Kind::named(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let kinds = if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds };
    let measured = measure_all(&runtime, rounds.unwrap_or(ROUNDS), &kinds);
    Cluster::remove(CLUSTER)?;
    measured?.print();
    Ok(())
}

fn measure_all(runtime: &tokio::runtime::Runtime, rounds: usize, kinds: &[Kind]) -> anyhow::Result<Figures> {
    let cluster = Cluster::up(CLUSTER, &[Part::Kafka])?;
    let broker = cluster.component(Component::Kafka);
    broker.stop()?;
    broker.add_settings(BROKER)?;
    broker.start()?;
    runtime.block_on(measure(&cluster.kafka_bootstrap(), rounds, kinds))
}

async fn measure(kafka: &str, rounds: usize, kinds: &[Kind]) -> anyhow::Result<Figures> {
    let mut subjects = Vec::new();
    for kind in kinds.iter().copied() {
        make_topics(kafka, kind).await?;
        subjects.push(Subject::start(kind, kafka).await?);
    }
    let mut figures = Figures::default();
    for round in 0..rounds {
        for connections in CONNECTIONS {
            // Each comes first once.
            subjects.rotate_left(1);
            let begin = Instant::now();
            measure_round(&subjects, connections, &mut figures).await?;
            println!("round {}, {connections} connections: {:.0} s", round + 1, begin.elapsed().as_secs_f64());
        }
    }
    for subject in subjects.iter().filter(|subject| subject.kind.is_receiver()) {
        figures.written(subject.kind, subject.acknowledged(), written(kafka, subject.kind).await?);
    }
    Ok(figures)
}

fn admin(kafka: &str) -> anyhow::Result<Admin> {
    let connection = KafkaConnection { bootstrap_servers: vec![kafka.to_owned()], ..KafkaConnection::default() };
    Ok(Admin::connect(&connection)?)
}

/// All together they keep about as much, however many they are.
async fn make_topics(kafka: &str, kind: Kind) -> anyhow::Result<()> {
    let size = if kind == Kind::SharedTopics { "4194304" } else { "67108864" };
    let config = [("segment.bytes", size), ("retention.bytes", size), ("file.delete.delay.ms", "1000")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let topic =
        |name| NewTopic { name, partitions: Some(partitions(kind)), replicas: None, config: config.clone().into() };
    let topics: Vec<_> = kind.topics().into_iter().map(topic).collect();
    let answers = admin(kafka)?.create_topics(&topics).await?;
    ensure!(answers.values().all(Result::is_ok), "{answers:?}");
    Ok(())
}

fn partitions(kind: Kind) -> i32 {
    if kind == Kind::SharedTopics { 1 } else { PARTITIONS }
}

/// How many records Kafka has got in a subject's topics, also those that it has let go.
async fn written(kafka: &str, kind: Kind) -> anyhow::Result<u64> {
    let partitions: Vec<_> = kind
        .topics()
        .into_iter()
        .flat_map(|topic| {
            (0..partitions(kind)).map(move |partition| TopicPartition { topic: topic.clone(), partition })
        })
        .collect();
    let ends = admin(kafka)?.list_offsets(&partitions, OffsetAt::Latest).await?;
    ends.into_values().map(|end| Ok(u64::try_from(end?)?)).sum()
}

/// One after the other, all in the same minute: what disturbs the machine disturbs all of them.
async fn measure_round(subjects: &[Subject], connections: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let mut limit: f64 = 0.0;
    for subject in subjects {
        load::as_fast_as_possible(subject, connections, WARM_UP).await?;
        let cpu = subject.program.cpu()?;
        let traffic = load::as_fast_as_possible(subject, connections, MEASURED).await?;
        let cpu = subject.program.cpu()? - cpu;
        let sample = Sample::new(&traffic, cpu, subject.program.peak_memory()?);
        if subject.kind.is_bare() {
            limit = limit.max(sample.rate);
        }
        figures.fast(connections, subject.kind, sample);
    }
    // Without a bare handler there is no rate to take a part of.
    for subject in subjects.iter().filter(|subject| subject.kind.is_paced() && limit > 0.0) {
        load::at_rate(subject, connections, limit * LOAD, WARM_UP).await?;
        let cpu = subject.program.cpu()?;
        let traffic = load::at_rate(subject, connections, limit * LOAD, MEASURED).await?;
        let cpu = subject.program.cpu()? - cpu;
        figures.steady(connections, subject.kind, Sample::new(&traffic, cpu, subject.program.peak_memory()?));
    }
    Ok(())
}
