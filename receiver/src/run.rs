//! From the configuration to the last answer: puts the parts together, and takes them apart without failing a request.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use futures::future::join_all;
use sluice_crds::wire::ending::{LAST_LOOKS, LAST_WRITES, LONGEST_PATIENCE, longest_request};
use sluice_telemetry::traces::{Program, Tracer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use crate::{
    Options, config, controls,
    many::Many,
    process::Process,
    receive::Receiver,
    server::{self, Ending, Endpoints, serve},
    status,
};

/// Serves until SIGTERM or SIGINT, and a second one cuts the wait short. Errors are such that a person must act: the
/// configuration is wrong, or an address is taken.
pub async fn run(options: Options) -> anyhow::Result<()> {
    match &options.webhooks {
        None => of_one(&options).await,
        Some(folder) => of_many(&options, folder).await,
    }
}

async fn of_one(options: &Options) -> anyhow::Result<()> {
    let endpoint = Arc::new(config::read(&options.config)?);
    let controls = controls::watch(&options.controls)?;
    let doors = Doors::open(options)?;
    info!(webhook = %endpoint.webhook, topic = endpoint.topic, generation = endpoint.generation, "Receiver started");

    let tracer = tracer(&[("sluice.webhook", endpoint.webhook.to_string())]);
    let last_requests = longest_request(endpoint.patience);
    let process = Process::of_one(tracer);
    let receiver = Arc::new(Receiver::new(&process, endpoint, controls));
    let ending = Ending::default();
    let of_status = status::router(&process, &receiver, &ending);
    doors.serve(&process, Served { endpoints: receiver, status: of_status, ending }, last_requests).await
}

async fn of_many(options: &Options, folder: &Path) -> anyhow::Result<()> {
    let controls = controls::watch(&options.controls)?;
    let doors = Doors::open(options)?;
    let process = Process::of_many(tracer(&[]));
    let many = Many::watch(process, folder.to_owned(), controls).await?;
    info!("Receiver of many Webhooks started");
    let ending = Ending::default();
    let of_status = status::many::router(&many, &ending);
    let served = Served { endpoints: Arc::clone(&many), status: of_status, ending };
    doors.serve(many.process(), served, longest_request(LONGEST_PATIENCE)).await
}

fn tracer(attributes: &[(&'static str, String)]) -> Tracer {
    Tracer::from_env(Program { name: "receiver", version: env!("CARGO_PKG_VERSION"), attributes })
}

/// What is served, until when.
struct Served<E> {
    endpoints: E,
    status: Router,
    ending: Ending,
}

/// Where requests come in, and when that ends.
struct Doors {
    listener: TcpListener,
    status_listener: TcpListener,
    signals: Signals,
    drain_delay: Duration,
}

impl Doors {
    fn open(options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::new().context("cannot listen for signals")?,
            listener: bind(options.listen)?,
            status_listener: bind(options.status_listen)?,
            drain_delay: options.drain_delay.get(),
        })
    }

    /// Serves until a signal comes, and the last request has its answer or that time has passed; the status until all is done.
    async fn serve(
        self,
        process: &Process,
        served: Served<impl Endpoints>,
        last_requests: Duration,
    ) -> anyhow::Result<()> {
        let Self { listener, status_listener, signals, drain_delay } = self;
        let Served { endpoints, status, ending } = served;
        let status_ending = Ending::default();
        let status = tokio::spawn(serve(status_listener, status, status_ending.clone(), LAST_LOOKS));
        let ended = serve(listener, endpoints, ending.clone(), last_requests);
        let ((), ()) = tokio::join!(ended, end(signals, &ending, drain_delay));

        end_writes(process).await;
        process.tracer.end().await;
        status_ending.begun.cancel();
        status.await.context("the status endpoints failed")?;
        info!("Receiver ended");
        Ok(())
    }
}

/// Waits for what senders no longer wait for: Kafka confirms it, and Redis is told, so that no other receiver writes it again.
async fn end_writes(process: &Process) {
    let deadline = Instant::now() + LAST_WRITES;
    let producers = process.links.producers();
    let flushed = join_all(producers.iter().map(|producer| producer.flush(LAST_WRITES))).await;
    process.late_writes.close();
    let noted = timeout_at(deadline, process.late_writes.wait()).await;
    if flushed.contains(&false) {
        warn!("Kafka has not confirmed all events; their senders were not told that they are safe");
    } else if noted.is_err() {
        warn!(
            "It is not noted of all events that Kafka has confirmed them; those that are sent again may be written twice"
        );
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    server::listen(address).with_context(|| format!("cannot listen on {address}"))
}

/// Waits for a signal, then lets the gateways look elsewhere before the first connection is refused.
async fn end(mut signals: Signals, ending: &Ending, delay: Duration) {
    signals.next().await;
    info!("Ending: no longer ready, requests are taken for another {delay:?}");
    ending.announced.cancel();
    if timeout(delay, signals.next()).await.is_ok() {
        info!("Second signal: ending at once");
    }
    ending.begun.cancel();
}

/// The signals that end the receiver.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
