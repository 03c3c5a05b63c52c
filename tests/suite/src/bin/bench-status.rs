//! What it costs to keep the numbers in many statuses true: writes to the API server, requests to Kafka, CPU and memory, at rest and
//! while records come, and how long it takes until a status tells of a change. Without pods: lag is measured at the broker.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{
    StreamExt, TryStreamExt,
    future::{join, try_join_all},
    stream,
};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use sluice_cluster::{Cluster, Part, Target, exit};
use sluice_crds::{Integration, KafkaConnection, Measuring, Topic};
use sluice_kafka::{
    OutgoingRecord, Producer, ProducerSettings,
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerSettings, Offset, TopicPartitionList, consumer_config,
    },
};
use sluice_suite::{
    Stage,
    meter::{Meter, during, pause},
    operator::{Launch, Operator},
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
/// A phase of rest; one of moving records lasts at least as long.
const PHASE: Duration = Duration::from_mins(1);
/// Changes whose way to the status is timed.
const CHANGES: usize = 5;
/// Looks within which all groups are asked that do not move.
const ROUND: usize = 60;
/// At least so many of these are asked in each look.
const LEAST: usize = 5;

/// All figures of one number of Integrations.
struct Figures {
    integrations: usize,
    first: Duration,
    rest: Phase,
    moving: Phase,
    /// How many statuses told at the end of that phase that records had come.
    moved: usize,
    /// How long it took in that phase until statuses told of the first records, the longest last.
    moving_seen_after: Vec<Duration>,
    /// How long it took until they told of a change where most were still.
    seen_after: Vec<Duration>,
}

/// What the operator did for some time.
struct Phase {
    meters: [Meter; 2],
    time: Duration,
}

impl Phase {
    async fn of(operator: &Operator, work: impl Future<Output = ()>) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let meters = during(operator, work).await?;
        Ok(Self { meters, time: begin.elapsed() })
    }

    fn per_minute(&self, value: fn(&Meter) -> f64) -> f64 {
        let [before, after] = &self.meters;
        (value(after) - value(before)) / self.time.as_secs_f64() * 60.0
    }

    /// In percent of one core.
    fn cpu(&self) -> f64 {
        self.per_minute(|meter| meter.cpu) / 60.0 * 100.0
    }

    /// At its end, in bytes.
    fn memory(&self) -> f64 {
        self.meters[1].memory
    }
}

/// How long it may take until a status tells of a change, where so many groups move and so many others do not: a look to come, a turn of
/// all that move, a look at what is to be written, and the pause between two writes. As docs/integrations.md has it.
fn told_within(moving: usize, still: usize) -> Duration {
    let Measuring { interval, groups, write_every } = Measuring::default();
    let groups = usize::from(groups);
    let share = still.div_ceil(ROUND).max(LEAST).min(groups / 2).min(still);
    let looks = 2 + moving.div_ceil(groups - share);
    interval.get() * u32::try_from(looks).expect("a few looks") + write_every.get()
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
    let rest = Phase::of(&operator, pause(PHASE)).await?;
    let producer = Producer::connect(&connection(&stage), &ProducerSettings::default())?;
    // Each of them has a turn, and its status tells of it.
    let time = PHASE.max(told_within(size, 0));
    let mut seen = None;
    let moving = async {
        let (seen_after, ()) = join(moving_seen_after(&stage, size), keep_moving(&stage, &producer, time)).await;
        seen = Some(seen_after);
    };
    let moving = Phase::of(&operator, moving).await?;
    let moving_seen_after = seen.context("the phase has ended")??;
    let moved = count(&stage, |integration| lag_of(integration).is_some_and(|lag| lag != "0")).await?;
    // Whoever moved at the end has another turn: then they only wait.
    pause(told_within(size, 0)).await;
    let seen_after = seen_after(&stage, &producer).await?;
    drop(operator);
    clear(&stage).await?;
    Ok(Figures { integrations: size, first, rest, moving, moved, moving_seen_after, seen_after })
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
        let count = count(stage, &are).await.map_err(|error| error.to_string())?;
        if count == size { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await
}

async fn count(stage: &Stage, are: impl Fn(&Integration) -> bool) -> anyhow::Result<usize> {
    let all = stage.api::<Integration>().list(&ListParams::default()).await?;
    Ok(all.iter().filter(|one| are(one)).count())
}

fn is_ready(integration: &Integration) -> bool {
    let conditions = integration.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition(conditions, "Ready").starts_with("True")
}

fn lag_of(integration: &Integration) -> Option<&str> {
    integration.status.as_ref()?.lag.as_deref()
}

/// One record in each topic and second, so that the lag of every Integration grows.
async fn keep_moving(stage: &Stage, producer: &Producer, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let all =
            (0..TOPICS).map(|number| producer.send(OutgoingRecord::new(kafka_topic(stage, number).as_str(), "{}")));
        futures::future::join_all(all).await;
        pause(Duration::from_secs(1)).await;
    }
}

