//! Puts the operator together and runs it until SIGTERM or SIGINT.

use std::sync::Arc;

use anyhow::Context as _;
use futures::{Stream, stream};
use kube::{Client, runtime::reflector::ObjectRef};
use sluice_crds::{Integration, Settings, Topic, Webhook};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch as channel},
};
use tracing::info;

use crate::{
    arguments::Arguments, clusters::Clusters, context::Context, controller, health, measure, measure::Measurements,
    metrics::Metrics, topic, topic::Sightings, watch,
};

/// Runs until SIGTERM or SIGINT; passes that have begun are finished. Errors: what keeps it from starting.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = read(&arguments)?;
    let client = Client::try_default().await.context("cannot reach a Kubernetes cluster")?;
    let context = Arc::new(Context {
        client: client.clone(),
        clusters: Clusters::new(&settings),
        settings,
        measurements: Measurements::default(),
        sightings: Sightings::default(),
        metrics: Metrics::default(),
    });
    let stop = stop_signal()?;

    let topics = watch::controller::<Topic>(&client);
    let webhooks = watch::controller::<Webhook>(&client);
    let integrations = watch::controller::<Integration>(&client);
    let ready = [&topics.listed, &webhooks.listed, &integrations.listed].map(Arc::clone);
    let integration_store = integrations.store.clone();
    let topic_store = topics.store.clone();
    let (changed, measured) = mpsc::channel(64);
    let (woken, drifted) = mpsc::channel(64);
    let topics = topics.controller.reconcile_on(received(drifted));
    let webhooks = watch::of_webhooks(webhooks, &client);
    let integrations = watch::of_integrations(integrations, &client).reconcile_on(received(measured));

    let exists = move |name: &sluice_crds::NamespacedName| {
        integration_store.get(&ObjectRef::new(&name.name).within(&name.namespace)).is_some()
    };
    tokio::spawn(measure::run(Arc::clone(&context), exists, changed));
    let drift_context = Arc::clone(&context);
    tokio::spawn(async move { topic::follow_clusters(&drift_context, &topic_store, &woken).await });

    info!(clusters = context.settings.clusters.len(), "Operator started");
    let (served, (), (), ()) = futures::join!(
        health::serve(arguments.status_listen, Arc::clone(&context), ready, stopped(stop.clone())),
        controller::run(topics, Arc::clone(&context), stopped(stop.clone())),
        controller::run(webhooks, Arc::clone(&context), stopped(stop.clone())),
        controller::run(integrations, context, stopped(stop)),
    );
    info!("Operator stopped");
    served
}

/// What is sent through a channel, as a stream.
fn received<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

fn read(arguments: &Arguments) -> anyhow::Result<Settings> {
    let path = arguments.config.display();
    let text =
        std::fs::read_to_string(&arguments.config).with_context(|| format!("cannot read the configuration {path}"))?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("the configuration {path} is not valid: {error}"))
}

/// Becomes true at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<channel::Receiver<bool>> {
    let (send, receive) = channel::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        futures::future::select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
        info!("Asked to stop; passes that have begun are finished");
        let _ = send.send(true);
    });
    Ok(receive)
}

async fn stopped(mut stop: channel::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
