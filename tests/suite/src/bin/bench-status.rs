//! What it costs to keep the numbers in many statuses true: writes to the API server, requests to Kafka, CPU and memory, at rest and
//! while records come, and how long it takes until a status tells of a change. Without pods: lag is measured at the broker.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use sluice_cluster::{Cluster, Part, Target, exit};
use sluice_crds::{Integration, KafkaConnection, Topic};
use sluice_kafka::{
    OutgoingRecord, Producer, ProducerSettings,
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerSettings, Offset, TopicPartitionList, consumer_config,
    },
};
use sluice_suite::{
    Stage,
    meter::{Meter, during, pause},
    operator::Launch,
    until,
    verdict::{At, tell},
    world::condition,
};

const CLUSTER: &str = "bench-status";
/// Topics that the Integrations share as sources.
const TOPICS: usize = 100;
/// Requests that users have under way at the same time.
const AT_ONCE: usize = 32;
/// Threads that commit offsets.
const COMMITTERS: usize = 64;
const PATIENCE: Duration = Duration::from_mins(20);
/// A phase of rest or of moving records.
const PHASE: Duration = Duration::from_mins(1);
/// Single changes whose way to the status is timed.
const CHANGES: usize = 5;

/// All figures of one number of Integrations.
struct Figures {
    integrations: usize,
    first: Duration,
    rest: [Meter; 2],
    moving: [Meter; 2],
    seen_after: Vec<Duration>,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let measured = measure_all();
    Cluster::remove(CLUSTER)?;
    let measured = measured?;
    print_table(&measured);
    measured.iter().for_each(judge);
    Ok(())
}

fn measure_all() -> anyhow::Result<Vec<Figures>> {
    let sizes = std::env::args().skip(1).map(|size| size.parse().context("a number of Integrations"));
    let mut sizes: Vec<usize> = sizes.collect::<anyhow::Result<_>>()?;
    if sizes.is_empty() {
        sizes = vec![1_000, 5_000];
    }
    let target = Target::up(CLUSTER, &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    sizes.into_iter().map(|size| runtime.block_on(measure(&target, size))).collect()
}

async fn measure(target: &Target, size: usize) -> anyhow::Result<Figures> {
    let stage = Stage::on(target.clone(), &format!("status-{size}")).await?;
    let launch = Launch { measuring: "{}", ..stage.launch("bench") };
    let operator = stage.start(&launch).await?;
    operator.leads(PATIENCE).await?;
    topics(&stage).await?;
    commit_all(&stage, size)?;
    let begin = Instant::now();
    integrations(&stage, size).await?;
    all_are(&stage, size, "measured", |integration| lag_of(integration) == Some("0")).await?;
    let first = begin.elapsed();
    println!("{size} Integrations, all measured: {:.1} s", first.as_secs_f64());
    // The controller manager takes its time for so many Deployments.
    all_are(&stage, size, "ready", is_ready).await?;
    // What the creation still stirs comes to rest.
    pause(Duration::from_secs(20)).await;
    let rest = during(&operator, pause(PHASE)).await?;
    let producer = Producer::connect(&connection(&stage), &ProducerSettings::default())?;
    let moving = during(&operator, keep_moving(&stage, &producer)).await?;
    let seen_after = seen_after(&stage, &producer).await?;
    drop(operator);
    clear(&stage).await?;
    Ok(Figures { integrations: size, first, rest, moving, seen_after })
}

/// The next number of Integrations begins with none.
async fn clear(stage: &Stage) -> anyhow::Result<()> {
    stage.api::<Integration>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    stage.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("no Integration is left", PATIENCE, || async {
        let left = stage.api::<Integration>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} are", left.items.len())) }
    })
    .await
}

fn connection(stage: &Stage) -> KafkaConnection {
    KafkaConnection { bootstrap_servers: vec![stage.bootstrap.clone()], ..KafkaConnection::default() }
}

