//! Writes down what was observed of a Webhook.

use std::{collections::BTreeSet, ffi::OsStr, path::Path};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::Value;
use sluice_crds::{ConditionType, Ingress, ParentReference, Reason, Topic, Webhook, WebhookStatus};

use super::{
    Endpoint, Entry, Found, Listener, Shown, WrittenTopic, aws, receiver_name,
    url::{ingress_url, no_listener, url},
};
use crate::{
    Conditions, Rejection,
    children::{self, Availability, ChildKind, Live, Plan, SeenPod},
    dependencies, references, rejection,
    topic::{User, named},
};

/// The controller that Contour, Kong and the others name themselves by stands in a route's status; Sluice reads all.
const ACCEPTED: &str = "Accepted";
const RESOLVED: &str = "ResolvedRefs";

/// What a pass observed.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The objects that existed before the plan was applied.
    pub live: &'a [Live],
    /// The receivers' pods; none are needed where every one is available.
    pub pods: &'a [SeenPod],
    /// What had to change.
    pub plan: &'a Plan,
    /// The listeners of the gateways.
    pub listeners: &'a [Listener],
    /// The gateways that do not exist, as `namespace/name`.
    pub missing_gateways: &'a [String],
    /// A kind that the route needs and the cluster does not have, so that there is no route; everything else works.
    pub unknown_kind: Option<ChildKind>,
    /// What the receivers said about themselves, where they were asked.
    pub traffic: Option<&'a Shown>,
}

/// What a pass came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The Webhook cannot be carried out, or not yet. What runs keeps running.
    Rejected(&'a [Rejection]),
    /// The Webhook was compared with what exists; the plan's changes, if it has any, were applied after that.
    Planned(&'a Endpoint, Seen<'a>),
    /// The world did not let the pass finish.
    Failed {
        /// Why, by class.
        reason: Reason,
        /// What was being done to what, and what came of it.
        message: String,
    },
}

/// The Webhook's new status. What this pass did not observe stays as it was; `readers` are who reads its events, where the pass knows.
pub fn report(
    webhook: &Webhook,
    readers: Option<&BTreeSet<User>>,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> WebhookStatus {
    let previous = webhook.status.clone().unwrap_or_default();
    let generation = webhook.metadata.generation;
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    let status = WebhookStatus {
        observed_generation: generation,
        depends_on: dependencies::of_webhook(webhook),
        used_by: readers.map_or_else(|| previous.used_by.clone(), named),
        ..previous.clone()
    };
    let status = match outcome {
        Outcome::Rejected(rejections) => {
            rejected(&mut conditions, rejections);
            status
        }
        Outcome::Failed { reason, message } => {
            conditions.no(ConditionType::Ready, *reason, message);
            conditions.yes(ConditionType::Reconciling, *reason, message);
            keep_parts(&mut conditions);
            status
        }
        Outcome::Planned(endpoint, seen) => {
            let receivers = children::find_availability(seen.live, &receiver_name(&endpoint.owner), seen.pods, now);
            planned(&mut conditions, endpoint, seen, receivers.as_ref());
            WebhookStatus {
                url: match &endpoint.entry {
                    Entry::Gateways(_) => url(endpoint, seen.listeners),
                    Entry::Ingress(ingress) => ingress_url(endpoint, ingress, ingress_address(endpoint, seen.live)),
                    Entry::AwsApiGateway(api) => aws::url(endpoint, api, seen.live),
                },
                topic: Some(endpoint.kafka_topic()),
                replicas: receivers.as_ref().map(|receivers| receivers.replicas),
                ready_replicas: receivers.as_ref().map(|receivers| receivers.ready),
                ..counted(status, seen.traffic)
            }
        }
    };
    WebhookStatus { conditions: conditions.finish(), ..status }
}

/// The status with the receivers' numbers; without any it keeps those that it has.
fn counted(status: WebhookStatus, traffic: Option<&Shown>) -> WebhookStatus {
    let Some(shown) = traffic.cloned() else { return status };
    WebhookStatus {
        accepted: Some(shown.accepted),
        duplicates: Some(shown.duplicates),
        dead_letters: Some(shown.dead_letters),
        rejected: Some(shown.rejected),
        rejected_by: shown.rejected_by,
        unconfirmed: Some(shown.unconfirmed),
        rate: shown.rate,
        p95: shown.p95,
        last_event_time: shown.last_event.map(Time).or(status.last_event_time),
        ..status
    }
}

fn rejected(conditions: &mut Conditions<'_>, rejections: &[Rejection]) {
    let invalid = rejections.iter().find(|rejection| rejection.needs_a_person());
    let reason = rejection::reason(rejections);
    let message = rejection::summary(rejections);
    conditions.no(ConditionType::Ready, reason, &message);
    let progress = if invalid.is_some() { ConditionType::Stalled } else { ConditionType::Reconciling };
    conditions.yes(progress, reason, message);
    keep_parts(conditions);
}

fn keep_parts(conditions: &mut Conditions<'_>) {
    for kept in [
        ConditionType::RouteAccepted,
        ConditionType::ReceiverAvailable,
        ConditionType::TopicReady,
        ConditionType::SecretsReady,
        ConditionType::DeduplicationHealthy,
    ] {
        conditions.keep(kept);
    }
}

/// One part of a Webhook: whether it works, and why not.
struct Part {
    kind: ConditionType,
    works: bool,
    reason: Reason,
    message: String,
}

impl Part {
    fn works(kind: ConditionType, message: impl Into<String>) -> Self {
        Self { kind, works: true, reason: Reason::Satisfied, message: message.into() }
    }

    fn fails(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, works: false, reason, message: message.into() }
    }
}

