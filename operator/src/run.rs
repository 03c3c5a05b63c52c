//! Puts the operator together and runs it until SIGTERM or SIGINT.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use kube::Config;
use sluice_crds::{Integration, Settings, Topic, Tracing, Webhook};
use sluice_model::{cluster, collector, shared_complaints};
use sluice_telemetry::{Certificates, traces};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch as channel,
    task::JoinSet,
};
use tracing::info;

use crate::{
    arguments::Arguments,
    clusters::Clusters,
    context::Context,
    controller,
    data_plane::Asker,
    events::Events,
    farewell::Farewells,
    health, idle,
    kubernetes::Clients,
    leader::{Election, Leadership, MARGIN},
    measure::{self, Measurements},
    metrics::Metrics,
    rounds::{self, Rounds},
    schema::Schemas,
    tasks::panicked,
    topic::{self, Growths, Identities, Relations, Sightings},
    watch::{self, Answered, Known, Watched, Watches},
    webhook,
};

/// Runs until SIGTERM or SIGINT; passes that have begun are finished, and the lease is given back. Errors: what keeps it from
/// starting, and the loss of the lease: then the process has to end, so that nothing of it goes on.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut settings = read(&arguments)?;
    let kafka_timeout = settings.admin_requests.timeout.get();
    ensure!(kafka_timeout < MARGIN, "adminRequests.timeout is {kafka_timeout:?}; it must be shorter than {MARGIN:?}");
    let config = Config::infer().await.context("cannot tell which Kubernetes cluster to work on")?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    if let Some(policies) = &mut settings.network_policies {
        policies.operator_namespace.get_or_insert_with(|| namespace.clone());
    }
    // Another one after each start: a replica does not take its predecessor's lease for its own.
    let identity = format!("{}-{:08x}", arguments.identity, fastrand::u32(..));
    let (leadership, metrics) = (Leadership::default(), Arc::new(Metrics::default().watching(certificates(&settings))));
    let clients = Clients::new(config, &identity, &leadership, &metrics, watch::count(&arguments.namespaces))?;
    let election = Election::new(clients.leasing, &namespace, identity.clone(), leadership.clone());
    let context = Arc::new(Context {
        events: Events::new(clients.working.clone(), &identity, Arc::clone(&metrics)),
        client: clients.working,
        clusters: Clusters::new(&settings, leadership.clone()),
        schemas: Schemas::new(&settings, &leadership, &metrics).context("the configuration is not valid")?,
        leadership,
        relations: Relations::new(settings.tenancy.clone()),
        asker: Asker::default(),
        reception: Rounds::new(webhook::BUSY),
        shared: webhook::Shared::default(),
        work: Rounds::new(settings.measuring.write_every.get()),
        settings,
        topics: Watched::default(),
        webhooks: Watched::default(),
        integrations: Watched::default(),
        known: Known::default(),
        unknown_kinds: webhook::UnknownKinds::default(),
        absences: webhook::Absences::default(),
        namespaces: arguments.namespaces.clone(),
        identities: Identities::default(),
        farewells: Farewells::default(),
        growths: Growths::default(),
        measurements: Measurements::default(),
        sightings: Sightings::default(),
        metrics,
    });
    let stop = stop_signal()?;
    let mut watches = Watches::start(&context, &clients.watching, &arguments.namespaces);
    info!(clusters = context.settings.clusters.len(), namespaces = ?arguments.namespaces, "Operator started");
    let ended = tokio::select! {
        served = health::serve(arguments.status_listen, Arc::clone(&context), watches.answered()) => served,
        worked = work(&context, &election, watches.answered(), stop) => worked,
        panic = watches.panicked() => Err(panic).context("a watch has panicked"),
    };
    info!("Operator stopped");
    ended
}

/// Stands by, then leads, until `stop` is true or the lease is lost.
async fn work(
    context: &Arc<Context>,
    election: &Election,
    answered: Answered,
    stop: channel::Receiver<bool>,
) -> anyhow::Result<()> {
    let Some(mut held) = election.campaign(stop.clone()).await else { return Ok(()) };
    let unfinished = tokio::select! {
        lost = election.keep(&mut held) => bail!("{lost}; the process ends, so that nothing of it goes on"),
        unfinished = lead(context, answered, stop) => unfinished?,
    };
    if unfinished > 0 {
        info!(passes = unfinished, "Given up: they wait for answers, and begin nothing any more");
    }
    election.give_back(held).await;
    Ok(())
}

/// Works until `stop` is true. Gives the number of passes that did not end in time. Error: a part of it panicked,
/// and the next leader does without that.
async fn lead(context: &Arc<Context>, mut answered: Answered, stop: channel::Receiver<bool>) -> anyhow::Result<usize> {
    // Which of two Topics is the older one can only be told when both are known.
    tokio::select! {
        () = answered.all() => {}
        () = stopped(stop.clone()) => return Ok(0),
    }
    let mut looks = JoinSet::new();
    looks.spawn(measure::run(Arc::clone(context)));
    looks.spawn(idle::run(Arc::clone(context)));
    looks.spawn(topic::follow_clusters(Arc::clone(context)));
    looks.spawn(Schemas::run(Arc::clone(context)));
    looks.spawn(rounds::run::<Webhook>(Arc::clone(context)));
    looks.spawn(rounds::run::<Integration>(Arc::clone(context)));
    let passes = async {
        let (topics, webhooks, shared, integrations) = tokio::join!(
            controller::run::<Topic>(Arc::clone(context), stop.clone()),
            controller::run::<Webhook>(Arc::clone(context), stop.clone()),
            webhook::run_shared(Arc::clone(context), stop.clone()),
            controller::run::<Integration>(Arc::clone(context), stop),
        );
        topics + webhooks + shared + integrations
    };
    tokio::select! {
        unfinished = passes => Ok(unfinished),
        panic = panicked(&mut looks) => Err(panic).context("what looks at Kafka and the pods has panicked"),
    }
}

/// Those by which Kafka clusters and schema registries are reached.
fn certificates(settings: &Settings) -> Certificates {
    let authorities = settings.schema_registries.values().filter_map(|registry| registry.ca.clone());
    let connections = settings.clusters.values().map(|cluster| &cluster.connection);
    connections.fold(Certificates::default().authorities(authorities), Certificates::of_kafka)
}

fn read(arguments: &Arguments) -> anyhow::Result<Settings> {
    let path = arguments.config.display();
    let text =
        std::fs::read_to_string(&arguments.config).with_context(|| format!("cannot read the configuration {path}"))?;
    let settings: Settings = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("the configuration {path} is not valid: {error}"))?;
    let complaints = cluster::complaints(&settings);
    ensure!(complaints.is_empty(), "the configuration {path} is not valid: {}", complaints.join("; "));
    let complaints = settings.tracing.as_ref().map(tracing_complaints).unwrap_or_default();
    ensure!(complaints.is_empty(), "the configuration {path} is not valid: tracing: {}", complaints.join("; "));
    let complaints = shared_complaints(&settings.shared_receivers);
    ensure!(complaints.is_empty(), "the configuration {path} is not valid: {}", complaints.join("; "));
    Ok(settings)
}

/// What receivers and workers could only complain of.
fn tracing_complaints(tracing: &Tracing) -> Vec<String> {
    let mut complaints = traces::complaints(&collector::environment(tracing));
    complaints.extend(collector::complaints(tracing));
    complaints
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
