//! Writes down what was observed of a Webhook.

use std::{collections::BTreeSet, ffi::OsStr, path::Path};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use sluice_crds::{ConditionType, LastGood, Reason, ReceiverMode, Topic, Webhook, WebhookStatus};

use super::{
    Endpoint, Entry, Found, Held, Listener, SharedReceivers, Shown, WrittenTopic,
    acceptance::{ingress_address, route},
    aws, receiver_name,
    url::{ingress_url, url},
};
use crate::{
    Cluster, Conditions, Rejection,
    children::{self, Availability, ChildKind, Live, Plan, SeenPod},
    dependencies, references, rejection,
    topic::{User, named},
};

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
    /// Where the objects are noted.
    pub last_good: Option<LastGood>,
    /// The receivers that the Webhook shares, where it shares any.
    pub shared: Option<&'a SharedReceivers>,
    /// Whether receivers of the other kind have the route yet.
    pub waits: bool,
    /// Those, as far as they are known.
    pub before: Option<&'a Availability>,
}

/// What a pass came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The Webhook cannot be carried out, or not yet, and nothing is known of a spec that could. What runs keeps running.
    Rejected(&'a [Rejection]),
    /// The Webhook cannot be carried out, or not yet; what followed from the last spec that could was kept.
    Held {
        /// Why.
        rejections: &'a [Rejection],
        /// What was kept.
        held: &'a Held,
        /// The objects that existed before.
        live: &'a [Live],
        /// The receivers' pods; none are needed where every one is available.
        pods: &'a [SeenPod],
        /// What the receivers said about themselves, where they were asked.
        traffic: Option<&'a Shown>,
        /// The receivers that the Webhook shares, where it shares any.
        shared: Option<&'a SharedReceivers>,
    },
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
            conditions.keep(ConditionType::ReceiverAvailable);
            status
        }
        Outcome::Held { rejections, held, live, pods, traffic, shared } => {
            rejected(&mut conditions, rejections);
            let own = || children::find_availability(live, &receiver_name(&held.owner), pods, now);
            let receivers = shared.map_or_else(own, |shared| shared.availability.clone());
            receiver(receivers.as_ref()).tell(&mut conditions);
            running(counted(status, *traffic), receivers.as_ref())
        }
        Outcome::Failed { reason, message } => {
            conditions.no(ConditionType::Ready, *reason, message);
            conditions.yes(ConditionType::Reconciling, *reason, message);
            keep_parts(&mut conditions);
            conditions.keep(ConditionType::ReceiverAvailable);
            status
        }
        Outcome::Planned(endpoint, seen) => {
            let own = || children::find_availability(seen.live, &receiver_name(&endpoint.owner), seen.pods, now);
            let receivers = seen.shared.map_or_else(own, |shared| shared.availability.clone());
            planned(&mut conditions, endpoint, seen, receivers.as_ref());
            // Alerts go by the number of those that serve it.
            let serving = if seen.waits { seen.before } else { receivers.as_ref() };
            WebhookStatus {
                url: match &endpoint.entry {
                    Entry::Gateways(_) => url(endpoint, seen.listeners),
                    Entry::Ingress(ingress) => ingress_url(endpoint, ingress, ingress_address(endpoint, seen.live)),
                    Entry::AwsApiGateway(api) => aws::url(endpoint, api, seen.live),
                },
                topic: Some(endpoint.kafka_topic()),
                last_good: seen.last_good.clone(),
                ..running(counted(status, seen.traffic), serving)
            }
        }
    };
    WebhookStatus { conditions: conditions.finish(), ..status }
}

/// The status with how many receivers there are.
fn running(status: WebhookStatus, receivers: Option<&Availability>) -> WebhookStatus {
    WebhookStatus {
        replicas: receivers.map(|receivers| receivers.replicas),
        ready_replicas: receivers.map(|receivers| receivers.ready),
        ..status
    }
}

