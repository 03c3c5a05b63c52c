//! Writes down what was observed of a Webhook.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use sluice_crds::{ConditionType, Reason, Topic, Webhook, WebhookStatus};

use super::{Endpoint, Listener, WrittenTopic, receiver_name, url::url};
use crate::{
    Conditions, Rejection,
    children::{self, Availability, ChildKind, Live, Plan, SeenPod},
    references, rejection,
};

/// The controller that Contour, Kong and the others name themselves by stands in a route's status; Sluice reads all.
const ACCEPTED: &str = "Accepted";
const RESOLVED: &str = "ResolvedRefs";

/// Whether the cluster has the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayApi {
    /// HTTPRoutes can be made.
    Installed,
    /// They cannot; everything else works.
    Missing,
}

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
    /// Whether HTTPRoutes can be made.
    pub gateway_api: GatewayApi,
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

/// The Webhook's new status. What this pass did not observe stays as it was.
pub fn report(webhook: &Webhook, outcome: &Outcome<'_>, now: Timestamp) -> WebhookStatus {
    let previous = webhook.status.clone().unwrap_or_default();
    let generation = webhook.metadata.generation;
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    let status = WebhookStatus { observed_generation: generation, ..previous.clone() };
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
                url: url(endpoint, seen.listeners),
                topic: Some(endpoint.kafka_topic()),
                replicas: receivers.as_ref().map(|receivers| receivers.replicas),
                ready_replicas: receivers.as_ref().map(|receivers| receivers.ready),
                ..status
            }
        }
    };
    WebhookStatus { conditions: conditions.finish(), ..status }
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
    let (ready, reason, message) = verdict(endpoint, seen.plan, &parts);
    if ready {
        conditions.yes(ConditionType::Ready, reason, message);
    } else {
        conditions.no(ConditionType::Ready, reason, &message);
        let overdue = receivers.is_some_and(|receivers| receivers.overdue && receivers.reason == reason);
        let stalled =
            overdue || matches!(reason, Reason::NameConflict | Reason::RouteRefused | Reason::GatewayApiMissing);
        let progress = if stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
        conditions.yes(progress, reason, message);
    }
    for Part { kind, works, reason, message } in parts.into_iter().chain([deduplication(endpoint)]) {
        if works {
            conditions.yes(kind, reason, message);
        } else {
            conditions.no(kind, reason, message);
        }
    }
}

fn verdict(endpoint: &Endpoint, plan: &Plan, parts: &[Part]) -> (bool, Reason, String) {
    if let Some(conflict) = plan.withheld.first() {
        return (false, Reason::NameConflict, conflict.to_string());
    }
    if !plan.changes.is_empty() {
        return (false, Reason::Progressing, format!("{} object(s) were changed", plan.changes.len()));
    }
    match parts.iter().find(|part| !part.works) {
        Some(part) => (false, part.reason, format!("{}: {}", part.kind, part.message)),
        None if endpoint.paused => {
            (true, Reason::Paused, "spec.paused is true; every request is answered 503".to_owned())
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

/// Whether a duplicate is found whichever receiver it comes to. What is wrong here stops no event.
fn deduplication(endpoint: &Endpoint) -> Part {
    let kind = ConditionType::DeduplicationHealthy;
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

/// The gateways' own verdict on the route, for every gateway that is named.
fn route(endpoint: &Endpoint, seen: &Seen<'_>) -> Part {
    let kind = ConditionType::RouteAccepted;
    if seen.gateway_api == GatewayApi::Missing {
        let message = "this cluster has no HTTPRoute (gateway.networking.k8s.io/v1); install the Gateway API and a gateway \
                       that serves it";
        return Part::fails(kind, Reason::GatewayApiMissing, message);
    }
    let Some(route) = children::find(seen.live, ChildKind::HttpRoute, &receiver_name(&endpoint.owner)) else {
        return Part::fails(kind, Reason::Progressing, "no HTTPRoute exists yet");
    };
    for parent in &endpoint.parents {
        let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
        let gateway = format!("{namespace}/{}", parent.name);
        let Some(status) = parent_status(&route.object, &endpoint.owner.name.namespace, parent) else {
            let message =
                format!("the Gateway {gateway:?} has not answered; does it exist, and does its controller run?");
            return Part::fails(kind, Reason::RoutePending, message);
        };
        for wanted in [ACCEPTED, RESOLVED] {
            if let Some(refusal) = refusal(status, wanted) {
                return Part::fails(kind, Reason::RouteRefused, format!("the Gateway {gateway:?} says {refusal}"));
            }
        }
    }
    Part::works(kind, "every gateway accepted the route")
}

/// What a parent says about the newest version of the route.
fn parent_status<'a>(route: &'a Value, own: &str, parent: &sluice_crds::ParentReference) -> Option<&'a Value> {
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