fn planned(conditions: &mut Conditions<'_>, endpoint: &Endpoint, seen: &Seen<'_>, receivers: Option<&Availability>) {
    let parts = [topic(endpoint, seen.live), receiver(receivers), route(endpoint, seen)];
    let (ready, reason, message) = verdict(endpoint, seen, &parts);
    if ready {
        conditions.yes(ConditionType::Ready, reason, message);
    } else {
        conditions.no(ConditionType::Ready, reason, &message);
        let overdue = receivers.is_some_and(|receivers| receivers.overdue && receivers.reason == reason);
        let stalled = overdue || NEED_A_PERSON.contains(&reason);
        let progress = if stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
        conditions.yes(progress, reason, message);
    }
    let found = seen.traffic.map(|shown| &shown.found).filter(|found| found.answered > 0);
    let secrets = secrets(endpoint, found);
    if secrets.is_none() {
        conditions.keep(ConditionType::SecretsReady);
    }
    for Part { kind, works, reason, message } in
        parts.into_iter().chain(secrets).chain([deduplication(endpoint, found)])
    {
        if works {
            conditions.yes(kind, reason, message);
        } else {
            conditions.no(kind, reason, message);
        }
    }
}

/// What no waiting mends.
const NEED_A_PERSON: [Reason; 7] = [
    Reason::NameConflict,
    Reason::RouteConflict,
    Reason::RouteRefused,
    Reason::NoListener,
    Reason::GatewayApiMissing,
    Reason::KongMissing,
    Reason::AckMissing,
];

fn verdict(endpoint: &Endpoint, seen: &Seen<'_>, parts: &[Part]) -> (bool, Reason, String) {
    let plan = seen.plan;
    if let Some(conflict) = plan.withheld.first() {
        return (false, Reason::NameConflict, conflict.to_string());
    }
    if !plan.changes.is_empty() {
        return (false, Reason::Progressing, format!("{} object(s) were changed", plan.changes.len()));
    }
    match parts.iter().find(|part| !part.works) {
        Some(part) => (false, part.reason, format!("{}: {}", part.kind, part.message)),
        None if endpoint.paused => {
            let obeyed =
                seen.traffic.is_some_and(|shown| shown.found.complete && shown.found.paused == shown.found.answered);
            let what = if obeyed { "every request is answered 503" } else { "receivers obey within about 90 s" };
            (true, Reason::Paused, format!("spec.paused is true; {what}"))
        }
        None => (true, Reason::Serving, "requests are served".to_owned()),
    }
}

/// The topics that the Webhook writes to.
fn topic(endpoint: &Endpoint, live: &[Live]) -> Part {
    let kind = ConditionType::TopicReady;
    let events = not_ready("spec.topic", &endpoint.topic, &endpoint.owner.name.name, live);
    let dead_letters = || {
        let topic = endpoint.contract.as_ref()?.dead_letters.as_ref()?;
        not_ready("spec.deadLetters", topic, &endpoint.own_dead_letters(), live)
    };
    match events.or_else(dead_letters) {
        Some(rejection) => Part::fails(kind, rejection.reason, rejection.message),
        None => Part::works(kind, endpoint.kafka_topic()),
    }
}

