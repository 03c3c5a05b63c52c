//! What many Topics cost: time until all are ready, requests to API server and Kafka, CPU and memory, while they are made, changed,
//! left alone and deleted. Beside it stands what nobody can do with less: topics made in batches of 100, and two writes of a
//! status for each object, without a look at anything.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, Target, exit};
use sluice_crds::Topic;
use sluice_kafka::NewTopic;
use sluice_suite::{
    Stage,
    meter::{Meter, during, pause},
    operator::Launch,
    until,
    world::judge_topic,
};
use tokio::sync::mpsc;

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
const MIB: f64 = 1024.0 * 1024.0;

/// One thing that is done to all Topics.
struct Phase {
    took: Duration,
    meters: [Meter; 2],
}

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
    let measured = measure_all();
    Cluster::remove(CLUSTER)?;
    print_table(&measured?);
    Ok(())
}

fn measure_all() -> anyhow::Result<Vec<Figures>> {
    let sizes = std::env::args().skip(1).map(|size| size.parse().context("a number of Topics"));
    let mut sizes: Vec<usize> = sizes.collect::<anyhow::Result<_>>()?;
    if sizes.is_empty() {
        sizes = vec![100, 1_000, 5_000];
    }
    let target = Target::up(CLUSTER, &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    sizes.into_iter().map(|size| runtime.block_on(measure(&target, size))).collect()
}

async fn measure(target: &Target, size: usize) -> anyhow::Result<Figures> {
    let stage = Stage::on(target.clone(), &format!("least-{size}")).await?;
    let least = least_possible(&stage, size).await?;
    println!("{size} Topics, the least possible work: {:.1} s", least.as_secs_f64());

    let stage = Stage::on(target.clone(), &format!("topics-{size}")).await?;
    let launch = Launch { measuring: "{}", drift_interval: "1m", log: "info".to_owned(), ..stage.launch("bench") };
    let operator = stage.start(&launch).await?;
    operator.leads(PATIENCE).await?;
    let made = phase(&operator, async {
        create(&stage, size, |_| Ok(())).await?;
        all_are_ready(&stage, size).await
    });
    let made = made.await?;
    println!("{size} Topics, all ready: {:.1} s", made.took.as_secs_f64());
    let changed = phase(&operator, async {
        change(&stage, size).await?;
        all_are_ready(&stage, size).await
    });
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

async fn phase(
    operator: &sluice_suite::operator::Operator,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Phase> {
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
    futures::try_join!(created, least_work(stage, receiver))?;
    let took = begin.elapsed();
    let topics: Vec<_> = (0..size).map(|number| kafka_name(stage, &name(number))).collect();
    for batch in topics.chunks(BATCH) {
        stage.kafka.delete_topics(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    clear(stage).await?;
    Ok(took)
}

async fn least_work(stage: &Stage, mut created: mpsc::UnboundedReceiver<Topic>) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    while created.recv_many(&mut batch, BATCH).await > 0 {
        let new = |topic: &Topic| NewTopic {
            name: kafka_name(stage, topic.metadata.name.as_deref().unwrap_or_default()),
            partitions: Some(1),
            replicas: None,
            config: BTreeMap::new(),
        };
        let answers = stage.kafka.create_topics(&batch.iter().map(new).collect::<Vec<_>>()).await?;
        ensure!(answers.values().all(Result::is_ok), "{answers:?}");
        stream::iter(batch.drain(..))
            .map(|topic| async move {
                let name = topic.metadata.name.unwrap_or_default();
                for partitions in [0, 1] {
                    let status = json!({"status": {"partitions": partitions, "observedGeneration": 1}});
                    let patch = Patch::Merge(status);
                    stage.api::<Topic>().patch_status(&name, &PatchParams::default(), &patch).await?;
                }
                anyhow::Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
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

async fn all_are_ready(stage: &Stage, size: usize) -> anyhow::Result<()> {
    until(&format!("all {size} are ready"), PATIENCE, || async {
        // A look at all of them is work for the API server.
        pause(Duration::from_millis(size.try_into().unwrap_or(1_000).clamp(100, 1_000))).await;
        let all = stage.api::<Topic>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let count = all.iter().filter(|topic| judge_topic(topic, "True").is_ok()).count();
        if count == size { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await
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
        let version = changed.metadata.resource_version.context("it has no version")?;
        let only = WatchParams::default().fields(&format!("metadata.name={}", name(number)));
        let mut events = Box::pin(api.watch(&only, &version).await?);
        let is_ready = |event: &WatchEvent<Topic>| matches!(event, WatchEvent::Modified(topic) if judge_topic(topic, "True").is_ok());
        while !is_ready(&events.try_next().await?.context("the watch ended")?) {}
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

async fn clear(stage: &Stage) -> anyhow::Result<()> {
    stage.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("no Topic is left", PATIENCE, || async {
        let left = stage.api::<Topic>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} are", left.items.len())) }
    })
    .await
}

impl Phase {
    /// How much a meter has grown.
    fn grown(&self, value: fn(&Meter) -> f64) -> f64 {
        value(&self.meters[1]) - value(&self.meters[0])
    }
}

fn count(size: &Figures) -> f64 {
    u32::try_from(size.topics).map_or(f64::NAN, f64::from)
}

/// A name, and the phase.
type Named = (&'static str, fn(&Figures) -> &Phase);

fn print_table(all: &[Figures]) {
    let row = |title: &str, bound: &str, value: &dyn Fn(&Figures) -> String| {
        println!("| {title} | {} | {bound} |", all.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    row("Topics", "bound", &|size| size.topics.to_string());
    row("---", "---", &|_| "---:".to_owned());
    row("the least possible work", "", &|size| format!("{:.1} s", size.least.as_secs_f64()));
    row("made, and all ready after", "", &|size| format!("{:.1} s", size.made.took.as_secs_f64()));
    row("times the least possible", "1.25", &|size| {
        format!("{:.2}", size.made.took.as_secs_f64() / size.least.as_secs_f64())
    });
    row("the same for one Topic", "1.2 times that of a tenth", &|size| {
        format!("{:.2} ms", size.made.took.as_secs_f64() * 1e3 / count(size))
    });
    let phases: [Named; 3] =
        [("made", |size| &size.made), ("changed", |size| &size.changed), ("deleted", |size| &size.deleted)];
    for (what, phase) in phases {
        if what != "made" {
            row(&format!("all {what} after"), "", &|size| format!("{:.1} s", phase(size).took.as_secs_f64()));
        }
        let per_topic = |title: &str, bound: &str, value: fn(&Meter) -> f64| {
            row(&format!("{what}: {title} for each"), bound, &|size| {
                format!("{:.2}", phase(size).grown(value) / count(size))
            });
        };
        let bounds = if what == "made" { ["3, with the finalizer", "0"] } else { ["", ""] };
        per_topic("writes to the API server", bounds[0], |meter| meter.writes);
        per_topic("reads from it", bounds[1], |meter| meter.reads);
        per_topic("requests to Kafka", if what == "made" { "0.02" } else { "" }, |meter| meter.kafka);
        row(&format!("{what}: CPU for each"), "", &|size| {
            format!("{:.2} ms", phase(size).grown(|meter| meter.cpu) * 1e3 / count(size))
        });
    }
    row("at rest: writes to the API server", "0", &|size| format!("{:.0}", size.rest.grown(|meter| meter.writes)));
    row("at rest: requests to it per second", "0.5", &|size| {
        format!("{:.2}", size.rest.grown(|meter| meter.writes + meter.reads) / size.rest.took.as_secs_f64())
    });
    row("at rest: CPU of one core", "1 %", &|size| {
        format!("{:.2} %", size.rest.grown(|meter| meter.cpu) / size.rest.took.as_secs_f64() * 100.0)
    });
    row("memory", "25 MiB and 5 KiB for each", &|size| {
        format!("{:.0} MiB of {:.0}", size.rest.meters[1].memory / MIB, 25.0 + count(size) * 5.0 / 1024.0)
    });
    let single = |share: usize| {
        move |size: &Figures| {
            let index = (size.single.len() * share / 100).min(size.single.len() - 1);
            format!("{} ms", size.single[index].as_millis())
        }
    };
    row("one of them changed, and ready after, median", "", &single(50));
    row("99th percentile", "150 ms", &single(99));
}
