//! Puts the parts of a worker together and runs them until SIGTERM.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use sluice_crds::{
    Guarantee, KafkaConnection, NamespacedName,
    wire::{HttpSinkConfig, KafkaSinkConfig, SinkConfig, SourceConfig, WorkerConfig},
};
use sluice_kafka::{BatchProducer, Compression, Producer, ProducerSettings, Renewed, TransactionalProducer};
use sluice_pipeline::Pipeline;
use sluice_telemetry::traces::{Program, Tracer};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    Options,
    batched::{self, Delivering},
    config,
    config::Job,
    dead_letters::{self, DeadLetters, Letters},
    engine,
    flow::Flow,
    logs,
    sink::{NotOpen, Sink},
    source,
    spans::Spans,
    status::{Area, Status, serve},
};

/// What surrounds the work.
struct Surroundings {
    status: Arc<Status>,
    shutdown: CancellationToken,
    tracer: Tracer,
}

/// How long Kafka may take to confirm a dead letter before it is written again.
const DEAD_LETTER_PATIENCE: Duration = Duration::from_secs(10);
/// How much is fetched ahead, which is also the most that a broker sends in one answer: batches take some megabytes at once; a request takes
/// one record, and what the engine has in hand lasts longer than a fetch. Kafka sends no less than one record, however large.
const BATCHES_PREFETCH_KIB: u32 = 4 * 1024;
const REQUESTS_PREFETCH_KIB: u32 = 1024;
/// How often it is looked whether the files of the Kafka connection are there.
const FILES_INTERVAL: Duration = Duration::from_secs(2);
/// The longest end, but for the last spans: the end of a rebalance is waited for for up to 12 s, draining takes up to 10 s, and Kubernetes
/// kills after 30 s.
const LONGEST_END: Duration = Duration::from_secs(25);

/// Runs a worker until SIGTERM or SIGINT, then lets what is under way come to its end. Errors: what no waiting mends, such as
/// a configuration that is none.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let job = config::read(&options.config)?;
    logs::start(options.log_format, job.config.log_level);
    let tracer = tracer(&job);
    let status = Status::new(&job).traced_by(&tracer).hanging_after(Duration::from_secs(options.silence));
    let status = Arc::new(status);
    let listener = TcpListener::bind(options.status_listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.status_listen))?;
    info!(integration = %job.config.integration, generation = job.generation, status = %listener.local_addr()?, "Worker starts");
    let server = tokio::spawn(serve(listener, Arc::clone(&status)));
    let shutdown = shutdown_on_signal()?;
    let surroundings = Surroundings { status, shutdown: shutdown.clone(), tracer: tracer.clone() };
    let worked = shutdown_bounded(&shutdown, work(&job, &options.instance, &surroundings)).await;
    tracer.end().await;
    server.abort();
    worked
}

fn tracer(job: &Job) -> Tracer {
    let attributes = [("sluice.integration", job.config.integration.to_string())];
    Tracer::from_env(Program { name: "worker", version: env!("CARGO_PKG_VERSION"), attributes: &attributes })
}

fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    Ok(shutdown)
}

/// A Kafka that does not answer must not keep the process beyond its time.
async fn shutdown_bounded(
    shutdown: &CancellationToken,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        drop(timeout(LONGEST_END, std::future::pending::<()>()).await);
    };
    tokio::select! {
        worked = work => worked,
        () = overdue => {
            error!("Ended before Kafka took note: records settled since the last commit will be delivered again");
            Ok(())
        }
    }
}

async fn work(job: &Job, instance: &str, surroundings: &Surroundings) -> anyhow::Result<()> {
    let pipeline = pipeline(&job.config)?;
    match &job.config.sink {
        SinkConfig::Http(http) => one_by_one(job, http, pipeline, surroundings).await?,
        SinkConfig::Kafka(kafka) => in_batches(job, kafka, instance, pipeline, surroundings).await?,
    }
    info!(status = ?surroundings.status.report(), "Worker ended");
    Ok(())
}

