//! From the configuration to the last answer: puts the parts together, and takes them apart without failing a request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use sluice_crds::wire::ending::{LAST_LOOKS, LAST_WRITES, longest_request};
use sluice_telemetry::traces::{Program, Tracer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    Options, config, controls,
    process::Process,
    receive::Receiver,
    server::{Ending, serve},
    status,
};

/// Serves until SIGTERM or SIGINT, and a second one cuts the wait short. Errors are such that a person must act: the
/// configuration is wrong, or an address is taken.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let endpoint = Arc::new(config::read(&options.config)?);
    let controls = controls::watch(&options.controls)?;
    let signals = Signals::new().context("cannot listen for signals")?;
    let listener = bind(options.listen).await?;
    let status_listener = bind(options.status_listen).await?;
    info!(webhook = %endpoint.webhook, topic = endpoint.topic, generation = endpoint.generation, "Receiver started");

    let attributes = [("sluice.webhook", endpoint.webhook.to_string())];
    let tracer =
        Tracer::from_env(Program { name: "receiver", version: env!("CARGO_PKG_VERSION"), attributes: &attributes });
    let last_requests = longest_request(endpoint.patience);
    let process = Process::of_one(tracer.clone());
    let receiver = Arc::new(Receiver::new(&process, endpoint, controls));
    let ending = Ending::default();
    let status_ending = Ending::default();
    let of_status = status::router(&process, &receiver, &ending);
    let status = tokio::spawn(serve(status_listener, of_status, status_ending.clone(), LAST_LOOKS));
    let ended = serve(listener, receiver.router(), ending.clone(), last_requests);
    let ((), ()) = tokio::join!(ended, end(signals, &ending, options.drain_delay.get()));

    let producer = receiver.link.borrow().producer.clone();
    if let Some(producer) = producer
        && !producer.flush(LAST_WRITES).await
    {
        warn!("Kafka has not confirmed all events; their senders were not told that they are safe");
    }
    tracer.end().await;
    status_ending.begun.cancel();
    status.await.context("the status endpoints failed")?;
    info!("Receiver ended");
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
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
