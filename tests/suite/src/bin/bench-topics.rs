//! What many Topics cost: time until all are ready, requests to API server and Kafka, CPU and memory, while they are made, changed,
//! left alone and deleted. Beside it stands what nobody can do with less: topics made in batches of at most 100, and two writes of
//! a status for each object, without a look at anything. Each target is printed with whether it was kept.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

use std::{
    collections::{BTreeMap, HashSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
    runtime::{
        wait::await_condition,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, Target, exit};
use sluice_crds::Topic;
use sluice_kafka::NewTopic;
use sluice_suite::{
    Stage,
    meter::{Meter, during, pause},
    operator::Operator,
    world::judge_topic,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

const CLUSTER: &str = "bench-topics";
/// Requests that users have under way at the same time.
const AT_ONCE: usize = 32;
/// Topics that the least possible work makes with one request.
const BATCH: usize = 100;
const PATIENCE: Duration = Duration::from_mins(20);
/// How long everything is left alone.
const REST: Duration = Duration::from_mins(1);
/// Single changes that are timed.
const CHANGES: usize = 100;
/// Writes for the finalizer of one Topic, which the target leaves out: all have `deletionPolicy: Delete`. Events are left out of it too, but
/// there is nothing to tell, and one that is told counts as a write too many.
const FINALIZER_WRITES: f64 = 1.0;
const MIB: f64 = 1024.0 * 1024.0;

/// One thing that is done to all Topics.
struct Phase {
    took: Duration,
    meters: [Meter; 2],
}

/// One of the phases.
type PhaseOf = fn(&Figures) -> &Phase;

/// All figures of one number of Topics.
struct Figures {
    topics: usize,
    least: Duration,
    made: Phase,
    changed: Phase,
    rest: Phase,
    /// From the request to the status, in order.
    single: Vec<Duration>,
    deleted: Phase,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let mut all = Vec::new();
    let measured = measure_all(&mut all);
    Cluster::remove(CLUSTER)?;
    print_table(&all);
    measured
}

fn measure_all(all: &mut Vec<Figures>) -> anyhow::Result<()> {
    let sizes = std::env::args().skip(1).map(|size| size.parse().context("a number of Topics"));
    let mut sizes: Vec<usize> = sizes.collect::<anyhow::Result<_>>()?;
    if sizes.is_empty() {
        sizes = vec![100, 1_000, 5_000];
    }
    let target = Target::up(CLUSTER, &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(warm_up(&target))?;
    for size in sizes {
        all.push(runtime.block_on(measure(&target, size))?);
    }
    Ok(())
}

/// The first requests to API server and broker load and compile what they need: nobody is to pay for that.
async fn warm_up(target: &Target) -> anyhow::Result<()> {
    let stage = Stage::on(target.clone(), "warm").await?;
    for _ in 0..3 {
        least_possible(&stage, 2 * BATCH).await?;
    }
    Ok(())
}

async fn measure(target: &Target, size: usize) -> anyhow::Result<Figures> {
    let stage = Stage::on(target.clone(), &format!("least-{size}")).await?;
    let least = least_possible(&stage, size).await?;
    println!("{size} Topics, the least possible work: {:.1} s", least.as_secs_f64());

    let stage = Stage::on(target.clone(), &format!("topics-{size}")).await?;
    let operator = stage.start(&stage.launch_by_default("bench")).await?;
    operator.leads(PATIENCE).await?;
    let ready = async |generation| all_are(&stage, size, |topic| is_ready(topic, generation)).await;
    let made = phase(&operator, async { futures::try_join!(create(&stage, size, |_| Ok(())), ready(1)).map(drop) });
    let made = made.await?;
    println!("{size} Topics, all ready: {:.1} s", made.took.as_secs_f64());
    let changed = phase(&operator, async { futures::try_join!(change(&stage, size), ready(2)).map(drop) });
    let changed = changed.await?;
    // What the change still stirs comes to rest.
    pause(Duration::from_secs(10)).await;
    let rest = phase(&operator, async {
        pause(REST).await;
        Ok(())
    });
    let rest = rest.await?;
    let single = single_changes(&stage).await?;
    let deleted = phase(&operator, clear(&stage)).await?;
    Ok(Figures { topics: size, least, made, changed, rest, single, deleted })
}

async fn phase(operator: &Operator, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Phase> {
    let mut result = Ok(());
    let begin = Instant::now();
    let mut took = Duration::ZERO;
    let meters = during(operator, async {
        result = work.await;
        took = begin.elapsed();
    });
    let meters = meters.await?;
    result?;
    Ok(Phase { took, meters })
}

fn name(number: usize) -> String {
    format!("topic-{number}")
}

fn manifest(number: usize) -> Value {
    json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Topic", "metadata": {"name": name(number)},
           "spec": {"partitions": 1, "deletionPolicy": "Delete"}})
}

async fn create(stage: &Stage, size: usize, created: impl Fn(Topic) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let created = &created;
    stream::iter(0..size)
        .map(|number| async move {
            let topic = serde_json::from_value(manifest(number))?;
            created(stage.api::<Topic>().create(&PostParams::default(), &topic).await?)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Makes objects and topics without an operator; everything is gone afterwards.
async fn least_possible(stage: &Stage, size: usize) -> anyhow::Result<Duration> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let begin = Instant::now();
    let created = async {
        let sender = sender;
        create(stage, size, |topic| Ok(sender.send(topic)?)).await
    };
    let seen = all_are(stage, size, |topic| topic.status.as_ref().is_some_and(|status| status.partitions == Some(1)));
    futures::try_join!(created, least_work(stage, receiver), seen)?;
    let took = begin.elapsed();
    let topics: Vec<_> = (0..size).map(|number| kafka_name(stage, &name(number))).collect();
    for batch in topics.chunks(BATCH) {
        stage.kafka.delete_topics(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    clear(stage).await?;
    Ok(took)
}

/// The statuses of a batch are written while the next one is made.
async fn least_work(stage: &Stage, mut created: mpsc::UnboundedReceiver<Topic>) -> anyhow::Result<()> {
    stream::poll_fn(move |context| created.poll_recv(context))
        .ready_chunks(BATCH)
        .then(|batch| make(stage, batch))
        .map_ok(|names| stream::iter(names.into_iter().map(anyhow::Ok)))
        .try_flatten()
        .try_for_each_concurrent(AT_ONCE, |name| write_twice(stage, name))
        .await
}

async fn make(stage: &Stage, batch: Vec<Topic>) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = batch.iter().map(ResourceExt::name_any).collect();
    let new = |name: &String| NewTopic {
        name: kafka_name(stage, name),
        partitions: Some(1),
        replicas: None,
        config: BTreeMap::new(),
    };
    let answers = stage.kafka.create_topics(&names.iter().map(new).collect::<Vec<_>>()).await?;
    ensure!(answers.values().all(Result::is_ok), "{answers:?}");
    Ok(names)
}

async fn write_twice(stage: &Stage, name: String) -> anyhow::Result<()> {
    for partitions in [0, 1] {
        let patch = Patch::Merge(json!({"status": {"partitions": partitions, "observedGeneration": 1}}));
        stage.api::<Topic>().patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

fn kafka_name(stage: &Stage, name: &str) -> String {
    format!("{}.{name}", stage.namespace)
}

async fn change(stage: &Stage, size: usize) -> anyhow::Result<()> {
    let patch = &Patch::Merge(json!({"spec": {"config": {"max.message.bytes": "2000000"}}}));
    stream::iter(0..size)
        .map(|number| async move {
            stage.api::<Topic>().patch(&name(number), &PatchParams::default(), patch).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn is_ready(topic: &Topic, generation: i64) -> bool {
    topic.metadata.generation == Some(generation) && judge_topic(topic, "True").is_ok()
}

/// Waits until as many Topics are as they should be, as a watch tells.
async fn all_are(stage: &Stage, size: usize, are: impl Fn(&Topic) -> bool) -> anyhow::Result<()> {
    let mut left: HashSet<String> = (0..size).map(name).collect();
    let mut events = Box::pin(watcher(stage.api::<Topic>(), watcher::Config::default()));
    let all = async {
        while !left.is_empty() {
            if let Event::Apply(topic) | Event::InitApply(topic) =
                events.try_next().await?.context("the watch ended")?
                && are(&topic)
            {
                left.remove(&topic.name_any());
            }
        }
        Ok(())
    };
    match timeout(PATIENCE, all).await {
        Ok(result) => result,
        Err(_) => bail!("waited {PATIENCE:?} for {size} Topics; {} are missing", left.len()),
    }
}

/// Changes one Topic after the other and times each until its status tells that it is in sync.
async fn single_changes(stage: &Stage) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let bytes = (3_000_000 + number).to_string();
        let patch = Patch::Merge(json!({"spec": {"config": {"max.message.bytes": bytes}}}));
        let begin = Instant::now();
        let api = stage.api::<Topic>();
        let changed = api.patch(&name(number), &PatchParams::default(), &patch).await?;
        let generation = changed.metadata.generation.context("it has no generation")?;
        let is_ready = |topic: Option<&Topic>| topic.is_some_and(|topic| is_ready(topic, generation));
        timeout(PATIENCE, await_condition(api, &name(number), is_ready)).await??;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Deletes all, and waits until a watch has told of each that it is gone.
async fn clear(stage: &Stage) -> anyhow::Result<()> {
    let api = stage.api::<PartialObjectMeta<Topic>>();
    let mut events = Box::pin(watcher(api.clone(), watcher::Config::default()));
    let (listing, listed) = oneshot::channel();
    let gone = async {
        let (mut left, mut listing) = (HashSet::new(), Some(listing));
        loop {
            match events.try_next().await?.context("the watch ended")? {
                Event::Init => left.clear(),
                Event::InitApply(topic) => drop(left.insert(topic.name_any())),
                Event::InitDone => drop(listing.take().map(|listing| listing.send(()))),
                Event::Apply(_) => {}
                Event::Delete(topic) => drop(left.remove(&topic.name_any())),
            }
            if listing.is_none() && left.is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    let delete = async {
        listed.await?;
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    };
    futures::try_join!(delete, gone)?;
    Ok(())
}

impl Phase {
    /// How much a meter has grown.
    fn grown(&self, value: fn(&Meter) -> f64) -> f64 {
        value(&self.meters[1]) - value(&self.meters[0])
    }

    /// How much a meter has grown in a second.
    fn rate(&self, value: fn(&Meter) -> f64) -> f64 {
        self.grown(value) / self.took.as_secs_f64()
    }
}

impl Figures {
    fn count(&self) -> f64 {
        u32::try_from(self.topics).map_or(f64::NAN, f64::from)
    }

    /// How long one Topic took among all that were made.
    fn each(&self) -> f64 {
        self.made.took.as_secs_f64() / self.count()
    }

    fn single(&self, percent: usize) -> f64 {
        let index = (self.single.len() * percent / 100).min(self.single.len() - 1);
        self.single[index].as_secs_f64() * 1e3
    }

    fn peak(&self) -> f64 {
        self.deleted.meters[1].peak / MIB
    }
}

/// A table in Markdown, for one number of Topics in each column.
struct Table<'a>(&'a [Figures]);

impl Table<'_> {
    /// A row without a target.
    fn row(&self, title: &str, value: impl Fn(&Figures) -> String) {
        self.line(title, value, "", "");
    }

    /// A row with a target, which `most` gives for each number of Topics, infinity where there is none; `bound` says it.
    fn target(&self, title: &str, value: impl Fn(&Figures) -> f64, bound: &str, most: impl Fn(&Figures) -> f64) {
        let judged: Vec<_> = self.0.iter().filter(|size| most(size).is_finite()).collect();
        let missed = judged.iter().filter(|size| value(size) > most(size));
        let missed: Vec<_> = missed.map(|size| size.topics.to_string()).collect();
        let kept = match missed.as_slice() {
            // What was not measured is not judged.
            [] if judged.is_empty() => String::new(),
            [] => "yes".to_owned(),
            missed => format!("no, for {}", missed.join(", ")),
        };
        self.line(title, |size| format!("{:.2}", value(size)), bound, &kept);
    }

    fn line(&self, title: &str, value: impl Fn(&Figures) -> String, bound: &str, kept: &str) {
        let values: Vec<_> = self.0.iter().map(value).collect();
        println!("| {title} | {} | {bound} | {kept} |", values.join(" | "));
    }

    /// The number of Topics next below.
    fn before(&self, size: &Figures) -> Option<&Figures> {
        self.0.iter().filter(|other| other.topics < size.topics).max_by_key(|other| other.topics)
    }
}

fn print_table(all: &[Figures]) {
    let table = Table(all);
    table.line("Topics", |size| size.topics.to_string(), "target", "kept");
    table.line("---", |_| "---:".to_owned(), "---", "---");
    table.row("the least possible work", |size| format!("{:.1} s", size.least.as_secs_f64()));
    table.row("made, and all ready after", |size| format!("{:.1} s", size.made.took.as_secs_f64()));
    let times_least = |size: &Figures| size.made.took.as_secs_f64() / size.least.as_secs_f64();
    table.target("times the least possible", times_least, "1.25", |_| 1.25);
    let each = |size: &Figures| size.each() * 1e3;
    let bound = "1.2 times that of the number before";
    table.target("made: ms for each", each, bound, |size| {
        table.before(size).map_or(f64::INFINITY, |before| before.each() * 1e3 * 1.2)
    });
    let made = |value: fn(&Meter) -> f64| move |size: &Figures| size.made.grown(value) / size.count();
    let writes = made(|meter| meter.writes);
    table.target(
        "made: writes to the API server for each, besides the one of its finalizer",
        |size| writes(size) - FINALIZER_WRITES,
        "2",
        |_| 2.0,
    );
    table.target("made: reads from it for each", made(|meter| meter.reads), "0", |_| 0.0);
    table.target("made: requests to Kafka for each", made(|meter| meter.kafka), "0.02", |_| 0.02);
    table.row("made: CPU for each", |size| format!("{:.2} ms", made(|meter| meter.cpu)(size) * 1e3));
    let phases: [(&str, PhaseOf); 2] = [("changed", |size| &size.changed), ("deleted", |size| &size.deleted)];
    for (what, phase) in phases {
        table.row(&format!("all {what} after"), |size| format!("{:.1} s", phase(size).took.as_secs_f64()));
        table.row(&format!("{what}: writes, reads, and requests to Kafka, for each"), |size| {
            let each = |value: fn(&Meter) -> f64| format!("{:.2}", phase(size).grown(value) / size.count());
            [each(|meter| meter.writes), each(|meter| meter.reads), each(|meter| meter.kafka)].join(", ")
        });
        table.row(&format!("{what}: CPU for each"), |size| {
            format!("{:.2} ms", phase(size).grown(|meter| meter.cpu) * 1e3 / size.count())
        });
    }
    table.target("at rest: writes to the API server", |size| size.rest.grown(|meter| meter.writes), "0", |_| 0.0);
    let requests = |meter: &Meter| meter.writes + meter.reads + meter.renewals + meter.watches;
    table.target(
        "at rest: requests to it per second, lease and watches too",
        |size| size.rest.rate(requests),
        "0.5",
        |_| 0.5,
    );
    table.row("at rest: requests to Kafka in a minute", |size| format!("{:.0}", size.rest.grown(|meter| meter.kafka)));
    table.target("at rest: CPU, % of one core", |size| size.rest.rate(|meter| meter.cpu) * 100.0, "1", |_| 1.0);
    let most = |size: &Figures| 25.0 + size.count() * 5.0 / 1024.0;
    table.row("memory at rest", |size| format!("{:.0} MiB", size.rest.meters[1].memory / MIB));
    table.target("memory at most, MiB", Figures::peak, "25, and 5 KiB for each", most);
    table.row("one of them changed, and ready after, median", |size| format!("{:.0} ms", size.single(50)));
    table.target("99th percentile, ms", |size| size.single(99), "150", |_| 150.0);
}