fn kafka_topic(stage: &Stage, number: usize) -> String {
    format!("{}.source-{number}", stage.namespace)
}

async fn topics(stage: &Stage) -> anyhow::Result<()> {
    let names = (0..TOPICS).map(|number| format!("source-{number}")).chain(["dead".to_owned()]);
    stream::iter(names)
        .map(|name| async move {
            let manifest = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Topic", "metadata": {"name": name},
                                  "spec": {"partitions": 1}});
            stage.api::<Topic>().create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
            stage
                .until(&name, "it is ready", |topic: &Topic| {
                    let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
                    if ready.starts_with("True") { Ok(()) } else { Err(ready) }
                })
                .await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Each group has read everything.
fn commit_all(stage: &Stage, size: usize) -> anyhow::Result<()> {
    let commit = |number: usize| -> anyhow::Result<()> {
        let group = format!("{}.flow-{number}", stage.namespace);
        let consumer: BaseConsumer =
            consumer_config(&connection(stage), &group, &ConsumerSettings::default())?.create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&kafka_topic(stage, number % TOPICS), 0, Offset::Offset(0))?;
        consumer.commit(&list, CommitMode::Sync).with_context(|| format!("commit for {group}"))
    };
    let commit = &commit;
    thread::scope(|scope| {
        let committers: Vec<_> = (0..COMMITTERS)
            .map(|first| scope.spawn(move || (first..size).step_by(COMMITTERS).try_for_each(commit)))
            .collect();
        committers.into_iter().try_for_each(|committer| committer.join().expect("it does not panic"))
    })
}