/// Why a topic is not ready, where it is not; `own` is the name of the Topic where it is the Webhook's own.
fn not_ready(field: &str, topic: &WrittenTopic, own: &str, live: &[Live]) -> Option<Rejection> {
    match topic {
        WrittenTopic::Named { not_ready, .. } => not_ready.clone(),
        WrittenTopic::Own(_) => {
            let topic = children::find(live, ChildKind::Topic, own);
            match topic.and_then(|live| serde_json::from_value::<Topic>(live.object.clone()).ok()) {
                Some(topic) => references::not_ready(field, &topic),
                None => Some(Rejection::not_ready(field, format!("the Topic {own:?} does not exist yet"))),
            }
        }
    }
}

/// Whether the Secrets are there and usable; `None` where no receiver has said so.
fn secrets(endpoint: &Endpoint, found: Option<&Found>) -> Option<Part> {
    let kind = ConditionType::SecretsReady;
    if endpoint.verification.secrets().is_empty() && endpoint.deduplication_redis.is_none() {
        return Some(Part::works(kind, "no Secret is needed"));
    }
    let unusable: Vec<String> = found?.unusable_secrets.iter().map(|file| key_of(file)).collect();
    if unusable.is_empty() {
        return Some(Part::works(kind, "every Secret is there"));
    }
    let message = format!(
        "missing, or no secret of this kind: {}; a Secret that is made or changed is used within about 90 s",
        unusable.join(", ")
    );
    Some(Part::fails(kind, Reason::SecretUnusable, message))
}

/// The key that a mounted file is.
fn key_of(file: &Path) -> String {
    let name = |path: Option<&OsStr>| path.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    format!("key {:?} of the Secret {:?}", name(file.file_name()), name(file.parent().and_then(Path::file_name)))
}

/// Whether a duplicate is found whichever receiver it comes to. What is wrong here stops no event.
fn deduplication(endpoint: &Endpoint, found: Option<&Found>) -> Part {
    let kind = ConditionType::DeduplicationHealthy;
    if let Some(trouble) = found.and_then(|found| found.redis_trouble.as_ref()) {
        return Part::fails(kind, Reason::RedisUnreachable, trouble);
    }
    let configured = endpoint.deduplication_window.get();
    if found.and_then(|found| found.window).is_some_and(|window| window < configured) {
        let message = format!(
            "so many events come that their ids do not fit in a receiver's memory for {}; share a Redis \
             (spec.deduplicate.store), or shorten spec.deduplicate.window",
            endpoint.deduplication_window
        );
        return Part::fails(kind, Reason::WindowTooShort, message);
    }
    match (&endpoint.deduplication_redis, endpoint.replicas) {
        (Some(_), _) => Part::works(kind, "receivers share a Redis"),
        (None, 0 | 1) => Part::works(kind, "one receiver remembers the ids of events, until it restarts"),
        (None, replicas) => {
            let message = format!(
                "each of {replicas} receivers remembers only its own events, so that a duplicate that comes to another one is \
                 written again; share a Redis (spec.deduplicate.store), or run one receiver"
            );
            Part::fails(kind, Reason::NotShared, message)
        }
    }
}

fn receiver(receivers: Option<&Availability>) -> Part {
    let kind = ConditionType::ReceiverAvailable;
    match receivers {
        Some(receivers) if receivers.complete => Part::works(kind, &receivers.message),
        Some(receivers) => Part::fails(kind, receivers.reason, &receivers.message),
        None => Part::fails(kind, Reason::Progressing, "no receiver exists yet"),
    }
}