/// The status with the receivers' numbers; without any it keeps those that it has.
fn counted(status: WebhookStatus, traffic: Option<&Shown>) -> WebhookStatus {
    let Some(shown) = traffic.cloned() else { return status };
    let [rate, p95] =
        if shown.rates_follow { [status.rate.clone(), status.p95.clone()] } else { [shown.rate, shown.p95] };
    WebhookStatus {
        accepted: Some(shown.accepted),
        duplicates: Some(shown.duplicates),
        dead_letters: Some(shown.dead_letters),
        rejected: Some(shown.rejected),
        rejected_by: shown.rejected_by,
        unconfirmed: Some(shown.unconfirmed),
        rate,
        p95,
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

/// Of the parts all but the receivers.
fn keep_parts(conditions: &mut Conditions<'_>) {
    for kept in [
        ConditionType::RouteAccepted,
        ConditionType::TopicReady,
        ConditionType::SecretsReady,
        ConditionType::DeduplicationHealthy,
    ] {
        conditions.keep(kept);
    }
}

/// One part of a Webhook: whether it works, and why not.
pub(super) struct Part {
    kind: ConditionType,
    works: bool,
    /// Why, as `Ready` says it.
    pub(super) reason: Reason,
    /// Why, as somebody else's condition says it who judged the part: then the part's own condition says it so too.
    pub(super) judged: Option<String>,
    pub(super) message: String,
}

impl Part {
    pub(super) fn works(kind: ConditionType, message: impl Into<String>) -> Self {
        Self { kind, works: true, reason: Reason::Satisfied, judged: None, message: message.into() }
    }

    pub(super) fn fails(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, works: false, reason, judged: None, message: message.into() }
    }

    /// The same where somebody else judged it, for this reason.
    pub(super) fn judged(self, reason: Option<&str>) -> Self {
        Self { judged: reason.map(str::to_owned), ..self }
    }

    fn tell(self, conditions: &mut Conditions<'_>) {
        let Self { kind, works, reason, judged, message } = self;
        match (works, judged) {
            (true, _) => conditions.yes(kind, reason, message),
            (false, Some(judged)) => conditions.no_as_judged(kind, judged, message),
            (false, None) => conditions.no(kind, reason, message),
        }
    }
}

fn planned(conditions: &mut Conditions<'_>, endpoint: &Endpoint, seen: &Seen<'_>, receivers: Option<&Availability>) {
    let found = seen.traffic.map(|shown| &shown.found).filter(|found| found.answered > 0);
    // After a start of the operator nobody was asked yet, and what was said stands.
    let said = conditions.before(ConditionType::TopicReady).filter(|said| seen.traffic.is_none() && is_blocked(said));
    let cut_off =
        found.filter(|found| found.cut_off > 0).map(cut_off).or_else(|| said.map(|said| said.message.clone()));
    let receiver = match seen.shared {
        None => receiver(receivers),
        Some(shared) => shared_receiver(conditions, endpoint, shared, seen.traffic),
    };
    let parts = [topic(endpoint, seen.live, cut_off), receiver, route(endpoint, seen)];
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
    let secrets = secrets(endpoint, found);
    if secrets.is_none() {
        conditions.keep(ConditionType::SecretsReady);
    }
    for part in parts.into_iter().chain(secrets).chain([deduplication(endpoint, found)]) {
        part.tell(conditions);
    }
}

/// What no waiting mends.
const NEED_A_PERSON: [Reason; 8] = [
    Reason::NameConflict,
    Reason::NoRoom,
    Reason::RouteConflict,
    Reason::RouteRefused,
    Reason::NoListener,
    Reason::GatewayApiMissing,
    Reason::KongMissing,
    Reason::AckMissing,
];

fn verdict(endpoint: &Endpoint, seen: &Seen<'_>, parts: &[Part]) -> (bool, Reason, String) {
    let plan = seen.plan;
    let of_shared = seen.shared.into_iter().flat_map(|shared| &shared.withheld);
    if let Some(conflict) = plan.withheld.iter().chain(of_shared).next() {
        return (false, Reason::NameConflict, conflict.to_string());
    }
    if !plan.changes.is_empty() {
        return (false, Reason::Progressing, format!("{} object(s) were changed", plan.changes.len()));
    }
    match parts.iter().find(|part| !part.works) {
        Some(part) => (false, part.reason, format!("{}: {}", part.kind, part.message)),
        None if seen.waits => {
            let message = "the receivers before have the route until gateways know where the others are, some 10 s after these are ready";
            (false, Reason::Progressing, message.to_owned())
        }
        None if endpoint.paused => {
            let obeyed =
                seen.traffic.is_some_and(|shown| shown.found.complete && shown.found.paused == shown.found.answered);
            let what = if obeyed { "every request is answered 503" } else { "receivers obey within about 90 s" };
            (true, Reason::Paused, format!("spec.paused is true; {what}"))
        }
        None => (true, Reason::Serving, "requests are served".to_owned()),
    }
}

fn is_blocked(condition: &Condition) -> bool {
    condition.status == "False" && condition.reason == Reason::Blocked.to_string()
}

/// The topics that the Webhook writes to, and why receivers cannot, where they cannot.
fn topic(endpoint: &Endpoint, live: &[Live], cut_off: Option<String>) -> Part {
    let kind = ConditionType::TopicReady;
    let events = not_ready("spec.topic", &endpoint.topic, &endpoint.owner.name.name, live);
    let dead_letters = || {
        let topic = endpoint.contract.as_ref()?.dead_letters.as_ref()?;
        not_ready("spec.deadLetters", topic, &endpoint.own_dead_letters(), live)
    };
    match events.or_else(dead_letters) {
        Some(rejection) => Part::fails(kind, rejection.reason, rejection.message),
        None => match cut_off {
            Some(message) => Part::fails(kind, Reason::Blocked, message),
            None => Part::works(kind, endpoint.kafka_topic()),
        },
    }
}

fn cut_off(found: &Found) -> String {
    let Found { cut_off, answered, .. } = found;
    let whose = if cut_off == answered { String::new() } else { format!("by {cut_off} of {answered} receivers ") };
    format!("events cannot be written {whose}and senders are asked to come again: {}", joined(&found.kafka_troubles))
}

fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
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

/// Whether the Secrets are there and usable, and what else proves who somebody is; `None` where no receiver has said so.
fn secrets(endpoint: &Endpoint, found: Option<&Found>) -> Option<Part> {
    let kind = ConditionType::SecretsReady;
    let Cluster { secret_name, ca_config_map_name, .. } = &endpoint.cluster;
    let needs_none = endpoint.verification.secrets().is_empty()
        && endpoint.deduplication_redis.is_none()
        && secret_name.is_none()
        && ca_config_map_name.is_none();
    let Some(found) = found else { return needs_none.then(|| Part::works(kind, "no Secret is needed")) };
    let unusable: Vec<String> = found.unusable_secrets.iter().map(|file| key_of(file)).collect();
    let mut messages = found.credentials_troubles.clone();
    if !unusable.is_empty() {
        messages.insert(format!(
            "missing, or no secret of this kind: {}; a Secret that is made or changed is used within about 90 s",
            unusable.join(", ")
        ));
    }
    Some(match (messages.is_empty(), needs_none) {
        (false, _) => Part::fails(kind, Reason::SecretUnusable, joined(&messages)),
        (true, true) => Part::works(kind, "no Secret is needed"),
        (true, false) => Part::works(kind, "every Secret is there"),
    })
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
            let one = match endpoint.mode {
                ReceiverMode::Dedicated => "run one receiver",
                ReceiverMode::Shared => "run one receiver of its own (spec.receiver.mode: Dedicated)",
            };
            let message = format!(
                "each of {replicas} receivers remembers only its own events, so that a duplicate that comes to another one is \
                 written again; share a Redis (spec.deduplicate.store), or {one}"
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

/// Whether shared receivers run, and have read the Webhook's configuration.
fn shared_receiver(
    conditions: &Conditions<'_>,
    endpoint: &Endpoint,
    shared: &SharedReceivers,
    traffic: Option<&Shown>,
) -> Part {
    let kind = ConditionType::ReceiverAvailable;
    if shared.refused.contains(&endpoint.owner.name.name) {
        let message = "the configurations of the Webhooks that share receivers in this namespace are too large together; give this one \
                       receivers of its own (spec.receiver.mode: Dedicated)";
        return Part::fails(kind, Reason::NoRoom, message);
    }
    let Some(share) = endpoint.share() else {
        return Part::works(kind, "none is needed: an older Webhook has the address");
    };
    if let Some((reason, message)) = &shared.failure {
        return Part::fails(kind, *reason, message);
    }
    let of_pods = receiver(shared.availability.as_ref());
    if !of_pods.works {
        return of_pods;
    }
    let wait = "receivers read a configuration within about 90 s";
    match traffic.map(|shown| &shown.found).filter(|found| found.answered + found.unaware > 0) {
        // After a start of the operator nobody was asked yet, and what was said of this spec stands.
        None => match conditions.before(kind) {
            Some(said) if said.status == "True" && said.observed_generation == Some(endpoint.owner.generation) => {
                of_pods
            }
            _ => Part::fails(
                kind,
                Reason::Progressing,
                format!(
                    "no shared receiver has told the operator, which asks at its port 9090, what it serves; {wait}"
                ),
            ),
        },
        Some(found) if found.all_serve(&share.revision) => of_pods,
        Some(found) if !found.configuration_troubles.is_empty() => {
            Part::fails(kind, Reason::Blocked, joined(&found.configuration_troubles))
        }
        Some(found) => {
            let (serving, all) = (found.serving(&share.revision), found.answered + found.unaware);
            let message = format!("{serving} of {all} shared receivers serve this configuration; {wait}");
            Part::fails(kind, Reason::Progressing, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::{References, validate};

    /// The conditions of a Webhook whose receivers found this: its Topic is ready, and nothing else is there yet.
    fn conditions(spec: &str, found: Option<Found>) -> Vec<String> {
        let told = conditions_after(Vec::new(), spec, found).into_iter();
        told.map(|one| format!("{} {} {}: {}", one.type_, one.status, one.reason, one.message)).collect()
    }

    /// A Webhook that had these conditions before.
    fn webhook(before: Vec<Condition>, spec: &str) -> Webhook {
        let metadata = "{name: github, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let mut webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        webhook.status = Some(WebhookStatus { conditions: before, ..WebhookStatus::default() });
        webhook
    }

    fn endpoint(webhook: &Webhook) -> Endpoint {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        validate(webhook, &References::default(), &serde_saphyr::from_str(settings).unwrap()).unwrap()
    }

    /// What receivers told, and nothing else is there yet.
    fn seen<'a>(plan: &'a Plan, traffic: Option<&'a Shown>) -> Seen<'a> {
        Seen {
            live: &[],
            pods: &[],
            plan,
            listeners: &[],
            missing_gateways: &[],
            unknown_kind: None,
            traffic,
            last_good: None,
            shared: None,
            waits: false,
            before: None,
        }
    }

    /// The same where it had these conditions before.
    fn conditions_after(before: Vec<Condition>, spec: &str, found: Option<Found>) -> Vec<Condition> {
        let webhook = webhook(before, spec);
        let endpoint = endpoint(&webhook);
        let topic = WrittenTopic::Named { kafka: "shop.github".into(), not_ready: None };
        let endpoint = Endpoint { topic, ..endpoint };
        let shown = found.map(|found| Shown { found, ..Shown::default() });
        let plan = Plan::default();
        let seen = seen(&plan, shown.as_ref());
        let now = Timestamp::from_second(1).unwrap();
        report(&webhook, None, &Outcome::Planned(&endpoint, seen), now).conditions
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
        for found in [None, Some(found())] {
            assert_eq!(told("verify: {none: {}}", found).as_deref(), Some(needless));
        }
        let away = "the keys at https://id.example/jwks cannot be fetched";
        let issuer = Found { credentials_troubles: [away.to_owned()].into(), ..found() };
        let expected = format!("SecretsReady False SecretUnusable: {away}");
        assert_eq!(told("verify: {none: {}}", Some(issuer)), Some(expected));
    }

    #[test]
    fn that_receivers_cannot_write_is_told_though_they_run() {
        let told = |found, kind: &str| conditions(SIGNED, found).into_iter().find(|one| one.starts_with(kind)).unwrap();
        let ready = "TopicReady True Satisfied: shop.github";
        assert_eq!((told(None, "TopicReady"), told(Some(found()), "TopicReady")), (ready.into(), ready.into()));
        let troubles = || ["no answer from Kafka".to_owned()].into();
        let some = Found { cut_off: 1, kafka_troubles: troubles(), ..found() };
        let expected =
            "events cannot be written by 1 of 2 receivers and senders are asked to come again: no answer from Kafka";
        assert_eq!(told(Some(some), "TopicReady"), format!("TopicReady False Blocked: {expected}"));
        let all = Found { cut_off: 2, kafka_troubles: troubles(), ..found() };
        let expected = "events cannot be written and senders are asked to come again: no answer from Kafka";
        assert_eq!(told(Some(all.clone()), "TopicReady"), format!("TopicReady False Blocked: {expected}"));
        assert_eq!(told(Some(all), "Ready"), format!("Ready False Blocked: TopicReady: {expected}"));
    }

    /// One receiver answers and serves this revision, and some others do not.
    fn serving(revision: &str, unaware: usize) -> Found {
        Found { answered: 1, unaware, revisions: [(revision.to_owned(), 1)].into(), ..Found::default() }
    }

    #[test]
    fn shared_receivers_are_there_for_a_webhook_once_all_of_them_serve_it() {
        let webhook = |before| webhook(before, &format!("receiver: {{mode: Shared}}, {SIGNED}"));
        let endpoint = endpoint(&webhook(Vec::new()));
        let revision = endpoint.share().unwrap().revision;
        let availability = Availability {
            replicas: 2,
            ready: 2,
            complete: true,
            overdue: false,
            reason: Reason::Satisfied,
            message: "2 of 2 available".into(),
            changed: None,
        };
        let shared = SharedReceivers { availability: Some(availability), ..SharedReceivers::default() };
        let report_of = |before: &[Condition], shared: &SharedReceivers, found: Option<Found>| {
            let shown = found.map(|found| Shown { found, ..Shown::default() });
            let plan = Plan::default();
            let seen = Seen { shared: Some(shared), ..seen(&plan, shown.as_ref()) };
            let now = Timestamp::from_second(1).unwrap();
            report(&webhook(before.to_vec()), None, &Outcome::Planned(&endpoint, seen), now).conditions
        };
        let told = |conditions: &[Condition]| {
            let found = conditions.iter().find(|one| one.type_ == "ReceiverAvailable").unwrap();
            format!("{} {}", found.status, found.reason)
        };
        let all = report_of(&[], &shared, Some(serving(&revision, 0)));
        assert_eq!(told(&all), "True Satisfied");
        for found in [None, Some(serving(&revision, 1)), Some(serving("another", 0)), Some(Found::default())] {
            assert_eq!(told(&report_of(&[], &shared, found)), "False Progressing");
        }
        assert_eq!(told(&report_of(&all, &shared, None)), "True Satisfied", "nobody was asked since a restart");
        let broken = Found { configuration_troubles: ["no".to_owned()].into(), ..serving("another", 0) };
        assert_eq!(told(&report_of(&[], &shared, Some(broken))), "False Blocked");
        let failure = Some((Reason::KubernetesError, "could not apply Deployment".to_owned()));
        let failed = SharedReceivers { failure, ..shared.clone() };
        assert_eq!(told(&report_of(&all, &failed, Some(serving(&revision, 0)))), "False KubernetesError");
        let full = SharedReceivers { refused: ["github".to_owned()].into(), ..shared };
        assert_eq!(told(&report_of(&[], &full, Some(serving(&revision, 0)))), "False NoRoom");
    }

    #[test]
    fn those_that_serve_a_webhook_are_counted_also_while_others_are_waited_for() {
        let ready = |ready: i32| Availability {
            replicas: 2,
            ready,
            complete: ready == 2,
            overdue: false,
            reason: Reason::Progressing,
            message: String::new(),
            changed: None,
        };
        let shared = SharedReceivers { availability: Some(ready(0)), ..SharedReceivers::default() };
        let webhook = webhook(Vec::new(), &format!("receiver: {{mode: Shared}}, {SIGNED}"));
        let endpoint = endpoint(&webhook);
        let plan = Plan::default();
        let told = |waits, before: Option<&Availability>| {
            let seen = Seen { shared: Some(&shared), waits, before, ..seen(&plan, None) };
            let now = Timestamp::from_second(1).unwrap();
            report(&webhook, None, &Outcome::Planned(&endpoint, seen), now).ready_replicas
        };
        assert_eq!([told(true, Some(&ready(1))), told(true, None), told(false, None)], [Some(1), None, Some(0)]);
    }

    #[test]
    fn what_receivers_said_of_kafka_stands_until_they_are_asked_again() {
        let away = Found { cut_off: 2, kafka_troubles: ["no answer from Kafka".to_owned()].into(), ..found() };
        let before = conditions_after(Vec::new(), SIGNED, Some(away));
        let topic = |found| {
            let told = conditions_after(before.clone(), SIGNED, found);
            told.into_iter().find(|one| one.type_ == "TopicReady").unwrap().status
        };
        assert_eq!((topic(None).as_str(), topic(Some(found())).as_str()), ("False", "True"));
        assert_eq!(topic(Some(Found::default())), "True", "nobody answers, which is said elsewhere");
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
        let shared = told(&format!("{SIGNED}, receiver: {{mode: Shared}}"), found());
        assert!(shared.ends_with("run one receiver of its own (spec.receiver.mode: Dedicated)"), "{shared}");
    }
}