async fn integrations(stage: &Stage, size: usize) -> anyhow::Result<()> {
    stream::iter(0..size)
        .map(|number| async move {
            let manifest = json!({
                "apiVersion": "sluice.dev/v1alpha1", "kind": "Integration", "metadata": {"name": format!("flow-{number}")},
                "spec": {
                    "source": {"topic": {"name": format!("source-{}", number % TOPICS)}},
                    "sink": {"http": {"url": "http://api.example/"}},
                    "deadLetters": {"topicRef": {"name": "dead"}},
                    "replicas": 0,
                },
            });
            stage.api::<Integration>().create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn all_are(stage: &Stage, size: usize, what: &str, are: impl Fn(&Integration) -> bool) -> anyhow::Result<()> {
    until(&format!("all {size} are {what}"), PATIENCE, || async {
        pause(Duration::from_secs(1)).await;
        let all = stage.api::<Integration>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let count = all.iter().filter(|one| are(one)).count();
        if count == size { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await
}

fn is_ready(integration: &Integration) -> bool {
    let conditions = integration.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition(conditions, "Ready").starts_with("True")
}

fn lag_of(integration: &Integration) -> Option<&str> {
    integration.status.as_ref()?.lag.as_deref()
}

/// One record in each topic and second, so that the lag of every Integration grows.
async fn keep_moving(stage: &Stage, producer: &Producer) {
    let end = Instant::now() + PHASE;
    while Instant::now() < end {
        let all =
            (0..TOPICS).map(|number| producer.send(OutgoingRecord::new(kafka_topic(stage, number).as_str(), "{}")));
        futures::future::join_all(all).await;
        pause(Duration::from_secs(1)).await;
    }
}

/// How long it takes until a status tells of a record, each time in another Integration that had rested.
async fn seen_after(stage: &Stage, producer: &Producer) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..CHANGES {
        pause(Duration::from_secs(35)).await;
        let name = format!("flow-{number}");
        let get = async || stage.api::<Integration>().get(&name).await.map_err(|error| error.to_string());
        let before = lag_of(&get().await.map_err(anyhow::Error::msg)?).map(str::to_owned);
        // Enough for another number in two digits.
        for _ in 0..20 {
            producer.send(OutgoingRecord::new(kafka_topic(stage, number).as_str(), "{}")).await?;
        }
        let begin = Instant::now();
        until("the status tells of it", PATIENCE, || async {
            let now = get().await?;
            if lag_of(&now) == before.as_deref() { Err(format!("{before:?}")) } else { Ok(()) }
        })
        .await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// What must hold, with the settings as they are by default: a look every 5 s that asks for 200 groups at most, and a write for each
/// Integration every 30 s.
#[allow(clippy::cast_precision_loss, reason = "a few thousand Integrations")]
fn judge(figures: &Figures) {
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    let Figures { integrations, rest, moving, seen_after, .. } = figures;
    let minutes = PHASE.as_secs_f64() / 60.0;
    let grown = |[before, after]: &[Meter; 2], value: fn(&Meter) -> f64| (value(after) - value(before)) / minutes;
    let told = |what: &str, seen: f64, most: f64| tell(&format!("{integrations}, {what}"), seen, At::Most(most));
    told("at rest: writes to the API server per minute", grown(rest, |meter| meter.writes), 0.0);
    told("at rest: reads from it per minute", grown(rest, |meter| meter.reads), 0.0);
    told("at rest: CPU of one core in percent", grown(rest, |meter| meter.cpu) / 60.0 * 100.0, 10.0);
    told("moving: writes per minute", grown(moving, |meter| meter.writes), 2.0 * *integrations as f64);
    told("moving: reads per minute", grown(moving, |meter| meter.reads), 0.0);
    for (phase, meters) in [("at rest", rest), ("moving", moving)] {
        told(&format!("{phase}: groups asked for per minute"), grown(meters, |meter| meter.groups), 2_400.0);
        let others = grown(meters, |meter| meter.kafka - meter.groups);
        told(&format!("{phase}: other requests to Kafka per minute"), others, 30.0);
        told(&format!("{phase}: MiB of memory"), meters[1].memory / MEBIBYTE, 256.0);
    }
    let slowest = seen_after.last().map_or(0.0, Duration::as_secs_f64);
    told("seconds until a status tells of a change, at most", slowest, 60.0);
}

/// A name, and the meters before and after.
type Phase = (&'static str, fn(&Figures) -> [Meter; 2]);

fn print_table(all: &[Figures]) {
    let row = |title: &str, value: &dyn Fn(&Figures) -> String| {
        println!("| {title} | {} |", all.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    row("Integrations", &|size| size.integrations.to_string());
    row("---", &|_| "---:".to_owned());
    row("made, and all measured after", &|size| format!("{:.0} s", size.first.as_secs_f64()));
    let phases: [Phase; 2] = [("at rest", |size| size.rest), ("moving", |size| size.moving)];
    for (phase, meters) in phases {
        let minutes = PHASE.as_secs_f64() / 60.0;
        let grown = |title: &str, value: fn(&Meter) -> f64| {
            row(&format!("{phase}: {title} per minute"), &|size| {
                let [before, after] = meters(size);
                format!("{:.0}", (value(&after) - value(&before)) / minutes)
            });
        };
        grown("writes to the API server", |meter| meter.writes);
        grown("reads from it", |meter| meter.reads);
        grown("requests to Kafka", |meter| meter.kafka);
        grown("for offsets of one group among them", |meter| meter.groups);
        row(&format!("{phase}: CPU of one core"), &|size| {
            let [before, after] = meters(size);
            format!("{:.1} %", (after.cpu - before.cpu) / PHASE.as_secs_f64() * 100.0)
        });
        row(&format!("{phase}: memory"), &|size| format!("{:.0} MiB", meters(size)[1].memory / 1024.0 / 1024.0));
    }
    row("a change of lag stands in the status after, median", &|size| {
        format!("{:.1} s", size.seen_after[size.seen_after.len() / 2].as_secs_f64())
    });
    row("at most", &|size| format!("{:.1} s", size.seen_after.last().map_or(0.0, Duration::as_secs_f64)));
}