/// The verdict on the route: of every gateway that is named, or of the Ingress's controller.
fn route(endpoint: &Endpoint, seen: &Seen<'_>) -> Part {
    let kind = ConditionType::RouteAccepted;
    if let Some(older) = &endpoint.older_claim {
        let address = match &endpoint.header {
            None => format!("the path {:?}", endpoint.path),
            Some((name, value)) => format!("the path {:?} with the header {name}: {value}", endpoint.path),
        };
        let message = format!(
            "the older Webhook \"{older}\" has {address} on the same host and gateway; use another path or host name"
        );
        return Part::fails(kind, Reason::RouteConflict, message);
    }
    match seen.unknown_kind {
        None => {}
        Some(ChildKind::KongPlugin) => {
            let message = "this cluster has no KongPlugin (configuration.konghq.com/v1), so that nothing would do what \
                           route.kong says, and there is no route; install Kong, or remove route.kong";
            return Part::fails(kind, Reason::KongMissing, message);
        }
        Some(missing) if matches!(endpoint.entry, Entry::AwsApiGateway(_)) => {
            let (version, name) = missing.api();
            let message = format!(
                "this cluster has no {name} ({version}); install the ACK controller for API Gateway v2, or write route.parentRefs or \
                 route.ingress"
            );
            return Part::fails(kind, Reason::AckMissing, message);
        }
        Some(_) => {
            let message = "this cluster has no HTTPRoute (gateway.networking.k8s.io/v1); install the Gateway API and a \
                           gateway that serves it, or write route.ingress";
            return Part::fails(kind, Reason::GatewayApiMissing, message);
        }
    }
    match &endpoint.entry {
        Entry::Gateways(parents) => gateways(endpoint, parents, seen),
        Entry::Ingress(ingress) => of_ingress(endpoint, ingress, seen.live),
        Entry::AwsApiGateway(api) => match aws::verdict(endpoint, api, seen.live) {
            Ok(message) => Part::works(kind, message),
            Err((reason, message)) => Part::fails(kind, reason, message),
        },
    }
}

/// An Ingress has no condition: a controller that serves it writes its own address into the status, and others do nothing.
fn of_ingress(endpoint: &Endpoint, ingress: &Ingress, live: &[Live]) -> Part {
    let kind = ConditionType::RouteAccepted;
    if children::find(live, ChildKind::Ingress, &receiver_name(&endpoint.owner)).is_none() {
        return Part::fails(kind, Reason::Progressing, "no Ingress exists yet");
    }
    let Some(address) = ingress_address(endpoint, live) else {
        let class = &ingress.class_name;
        let message = format!("no controller of the class {class:?} has given the Ingress an address; does it run?");
        return Part::fails(kind, Reason::RoutePending, message);
    };
    Part::works(kind, format!("the Ingress is served at {address}"))
}

/// The first address that a controller has given to the endpoint's Ingress.
fn ingress_address<'a>(endpoint: &Endpoint, live: &'a [Live]) -> Option<&'a str> {
    let ingress = children::find(live, ChildKind::Ingress, &receiver_name(&endpoint.owner))?;
    let first = &ingress.object["status"]["loadBalancer"]["ingress"][0];
    first["hostname"].as_str().or_else(|| first["ip"].as_str())
}

fn gateways(endpoint: &Endpoint, parents: &[ParentReference], seen: &Seen<'_>) -> Part {
    let kind = ConditionType::RouteAccepted;
    let Some(route) = children::find(seen.live, ChildKind::HttpRoute, &receiver_name(&endpoint.owner)) else {
        return Part::fails(kind, Reason::Progressing, "no HTTPRoute exists yet");
    };
    for parent in parents {
        let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
        let gateway = format!("{namespace}/{}", parent.name);
        let status = parent_status(&route.object, &endpoint.owner.name.namespace, parent);
        let refusal = status.and_then(|status| [ACCEPTED, RESOLVED].iter().find_map(|wanted| refusal(status, wanted)));
        if status.is_some() && refusal.is_none() {
            continue;
        }
        // What can be seen from here says more than what a gateway says, or that it says nothing.
        if seen.missing_gateways.contains(&gateway) {
            let message =
                format!("there is no Gateway {gateway:?}; create it, or name another one in route.parentRefs");
            return Part::fails(kind, Reason::RoutePending, message);
        }
        if let Some(complaint) = no_listener(endpoint, parent, seen.listeners) {
            return Part::fails(kind, Reason::NoListener, format!("the Gateway {gateway:?} {complaint}"));
        }
        let Some(refusal) = refusal else {
            let message = format!("the Gateway {gateway:?} has not answered; does its controller run?");
            return Part::fails(kind, Reason::RoutePending, message);
        };
        return Part::fails(kind, Reason::RouteRefused, format!("the Gateway {gateway:?} says {refusal}"));
    }
    Part::works(kind, "every gateway accepted the route")
}