async fn one_by_one(
    job: &Job,
    http: &HttpSinkConfig,
    pipeline: Pipeline,
    Surroundings { status, shutdown, tracer }: &Surroundings,
) -> anyhow::Result<()> {
    let opened = open(Area::SinkSecrets, status, shutdown, || Sink::open(http, job, status)).await?;
    let Some(sink) = opened else { return Ok(()) };
    let opened = open(Area::Credentials, status, shutdown, || dead_letter_producer(job)).await?;
    let Some(producer) = opened else { return Ok(()) };
    let dead_letters = DeadLetters::new(job, dead_letters::Writer::Kafka(producer));
    let flow = Flow::new(job, pipeline, sink, dead_letters, Arc::clone(status));
    let flow = Arc::new(flow.traced_by(Spans::new(job, tracer.clone())));
    let source = source::start(&job.config.source, REQUESTS_PREFETCH_KIB, status)?;
    engine::run(flow, source, shutdown.clone()).await
}

async fn in_batches(
    job: &Job,
    kafka: &KafkaSinkConfig,
    instance: &str,
    pipeline: Pipeline,
    Surroundings { status, shutdown, tracer }: &Surroundings,
) -> anyhow::Result<()> {
    let opened = open(Area::Credentials, status, shutdown, || batch_writer(job, kafka, instance)).await?;
    let Some(writer) = opened else { return Ok(()) };
    let source = source::start(&job.config.source, BATCHES_PREFETCH_KIB, status)?;
    let topic = kafka.topic.as_str().into();
    let (letters, spans) = (Letters::new(job), Spans::new(job, tracer.clone()));
    let delivering = Delivering { pipeline, topic, letters, writer, status: Arc::clone(status), spans };
    batched::run(job, delivering, source, shutdown.clone()).await?;
    Ok(())
}

fn batch_writer(job: &Job, kafka: &KafkaSinkConfig, instance: &str) -> Result<batched::Writer, NotOpen> {
    let NamespacedName { namespace, name } = &job.config.integration;
    let writer = match job.config.delivery.guarantee {
        Guarantee::AtLeastOnce => {
            let connect = |connection: &KafkaConnection| BatchProducer::connect(connection, Compression::Lz4);
            Renewed::connect(&kafka.connection, connect).map(batched::Writer::AtLeastOnce)
        }
        Guarantee::ExactlyOnce => {
            let id = format!("{namespace}.{name}.{instance}");
            let connect =
                move |connection: &KafkaConnection| TransactionalProducer::connect(connection, &id, Compression::Lz4);
            Renewed::connect(&kafka.connection, connect).map(batched::Writer::ExactlyOnce)
        }
    };
    writer.map_err(|error| NotOpen::Yet(error.to_string()))
}

fn pipeline(config: &WorkerConfig) -> anyhow::Result<Pipeline> {
    match Pipeline::compile(&config.decode, &config.steps, Some(&config.sink)) {
        Ok(pipeline) => Ok(pipeline),
        Err(errors) => {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            bail!("the steps do not compile, though the operator took them: {}", errors.join("\n"))
        }
    }
}

/// Waits for what needs mounted files: those that are missing may come, for Secrets are mounted as optional. `None`: told to stop
/// before.
async fn open<T>(
    area: Area,
    status: &Status,
    shutdown: &CancellationToken,
    attempt: impl Fn() -> Result<T, NotOpen>,
) -> anyhow::Result<Option<T>> {
    loop {
        match attempt() {
            Ok(opened) => {
                status.well(area);
                return Ok(Some(opened));
            }
            Err(NotOpen::Yet(what)) => status.trouble(area, what),
            Err(NotOpen::Ever(error)) => return Err(error),
        }
        status.beat();
        if timeout(FILES_INTERVAL, shutdown.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}

fn dead_letter_producer(job: &Job) -> Result<Arc<Renewed<Producer>>, NotOpen> {
    let SourceConfig::Kafka { connection, .. } = &job.config.source;
    let settings = ProducerSettings {
        patience: DEAD_LETTER_PATIENCE,
        linger: Duration::from_millis(1),
        compression: Compression::Lz4,
        ..ProducerSettings::default()
    };
    let connect = move |connection: &KafkaConnection| Producer::connect(connection, &settings);
    Renewed::connect(connection, connect).map_err(|error| NotOpen::Yet(error.to_string()))
}
