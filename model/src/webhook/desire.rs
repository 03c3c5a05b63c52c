//! The objects that a Webhook should have.

use serde_json::json;
use sluice_crds::{Settings, Size, TopicTemplate, wire};

use super::{COMPONENT, Endpoint, WrittenTopic, open_api, route::route};
use crate::{
    children::{Child, ChildKind, DataPlane, Owner},
    secrets,
};

/// The Topics where they are the Webhook's own, the configuration, what is obeyed without a restart, the receiver, its Service, its
/// description where one is asked for, and its route.
pub fn desire(endpoint: &Endpoint, settings: &Settings) -> Vec<Child> {
    let owner = &endpoint.owner;
    let configuration = owner.configuration(COMPONENT, &configuration(endpoint));
    let controls = controls(endpoint);
    let receiver = DataPlane {
        component: COMPONENT,
        image: &settings.images.receiver,
        replicas: endpoint.replicas,
        config_map: &configuration.name,
        controls: Some(&controls.name),
        cluster: &endpoint.cluster,
        secrets: secrets(endpoint),
        tracing: settings.tracing.as_ref(),
        port: Some(wire::RECEIVER_PORT),
        resources: None,
        default_resources: ("50m", "32Mi", "128Mi"),
    };
    let receiver = receiver.deployment(owner);
    let others = [configuration, controls, receiver, service(endpoint)];
    let route = if endpoint.older_claim.is_none() { route(endpoint) } else { Vec::new() };
    own_topics(endpoint).chain(others).chain(open_api::config_map(endpoint)).chain(route).collect()
}

/// Name of the receiver's Deployment, Service and route.
pub fn receiver_name(owner: &Owner) -> String {
    format!("{}-{COMPONENT}", owner.name.name)
}

/// The Topics that are the Webhook's own.
fn own_topics(endpoint: &Endpoint) -> impl Iterator<Item = Child> {
    let (owner, cluster) = (&endpoint.owner, &endpoint.cluster.name);
    let events = match &endpoint.topic {
        WrittenTopic::Own(template) => {
            let template = large_enough(template, endpoint.body_limit);
            Some(owner.topic(COMPONENT, &owner.name.name, cluster, &template))
        }
        WrittenTopic::Named { .. } => None,
    };
    let dead_letters = match endpoint.contract.as_ref().and_then(|contract| contract.dead_letters.as_ref()) {
        Some(WrittenTopic::Own(template)) => {
            Some(owner.dead_letters(COMPONENT, &endpoint.own_dead_letters(), cluster, template))
        }
        Some(WrittenTopic::Named { .. }) | None => None,
    };
    events.into_iter().chain(dead_letters)
}

/// The same, where the largest body with its headers is too large for Kafka's default, and nothing is said about that.
fn large_enough(template: &TopicTemplate, body: Size) -> TopicTemplate {
    const KEY: &str = "max.message.bytes";
    const DEFAULT: u64 = 1_048_588;
    const HEADERS: u64 = 64 * 1024;
    let mut template = template.clone();
    let wanted = body.bytes() + HEADERS;
    if wanted > DEFAULT {
        template.config.entry(KEY.to_owned()).or_insert_with(|| wanted.to_string());
    }
    template
}

fn configuration(endpoint: &Endpoint) -> wire::ReceiverConfig {
    wire::ReceiverConfig {
        webhook: endpoint.owner.name.clone(),
        path: endpoint.path.clone(),
        connection: endpoint.cluster.connection.clone(),
        topic: endpoint.kafka_topic(),
        verification: endpoint.verification.clone(),
        tolerance: endpoint.tolerance,
        event: endpoint.event.clone(),
        contract: endpoint.contract.as_ref().map(|contract| wire::EventContract {
            json_schema: contract.json_schema.clone(),
            dead_letters: endpoint.dead_letter_topic(),
        }),
        deduplication_window: endpoint.deduplication_window,
        deduplication_redis: endpoint.deduplication_redis.clone(),
        body_limit: endpoint.body_limit,
        rate_limits: endpoint.rate_limits.clone(),
        respond: endpoint.respond,
        patience: endpoint.patience,
        deprecation: endpoint.deprecation.clone(),
        outgoing: endpoint.outgoing.clone(),
    }
}

/// What is not worth a rollout stands in a ConfigMap that changes in place.
fn controls(endpoint: &Endpoint) -> Child {
    let replicas = u32::try_from(endpoint.replicas).unwrap_or(1);
    let controls = wire::ReceiverControls { paused: endpoint.paused, replicas };
    let controls = serde_json::to_string(&controls).expect("controls are plain data");
    let name = format!("{}-controls", receiver_name(&endpoint.owner));
    let body = json!({"data": {wire::CONTROLS_KEY: controls}});
    endpoint.owner.child(ChildKind::ConfigMap, COMPONENT, &name, body)
}

/// The Secrets that the receiver needs, each once.
fn secrets(endpoint: &Endpoint) -> Vec<&str> {
    secrets::names(endpoint.verification.secrets().iter().chain(&endpoint.deduplication_redis))
}

fn service(endpoint: &Endpoint) -> Child {
    let owner = &endpoint.owner;
    let body = json!({"spec": {
        "selector": owner.selector(COMPONENT),
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }});
    owner.child(ChildKind::Service, COMPONENT, &receiver_name(owner), body)
}