/// How long it takes until statuses tell of the first records, while those of all others come to be told as well.
async fn moving_seen_after(stage: &Stage, size: usize) -> anyhow::Result<Vec<Duration>> {
    let begin = Instant::now();
    let seen_after = |number: usize| async move {
        let name = format!("flow-{}", number * size / CHANGES);
        until("the status tells of the first records", PATIENCE, || async {
            let now = stage.api::<Integration>().get(&name).await.map_err(|error| error.to_string())?;
            if lag_of(&now) == Some("0") { Err("it does not".to_owned()) } else { Ok(()) }
        })
        .await?;
        anyhow::Ok(begin.elapsed())
    };
    let mut times = try_join_all((0..CHANGES).map(seen_after)).await?;
    times.sort_unstable();
    Ok(times)
}

/// How long it takes until a status tells of a record, each time in another topic, while the groups of all others have records that wait
/// and nothing that moves.
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
    let Figures { integrations, rest, moving, moved, moving_seen_after, seen_after, .. } = figures;
    let told = |what: &str, seen: f64, most: f64| tell(&format!("{integrations}, {what}"), seen, At::Most(most));
    told("at rest: writes to the API server per minute", rest.per_minute(|meter| meter.writes), 0.0);
    told("at rest: reads from it per minute", rest.per_minute(|meter| meter.reads), 0.0);
    told("at rest: CPU of one core in percent", rest.cpu(), 10.0);
    told("moving: writes per minute", moving.per_minute(|meter| meter.writes), 2.0 * *integrations as f64);
    told("moving: reads per minute", moving.per_minute(|meter| meter.reads), 0.0);
    for (name, phase) in [("at rest", rest), ("moving", moving)] {
        told(&format!("{name}: groups asked for per minute"), phase.per_minute(|meter| meter.groups), 2_400.0);
        let others = phase.per_minute(|meter| meter.kafka - meter.groups - meter.visits);
        told(&format!("{name}: other requests to Kafka per minute, without visits to groups"), others, 30.0);
        told(&format!("{name}: MiB of memory"), phase.memory() / MEBIBYTE, 256.0);
    }
    let what = format!("{integrations}, moving: statuses that told of it at the end");
    tell(&what, *moved as f64, At::Least(*integrations as f64));
    let slowest = |times: &[Duration]| times.last().map_or(0.0, Duration::as_secs_f64);
    let most = told_within(*integrations, 0).as_secs_f64();
    told("moving: seconds until a status tells of the first records, at most", slowest(moving_seen_after), most);
    // All Integrations of one topic.
    let moving = integrations.div_ceil(TOPICS);
    let most = told_within(moving, integrations - moving).as_secs_f64();
    told("seconds until a status tells of a change beside others that wait, at most", slowest(seen_after), most);
}

/// A phase and its name.
type Named = (&'static str, fn(&Figures) -> &Phase);

fn print_table(all: &[Figures]) {
    let row = |title: &str, value: &dyn Fn(&Figures) -> String| {
        println!("| {title} | {} |", all.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    row("Integrations", &|size| size.integrations.to_string());
    row("---", &|_| "---:".to_owned());
    row("made, and all measured after", &|size| format!("{:.0} s", size.first.as_secs_f64()));
    let phases: [Named; 2] = [("at rest", |size| &size.rest), ("moving", |size| &size.moving)];
    for (name, phase) in phases {
        let grown = |title: &str, value: fn(&Meter) -> f64| {
            row(&format!("{name}: {title} per minute"), &|size| format!("{:.0}", phase(size).per_minute(value)));
        };
        row(&format!("{name} for"), &|size| format!("{:.0} s", phase(size).time.as_secs_f64()));
        grown("writes to the API server", |meter| meter.writes);
        grown("reads from it", |meter| meter.reads);
        grown("requests to Kafka", |meter| meter.kafka);
        grown("for offsets of one group among them", |meter| meter.groups);
        grown("visits to groups without workers among them", |meter| meter.visits);
        row(&format!("{name}: CPU of one core"), &|size| format!("{:.1} %", phase(size).cpu()));
        row(&format!("{name}: memory"), &|size| format!("{:.0} MiB", phase(size).memory() / 1024.0 / 1024.0));
    }
    let seconds = |time: Option<&Duration>| format!("{:.1} s", time.map_or(0.0, Duration::as_secs_f64));
    row("moving: the first records stand in the status after, at most", &|size| seconds(size.moving_seen_after.last()));
    row("a change of lag beside others that wait stands in the status after, median", &|size| {
        seconds(size.seen_after.get(size.seen_after.len() / 2))
    });
    row("at most", &|size| seconds(size.seen_after.last()));
}