/// What a parent says about the newest version of the route.
fn parent_status<'a>(route: &'a Value, own: &str, parent: &ParentReference) -> Option<&'a Value> {
    let is_parent = |reference: &Value| {
        reference["name"] == parent.name.as_str()
            && reference["namespace"].as_str().unwrap_or(own) == parent.namespace.as_deref().unwrap_or(own)
            && reference["sectionName"].as_str() == parent.section_name.as_deref()
    };
    let generation = route["metadata"]["generation"].as_i64();
    let is_current = |status: &Value| {
        status["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|condition| {
                condition["type"] == ACCEPTED && condition["observedGeneration"].as_i64() == generation
            })
        })
    };
    let parents = route["status"]["parents"].as_array()?;
    parents.iter().find(|status| is_parent(&status["parentRef"]) && is_current(status))
}

fn refusal(status: &Value, wanted: &str) -> Option<String> {
    let condition = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == wanted)?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    (condition["status"] != "True").then(|| format!("{}: {}", text("reason"), text("message")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::{References, validate};

    /// The conditions of a Webhook with a signing secret whose receivers found this, with nothing else there yet.
    fn conditions(spec: &str, found: Option<Found>) -> Vec<String> {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: github, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let settings = serde_saphyr::from_str(settings).unwrap();
        let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
        let shown = found.map(|found| Shown { found, ..Shown::default() });
        let seen = Seen {
            live: &[],
            pods: &[],
            plan: &Plan::default(),
            listeners: &[],
            missing_gateways: &[],
            unknown_kind: None,
            traffic: shown.as_ref(),
        };
        let now = Timestamp::from_second(1).unwrap();
        let status = report(&webhook, None, &Outcome::Planned(&endpoint, seen), now);
        let told = status.conditions.into_iter();
        told.map(|one| format!("{} {} {}: {}", one.type_, one.status, one.reason, one.message)).collect()
    }

    const SIGNED: &str = "verify: {preset: {name: GitHub, secretRefs: [{name: github, key: current}]}}";

    fn found() -> Found {
        Found { complete: true, answered: 2, window: Some(std::time::Duration::from_hours(24)), ..Found::default() }
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_named_as_far_as_receivers_have_said() {
        let told = |spec: &str, found| conditions(spec, found).into_iter().find(|one| one.starts_with("SecretsReady"));
        let missing = Found { unusable_secrets: ["/etc/sluice/secrets/github/current".into()].into(), ..found() };
        let named = told(SIGNED, Some(missing)).unwrap();
        assert!(named.starts_with("SecretsReady False SecretUnusable: missing, or no secret of this kind: key \"current\" of the Secret \"github\""), "{named}");
        assert_eq!(told(SIGNED, None), None);
        assert_eq!(told(SIGNED, Some(Found { answered: 0, ..found() })), None);
        let there = "SecretsReady True Satisfied: every Secret is there";
        assert_eq!(told(SIGNED, Some(found())).as_deref(), Some(there));
        let needless = "SecretsReady True Satisfied: no Secret is needed";
        assert_eq!(told("verify: {none: {}}", None).as_deref(), Some(needless));
    }

    #[test]
    fn deduplication_is_as_good_as_the_receivers_find_it() {
        let told = |spec: &str, found| {
            let all = conditions(spec, Some(found));
            all.into_iter().find(|one| one.starts_with("DeduplicationHealthy")).unwrap()
        };
        let redis =
            format!("{SIGNED}, replicas: 2, deduplicate: {{store: {{redis: {{urlSecretRef: {{name: r, key: k}}}}}}}}");
        assert!(told(&redis, found()).starts_with("DeduplicationHealthy True"));
        let away = Found { redis_trouble: Some("Redis does not answer".into()), ..found() };
        assert_eq!(told(&redis, away), "DeduplicationHealthy False RedisUnreachable: Redis does not answer");
        let short = Found { window: Some(std::time::Duration::from_hours(3)), ..found() };
        assert!(told(SIGNED, short).starts_with("DeduplicationHealthy False WindowTooShort"));
        assert!(told(&format!("{SIGNED}, replicas: 2"), found()).starts_with("DeduplicationHealthy False NotShared"));
    }
}
