//! What it costs to keep the numbers in many statuses true: writes to the API server, requests to Kafka, CPU and memory, at rest and
//! while records come, and how long it takes until a status tells of a change. Without pods: lag is measured at the broker.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

use std::{
    collections::HashMap,
    pin::pin,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{
    StreamExt, TryStreamExt,
    future::{join, join_all, try_join_all},
    stream,
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
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
    operator::Operator,
    until,
    verdict::{At, tell},
    world::condition,
};
use tokio::time::timeout_at;

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
/// Changes whose way to the statuses of a topic's Integrations is timed.
const CHANGES: usize = 5;
/// How long a status is waited for that does not tell of a change in time: that it is late is a figure too.
const LATE: Duration = Duration::from_secs(30);
/// Looks within which all groups are asked that do not move.
const ROUND: usize = 60;
/// At least so many of these are asked in each look.
const LEAST: usize = 5;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// All figures of one number of Integrations.
struct Figures {
    integrations: usize,
    first: Duration,
    rest: Phase,
    moving: Phase,
    /// How long it took in that phase until statuses told of the first records, of those that did; the longest last.
    moving_seen_after: Vec<Duration>,
    /// How many statuses were to tell of a change while most others were still.
    changed: usize,
    /// How long it took until they did, the longest last.
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

    /// How often in a minute something can have happened that happens so often in each of these intervals: the phase may have seen the
    /// ends of one more than fit into it.
    fn most_per_minute(&self, often: f64, interval: Duration) -> f64 {
        often * 60.0 * (1.0 / interval.as_secs_f64() + 1.0 / self.time.as_secs_f64())
    }

    /// At its end, in bytes.
    fn memory(&self) -> f64 {
        self.meters[1].memory
    }

    /// The most until its end, in bytes.
    fn peak(&self) -> f64 {
        self.meters[1].peak
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
    measured
}

/// The figures of each number are told as soon as there are any: a later one may fail.
fn measure_all() -> anyhow::Result<()> {
    let sizes = std::env::args().skip(1).map(|size| size.parse().context("a number of Integrations"));
    let mut sizes: Vec<usize> = sizes.collect::<anyhow::Result<_>>()?;
    if sizes.is_empty() {
        sizes = vec![1_000, 5_000];
    }
    let target = Target::up(CLUSTER, &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let stage = runtime.block_on(Stage::on(target.clone(), &format!("status-{size}")))?;
        let figures = runtime.block_on(measure(&stage, *size))?;
        judge(&figures);
        all.push(figures);
        print_table(&all);
        if number + 1 < sizes.len() {
            runtime.block_on(clear(&stage))?;
        }
    }
    Ok(())
}

async fn measure(stage: &Stage, size: usize) -> anyhow::Result<Figures> {
    let operator = stage.start(&stage.launch_by_default("bench")).await?;
    operator.leads(PATIENCE).await?;
    topics(stage).await?;
    commit_all(stage, size)?;
    let begin = Instant::now();
    integrations(stage, size).await?;
    println!("{size} Integrations made: {:.1} s", begin.elapsed().as_secs_f64());
    all_are(stage, size, "measured", |integration| lag_of(integration) == Some("0")).await?;
    let first = begin.elapsed();
    println!("all of them measured: {:.1} s", first.as_secs_f64());
    // The controller manager takes its time for so many Deployments.
    all_are(stage, size, "ready", is_ready).await?;
    println!("all of them ready: {:.1} s", begin.elapsed().as_secs_f64());
    // What the creation still stirs comes to rest.
    pause(Duration::from_secs(20)).await;
    let rest = Phase::of(&operator, pause(PHASE)).await?;
    let producer = Producer::connect(&connection(stage), &ProducerSettings::default())?;
    let (moving, moving_seen_after) = moving(stage, &operator, &producer, size).await?;
    println!(
        "records came for {:.0} s, and {} statuses told of it",
        moving.time.as_secs_f64(),
        moving_seen_after.len()
    );
    // Whoever moved at the end has another turn: then they only wait.
    pause(told_within(size, 0)).await;
    let (mut changed, mut seen_after) = (0, Vec::new());
    for topic in 0..CHANGES.min(size) {
        let (readers, seen) = seen_after_a_change(stage, &producer, size, topic).await?;
        changed += readers;
        seen_after.extend(seen);
    }
    seen_after.sort_unstable();
    Ok(Figures { integrations: size, first, rest, moving, moving_seen_after, changed, seen_after })
}

/// The next number of Integrations begins with none.
async fn clear(stage: &Stage) -> anyhow::Result<()> {
    stage.api::<Integration>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    stage.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    // What they own is collected after them.
    until("nothing is left of the Integrations", PATIENCE, || async {
        pause(Duration::from_secs(1)).await;
        let all = ListParams::default();
        let integrations = stage.api::<Integration>().list_metadata(&all).await.map_err(|error| error.to_string())?;
        let deployments = stage.api::<Deployment>().list_metadata(&all).await.map_err(|error| error.to_string())?;
        let left = [integrations.items.len(), deployments.items.len()];
        if left == [0, 0] { Ok(()) } else { Err(format!("{left:?} Integrations and Deployments")) }
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

/// Waits until all are so, or have been since this began.
async fn all_are(stage: &Stage, size: usize, what: &str, are: impl Fn(&Integration) -> bool) -> anyhow::Result<()> {
    let count = seen(stage, size, PATIENCE, are).await?.len();
    anyhow::ensure!(count == size, "waited {PATIENCE:?} until all {size} are {what}: {count} are");
    Ok(())
}

/// Watches until so many Integrations are seen to be as `are` says, for that time at most. Gives when each of them was so first, in order.
/// A watch costs the API server, which shares this machine with the operator, far less than thousands of looks.
async fn seen(
    stage: &Stage,
    count: usize,
    patience: Duration,
    are: impl Fn(&Integration) -> bool,
) -> anyhow::Result<Vec<Instant>> {
    let end = tokio::time::Instant::now() + patience;
    let changes = watcher(stage.api::<Integration>(), watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = pin!(changes);
    let mut moments = HashMap::new();
    while moments.len() < count {
        let Ok(change) = timeout_at(end, changes.next()).await else { break };
        match change.context("a watch never ends")? {
            Ok(integration) if are(&integration) => {
                moments.entry(integration.name_any()).or_insert_with(Instant::now);
            }
            Ok(_) => {}
            // It begins anew by itself, with all there are.
            Err(error) => println!("The watch was interrupted: {error}"),
        }
    }
    let mut moments: Vec<Instant> = moments.into_values().collect();
    moments.sort_unstable();
    Ok(moments)
}

/// For how long after that moment each was awaited.
fn since(begin: Instant, moments: Vec<Instant>) -> Vec<Duration> {
    moments.into_iter().map(|moment| moment.saturating_duration_since(begin)).collect()
}

fn is_ready(integration: &Integration) -> bool {
    let conditions = integration.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition(conditions, "Ready").starts_with("True")
}

fn lag_of(integration: &Integration) -> Option<&str> {
    integration.status.as_ref()?.lag.as_deref()
}

/// Whether a status tells of records that wait.
fn tells_of_records(integration: &Integration) -> bool {
    lag_of(integration).is_some_and(|lag| lag.starts_with(|first: char| first.is_ascii_digit()) && lag != "0")
}

/// Records come until each Integration has had its turn and its status was to tell of it, and a while longer to see who is late. Gives how
/// long it took, of those that told.
async fn moving(
    stage: &Stage,
    operator: &Operator,
    producer: &Producer,
    size: usize,
) -> anyhow::Result<(Phase, Vec<Duration>)> {
    let time = PHASE.max(told_within(size, 0) + LATE);
    let (begin, mut told) = (Instant::now(), None);
    let work = async {
        told = Some(join(seen(stage, size, time, tells_of_records), keep_moving(stage, producer, time)).await.0);
    };
    let phase = Phase::of(operator, work).await?;
    let told = told.context("the phase has ended")??;
    Ok((phase, since(begin, told)))
}

/// One record in each topic and second, so that the lag of every Integration grows.
async fn keep_moving(stage: &Stage, producer: &Producer, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        send(stage, producer, 0..TOPICS, 1).await;
        pause(Duration::from_secs(1)).await;
    }
}

/// So many records to each of these topics.
async fn send(stage: &Stage, producer: &Producer, topics: impl Iterator<Item = usize>, records: usize) {
    let numbers = topics.flat_map(|topic| std::iter::repeat_n(topic, records));
    let all = numbers.map(|topic| producer.send(OutgoingRecord::new(kafka_topic(stage, topic).as_str(), "{}")));
    let lost = join_all(all).await.into_iter().find_map(Result::err);
    if let Some(error) = lost {
        println!("A record did not get to Kafka: {error}");
    }
}

/// How many Integrations read a topic, and how long it takes until their statuses tell of records in it, while the groups of all others have
/// records that wait and nothing that moves.
async fn seen_after_a_change(
    stage: &Stage,
    producer: &Producer,
    size: usize,
    topic: usize,
) -> anyhow::Result<(usize, Vec<Duration>)> {
    let integrations = stage.api::<Integration>();
    let names: Vec<String> = (topic..size).step_by(TOPICS).map(|number| format!("flow-{number}")).collect();
    let before = try_join_all(names.iter().map(|name| integrations.get(name))).await?;
    let before: HashMap<String, Option<String>> =
        before.iter().map(|one| (one.name_any(), lag_of(one).map(str::to_owned))).collect();
    let tells = |now: &Integration| {
        before.get(&now.name_any()).is_some_and(|before| tells_of_records(now) && lag_of(now) != before.as_deref())
    };
    // The watch begins, and no status was written so lately that the next write had to wait for it.
    let Measuring { interval, write_every, .. } = Measuring::default();
    let lead = interval.get() + write_every.get();
    let patience = lead + told_within(names.len(), size - names.len()) + LATE;
    let mut sent = None;
    let change = async {
        pause(lead).await;
        sent = Some(Instant::now());
        // Enough for another number in two digits.
        send(stage, producer, std::iter::once(topic), 20).await;
    };
    let (told, ()) = join(seen(stage, names.len(), patience, tells), change).await;
    Ok((names.len(), since(sent.context("records were sent")?, told?)))
}

/// What must hold, with the settings as they are by default: a look every 5 s that asks for 200 groups at most, and a write for each
/// Integration every 30 s.
#[allow(clippy::cast_precision_loss, reason = "a few thousand Integrations")]
fn judge(figures: &Figures) {
    let Figures { integrations, rest, moving, moving_seen_after, changed, seen_after, .. } = figures;
    let Measuring { interval, groups, write_every } = Measuring::default();
    let told = |what: &str, seen: f64, most: f64| tell(&format!("{integrations}, {what}"), seen, At::Most(most));
    told("at rest: writes to the API server per minute", rest.per_minute(|meter| meter.writes), 0.0);
    told("at rest: reads from it per minute", rest.per_minute(|meter| meter.reads), 0.0);
    told("at rest: CPU of one core in percent", rest.cpu(), 10.0);
    let most = moving.most_per_minute(*integrations as f64, write_every.get());
    told("moving: writes per minute", moving.per_minute(|meter| meter.writes), most);
    told("moving: reads per minute", moving.per_minute(|meter| meter.reads), 0.0);
    for (name, phase) in [("at rest", rest), ("moving", moving)] {
        let most = phase.most_per_minute(groups.into(), interval.get());
        told(&format!("{name}: groups asked for per minute"), phase.per_minute(|meter| meter.groups), most);
        let others = phase.per_minute(|meter| meter.kafka - meter.groups - meter.visits);
        told(&format!("{name}: other requests to Kafka per minute, without visits to groups"), others, 30.0);
        told(&format!("{name}: MiB of memory"), phase.memory() / MEBIBYTE, 256.0);
    }
    let all_told = |what: &str, told: &[Duration], of: usize| {
        tell(&format!("{integrations}, {what}"), told.len() as f64, At::Least(of as f64));
    };
    let slowest = |times: &[Duration]| times.last().map_or(f64::NAN, Duration::as_secs_f64);
    all_told("moving: statuses that told of records", moving_seen_after, *integrations);
    let most = told_within(*integrations, 0).as_secs_f64();
    told("moving: seconds until a status tells of the first records, at most", slowest(moving_seen_after), most);
    all_told("statuses that told of a change beside others that wait", seen_after, *changed);
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
        row(&format!("{name}: memory"), &|size| format!("{:.0} MiB", phase(size).memory() / MEBIBYTE));
        row(&format!("{name}: the most memory until then"), &|size| {
            format!("{:.0} MiB", phase(size).peak() / MEBIBYTE)
        });
    }
    let seconds = |time: Option<&Duration>| {
        time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
    };
    let times = |title: &str, times: fn(&Figures) -> &[Duration], of: fn(&Figures) -> usize| {
        row(&format!("{title}, median"), &|size| seconds(times(size).get(times(size).len() / 2)));
        row(&format!("{title}, at most"), &|size| seconds(times(size).last()));
        row("of so many statuses", &|size| format!("{} of {}", times(size).len(), of(size)));
    };
    times(
        "moving: the first records stand in the status after",
        |size| &size.moving_seen_after,
        |size| size.integrations,
    );
    times(
        "a change of lag beside others that wait stands in the status after",
        |size| &size.seen_after,
        |size| size.changed,
    );
}
