//! The objects that a Webhook should have.

use serde_json::json;
use sluice_crds::{ReceiverMode, Settings, Size, TopicTemplate, wire};

use super::{COMPONENT, Endpoint, WrittenTopic, open_api, route::route, shared::shared_webhook};
use crate::{
    children::{Child, ChildKind, Configuration, DataPlane, Owner, noted},
    secrets,
};

/// The Topics where they are the Webhook's own, the configuration, what is obeyed without a restart, the receiver, its Service, its
/// description where one is asked for, its route, how many receivers may be put out at a time, and who may call them. Where it shares
/// receivers, these are not its own.
pub fn desire(endpoint: &Endpoint, settings: &Settings) -> Vec<Child> {
    let (configuration, [receivers, around]) = match endpoint.mode {
        ReceiverMode::Dedicated => {
            let configuration = endpoint.owner.configuration(COMPONENT, &configuration(endpoint));
            let receivers = receivers(endpoint, settings, &configuration.name);
            (configuration, receivers)
        }
        ReceiverMode::Shared => (endpoint.owner.configuration(COMPONENT, &shared_webhook(endpoint)), [vec![], vec![]]),
    };
    let route = if endpoint.older_claim.is_none() { route(endpoint) } else { Vec::new() };
    let more = open_api::config_map(endpoint).into_iter().chain(route).chain(around);
    noted(own_topics(endpoint).chain([configuration]).chain(receivers).chain(more).collect(), &())
}

/// Receivers of the Webhook's own, and what goes with them.
fn receivers(endpoint: &Endpoint, settings: &Settings, config_map: &str) -> [Vec<Child>; 2] {
    let owner = &endpoint.owner;
    let controls = controls(owner, endpoint.replicas, endpoint.paused);
    let memory = memory(endpoint.body_limit);
    let receiver = DataPlane {
        component: COMPONENT,
        image: &settings.images.receiver,
        replicas: endpoint.replicas,
        configuration: Configuration::Own { config_map, cluster: &endpoint.cluster },
        controls: Some(&controls.name),
        secrets: secrets(endpoint),
        tracing: settings.tracing.as_ref(),
        grace: wire::ending::longest_end(endpoint.patience.get()),
        port: Some(wire::RECEIVER_PORT),
        pods: &endpoint.pods,
        resources: endpoint.resources.as_ref(),
        default_resources: ("50m", "32Mi", memory.as_str()),
    };
    let receiver = receiver.deployment(owner);
    [vec![controls, receiver, service(owner)], around(owner, endpoint.replicas, settings)]
}

/// What a receiver may take. Of bodies above 1 MiB there is room for four on their way, here and in the producer, and for one as a
/// value of 16 times its size, to be held against a schema (`receiver/src/contract.rs`).
fn memory(body: Size) -> String {
    const MEBIBYTE: u64 = 1024 * 1024;
    let above = body.bytes().div_ceil(MEBIBYTE).saturating_sub(1);
    format!("{}Mi", 128 + (4 * 2 + 16) * above)
}

/// How many receivers may be put out at a time, and who may call them.
pub(super) fn around(owner: &Owner, replicas: i32, settings: &Settings) -> Vec<Child> {
    let budget = owner.disruption_budget(COMPONENT, replicas);
    let network = owner.network_policy(COMPONENT, Some(wire::RECEIVER_PORT), settings);
    budget.into_iter().chain(network).collect()
}

/// Name of the receiver's Deployment and Service, where they are its own, and of its route.
pub fn receiver_name(owner: &Owner) -> String {
    owner.data_plane(COMPONENT)
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

pub(super) fn configuration(endpoint: &Endpoint) -> wire::ReceiverConfig {
    wire::ReceiverConfig {
        webhook: endpoint.owner.name.clone(),
        uid: endpoint.owner.uid.clone(),
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
pub(super) fn controls(owner: &Owner, replicas: i32, paused: bool) -> Child {
    let controls = wire::ReceiverControls { paused, replicas: u32::try_from(replicas).unwrap_or(1) };
    let controls = serde_json::to_string(&controls).expect("controls are plain data");
    let name = format!("{}-controls", receiver_name(owner));
    let body = json!({"data": {wire::CONTROLS_KEY: controls}});
    owner.child(ChildKind::ConfigMap, COMPONENT, &name, body)
}

/// The Secrets that the receiver needs, each once.
fn secrets(endpoint: &Endpoint) -> Vec<&str> {
    secrets::names(endpoint.verification.secrets().iter().chain(&endpoint.deduplication_redis))
}

pub(super) fn service(owner: &Owner) -> Child {
    let body = json!({"spec": {
        "selector": owner.selector(COMPONENT),
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }});
    owner.child(ChildKind::Service, COMPONENT, &receiver_name(owner), body)
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::webhook::{References, validate};

    #[test]
    fn a_receiver_has_memory_for_its_largest_bodies() {
        for (body, expected) in [("1Ki", "128Mi"), ("1Mi", "128Mi"), ("1025Ki", "152Mi"), ("8Mi", "296Mi")] {
            assert_eq!(memory(body.parse().unwrap()), expected, "{body}");
        }
    }

    #[test]
    fn a_receiver_has_the_time_to_end_that_its_longest_request_takes() {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let settings: Settings = serde_saphyr::from_str(settings).unwrap();
        let grace = |patience: &str| {
            let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
            let spec =
                format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, patience: {patience}}}");
            let yaml =
                format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
            let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
            let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
            let mut receivers =
                desire(&endpoint, &settings).into_iter().filter(|one| one.kind == ChildKind::Deployment);
            receivers.next().unwrap().manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
        };
        assert_eq!((grace("2500ms"), grace("25s")), (json!(35), json!(57)));
    }
}
