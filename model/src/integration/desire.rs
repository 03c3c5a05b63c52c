//! The objects that an Integration should have.

use std::{path::PathBuf, time::Duration};

use sluice_crds::{Scaling, Settings, wire};

use super::{COMPONENT, DeadLetterTopic, Flow, Subject};
use crate::{
    children::{Child, Configuration, DataPlane, Owner, noted},
    secrets,
};

/// Deliveries under way have 10 s to end; the rest is for the last commit and the last spans.
const GRACE: Duration = Duration::from_secs(30);

/// The dead-letter Topic where it is the Integration's own, the configuration, the worker, how many workers may be put out at a time, and who may
/// call them.
pub fn desire(flow: &Flow, settings: &Settings) -> Vec<Child> {
    let configuration = flow.owner.configuration(COMPONENT, &configuration(flow));
    let worker = DataPlane {
        component: COMPONENT,
        image: &settings.images.worker,
        replicas: flow.replicas,
        configuration: Configuration::Own { config_map: &configuration.name, cluster: &flow.cluster },
        controls: None,
        secrets: secrets::names(secret_files(&flow.sink).into_iter()),
        tracing: settings.tracing.as_ref(),
        grace: GRACE,
        port: None,
        pods: &flow.pods,
        resources: flow.resources.as_ref(),
        default_resources: ("50m", "64Mi", "256Mi"),
    };
    let worker = worker.deployment(&flow.owner);
    let budget = flow.owner.disruption_budget(COMPONENT, most_workers(flow.scaling, flow.replicas));
    let network = flow.owner.network_policy(COMPONENT, None, settings);
    let children = own_topic(flow).into_iter().chain([configuration, worker]).chain(budget).chain(network);
    noted(children.collect(), &Subject::of(flow))
}

/// Workers that there are to be at most.
pub(super) fn most_workers(scaling: Option<Scaling>, replicas: i32) -> i32 {
    scaling.map_or(replicas, |scaling| scaling.max_replicas)
}

/// Name of the worker's Deployment.
pub fn worker_name(owner: &Owner) -> String {
    owner.data_plane(COMPONENT)
}

/// Name of the Topic that the Integration owns for its dead letters.
pub(super) fn own_dead_letters(flow: &Flow) -> String {
    format!("{}-dead-letters", flow.owner.name.name)
}

fn own_topic(flow: &Flow) -> Option<Child> {
    let DeadLetterTopic::Own(template) = &flow.dead_letters else { return None };
    Some(flow.owner.dead_letters(COMPONENT, &own_dead_letters(flow), &flow.cluster.name, template))
}

/// The files of the Secrets that the worker needs.
fn secret_files(sink: &wire::SinkConfig) -> Vec<&PathBuf> {
    match sink {
        wire::SinkConfig::Http(http) => http.secrets().collect(),
        // Those of the Kafka cluster are mounted for the source.
        wire::SinkConfig::Kafka(_) => vec![],
    }
}

fn configuration(flow: &Flow) -> wire::WorkerConfig {
    wire::WorkerConfig {
        integration: flow.owner.name.clone(),
        source: wire::SourceConfig::Kafka {
            connection: flow.cluster.connection.clone(),
            topics: flow.topics.clone(),
            group: flow.group.clone(),
            start_from: flow.start_from,
        },
        decode: flow.decode.clone(),
        steps: flow.steps.clone(),
        sink: flow.sink.clone(),
        delivery: flow.delivery.clone(),
        dead_letters: flow.dead_letter_topic(),
        dead_letter_headers: flow.dead_letter_headers,
        outgoing: flow.outgoing.clone(),
        log_level: flow.log_level,
    }
}
