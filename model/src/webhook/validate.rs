//! Judges a Webhook and what it refers to.

use std::time;

use sluice_crds::{
    Duration, EventValidation, Limits, NamespacedName, OnInvalidEvent, PodSettings, ReceiverMode, Route, Settings,
    Size, TopicReference, Webhook, WebhookSpec, wire,
};

use super::{
    Endpoint, Entry, References, WrittenTopic,
    aws::http_api,
    claim::{header, path},
    contract::contract,
    event::event_sources,
    kong::plugins,
    verify::verification,
};
use crate::{
    Cluster, Rejection, address,
    children::Owner,
    pods, references,
    secrets::file,
    topic::{named_by_webhook, noted_uses},
};

/// What should be served, or all that is wrong with the Webhook.
pub fn validate(webhook: &Webhook, references: &References, settings: &Settings) -> Result<Endpoint, Vec<Rejection>> {
    let spec = &webhook.spec;
    let mut rejections = Vec::new();
    let topic = topic(spec, references, settings).map_err(|found| rejections.push(found)).ok();
    let owner = owner(webhook);
    let path = path(webhook);
    let verification = verification(spec, &path).map_err(|found| rejections.push(found)).ok();
    let event = event_sources(spec).map_err(|found| rejections.extend(found)).ok();
    rejections.extend(bad_keys_address(spec, settings));
    let cluster = topic.as_ref().map(|(cluster, _)| cluster);
    let contract = contract(spec, references, settings, cluster).map_err(|found| rejections.extend(found)).ok();
    let entry = entry(&spec.route).map_err(|found| rejections.push(found)).ok();
    let plugins = plugins(spec.route.kong.as_ref()).map_err(|found| rejections.extend(found)).ok();
    rejections.extend(pods::complaints(&spec.pods));
    rejections.extend(pods_of_others(spec));
    rejections.extend(bad_status(spec.respond.status));
    rejections.extend(bad_patience(spec.patience));
    rejections.extend(bad_window(spec.deduplicate.window));
    rejections.extend(bad_body(spec.limits.body));
    let (Some((cluster, topic)), Some(verification), Some(event), Some(contract), Some(entry), Some(plugins), true) =
        (topic, verification, event, contract, entry, plugins, rejections.is_empty())
    else {
        return Err(rejections);
    };
    Ok(Endpoint {
        elsewhere: references::elsewhere(&owner.name.namespace, named_topics(spec)),
        uses: noted_uses(named_by_webhook(webhook), None, &cluster.name),
        owner,
        cluster,
        topic,
        contract,
        entry,
        plugins,
        hostnames: spec.route.hostnames.clone(),
        path,
        version: spec.version.as_ref().map(|version| version.name.clone()),
        header: header(webhook),
        deprecation: spec.version.as_ref().and_then(|version| version.deprecated.clone()),
        open_api: spec.open_api.clone(),
        older_claim: references.older_claim.clone(),
        verification,
        tolerance: spec.verify.tolerance,
        event,
        deduplication_window: spec.deduplicate.window,
        deduplication_redis: spec.deduplicate.store.as_ref().map(|store| file(&store.redis.url_secret_ref)),
        body_limit: spec.limits.body,
        rate_limits: rate_limits(&spec.limits),
        respond: spec.respond.status,
        patience: spec.patience,
        mode: spec.receiver.mode,
        replicas: match spec.receiver.mode {
            ReceiverMode::Dedicated => spec.replicas,
            ReceiverMode::Shared => settings.shared_receivers.replicas,
        },
        pods: spec.pods.clone(),
        resources: spec.receiver.resources.clone(),
        outgoing: settings.outgoing.clone(),
        paused: spec.paused,
    })
}

pub(super) fn owner(webhook: &Webhook) -> Owner {
    let metadata = &webhook.metadata;
    let [namespace, name, uid] =
        [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap_or_default());
    let generation = metadata.generation.unwrap_or_default();
    Owner { kind: "Webhook", name: NamespacedName { namespace, name }, uid, generation }
}

/// A Topic that the Webhook owns is on the default cluster.
const DEFAULT_CLUSTER: &str = "default";

fn topic(
    spec: &WebhookSpec,
    references: &References,
    settings: &Settings,
) -> Result<(Cluster, WrittenTopic), Rejection> {
    let (field, own) = ("spec.topicRef.name", spec.kafka_secret_name.as_deref());
    let Some(reference) = &spec.topic_ref else {
        let cluster = Cluster::find(settings, DEFAULT_CLUSTER, "spec.topic")?.with_secret(own)?;
        return Ok((cluster, WrittenTopic::Own(spec.topic.clone().unwrap_or_default())));
    };
    let topic = references::existing(field, references.topic.as_ref(), reference, &references.refused)?;
    let cluster = Cluster::find(settings, &topic.spec.cluster, field)?.with_secret(own)?;
    let kafka = references::created(field, topic, settings)?;
    Ok((cluster, WrittenTopic::Named { kafka, not_ready: references::not_ready(field, topic) }))
}

/// The Topics that are named and written to.
fn named_topics(spec: &WebhookSpec) -> [Option<&TopicReference>; 2] {
    let keeps_invalid = |validate: &EventValidation| validate.on_invalid == OnInvalidEvent::DeadLetter;
    let has_dead_letters = spec.validate.as_ref().is_some_and(keeps_invalid);
    [spec.topic_ref.as_ref(), spec.dead_letters_ref().filter(|_| has_dead_letters)]
}

fn entry(route: &Route) -> Result<Entry, Rejection> {
    match (&route.ingress, &route.aws_api_gateway) {
        (Some(ingress), _) => Ok(Entry::Ingress(ingress.clone())),
        (None, Some(gateway)) => Ok(Entry::AwsApiGateway(http_api(gateway)?)),
        (None, None) => Ok(Entry::Gateways(route.parent_refs.clone())),
    }
}

fn rate_limits(limits: &Limits) -> wire::RateLimits {
    let rate = |requests_per_second: u32, burst: Option<u32>| wire::RateConfig {
        requests_per_second,
        burst: burst.unwrap_or(requests_per_second),
    };
    wire::RateLimits {
        source: limits.source.as_ref().map(|source| wire::SourceLimit {
            rate: rate(source.requests_per_second, source.burst),
            trusted_hops: source.trusted_hops,
        }),
        total: limits.total.as_ref().map(|total| rate(total.requests_per_second, total.burst)),
        genuine: limits.requests_per_second.map(|requests| rate(requests, limits.burst)),
    }
}

fn bad_keys_address(spec: &WebhookSpec, settings: &Settings) -> Option<Rejection> {
    address::complaint("spec.verify.jwt.jwksUri", &spec.verify.jwt.as_ref()?.jwks_uri, settings)
}

/// What is said about pods that are not the Webhook's own.
fn pods_of_others(spec: &WebhookSpec) -> Option<Rejection> {
    let message = "shared receivers are those of the whole namespace, and sharedReceivers of the operator's configuration says where they \
                   run; leave pods out, or write receiver.mode: Dedicated";
    let is_wrong = spec.receiver.mode == ReceiverMode::Shared && spec.pods != PodSettings::default();
    is_wrong.then(|| Rejection::invalid("spec.pods", message))
}

fn bad_status(status: u16) -> Option<Rejection> {
    let message = format!("{status} does not tell a sender that the event was taken; use 200, 201, 202 or 204");
    (!matches!(status, 200 | 201 | 202 | 204)).then(|| Rejection::invalid("spec.respond.status", message))
}

fn bad_patience(patience: Duration) -> Option<Rejection> {
    let possible = time::Duration::from_millis(100)..=wire::ending::LONGEST_PATIENCE;
    let message = "a sender waits between 100ms and 25s";
    (!possible.contains(&patience.get())).then(|| Rejection::invalid("spec.patience", message))
}

fn bad_window(window: Duration) -> Option<Rejection> {
    let message = "ids of events are remembered for at least 1s";
    (window < Duration::from_secs(1)).then(|| Rejection::invalid("spec.deduplicate.window", message))
}

fn bad_body(body: Size) -> Option<Rejection> {
    let possible = 1..=Size::from_mebibytes(8).bytes();
    let message = "a body may have up to 8Mi: it is held in memory, and becomes one Kafka record";
    (!possible.contains(&body.bytes())).then(|| Rejection::invalid("spec.limits.body", message))
}

#[cfg(test)]
mod tests {
    use sluice_crds::{CloudEvents, NamespacedName, Reason, Settings, Topic, Webhook, wire};

    use super::{Endpoint, References, Rejection, validate};

    fn judge(spec: &str) -> Result<Endpoint, Vec<Rejection>> {
        judge_with(spec, &References::default())
    }

    fn judge_with(spec: &str, references: &References) -> Result<Endpoint, Vec<Rejection>> {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let settings: Settings = serde_saphyr::from_str(yaml).unwrap();
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        validate(&serde_saphyr::from_str::<Webhook>(&yaml).unwrap(), references, &settings)
    }

    const ROUTE: &str = "route: {parentRefs: [{name: edge, namespace: gateways}], hostnames: [hooks.example]}";

    #[test]
    fn what_is_left_out_gets_its_default() {
        let endpoint = judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}}}")).unwrap();
        assert_eq!((endpoint.path.as_str(), endpoint.respond, endpoint.replicas), ("/shop/stripe", 202, 1));
        assert_eq!(endpoint.kafka_topic(), "shop.stripe");
    }

    #[test]
    fn a_burst_is_what_comes_in_a_second_unless_another_is_written() {
        let limits =
            "{requestsPerSecond: 500, burst: 1000, total: {requestsPerSecond: 900}, source: {requestsPerSecond: 5}}";
        let limits = judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}, limits: {limits}}}")).unwrap().rate_limits;
        let rate = |requests_per_second, burst| wire::RateConfig { requests_per_second, burst };
        let source = wire::SourceLimit { rate: rate(5, 5), trusted_hops: 1 };
        let (genuine, total) = (Some(rate(500, 1000)), Some(rate(900, 900)));
        assert_eq!(limits, wire::RateLimits { source: Some(source), total, genuine });
    }

    #[test]
    fn secrets_are_files_of_their_mounts() {
        let verify = "verify: {preset: {name: GitHub, secretRefs: [{name: github, key: current}]}}";
        let endpoint = judge(&format!("{{{ROUTE}, {verify}}}")).unwrap();
        let wire::Verification::Preset { secrets, .. } = endpoint.verification else { panic!() };
        assert_eq!(secrets, [std::path::PathBuf::from("/etc/sluice/secrets/github/current")]);
    }

    #[test]
    fn cloud_events_are_taken_as_such_as_far_as_they_are_signed_unless_a_provider_has_its_own_format() {
        let accepted = |verify: &str, event: &str| {
            judge(&format!("{{{ROUTE}, verify: {verify}, event: {event}}}")).unwrap().event.cloud_events
        };
        let preset = "{preset: {name: GitHub, secretRefs: [{name: github, key: current}]}}";
        let hmac = "{hmac: {header: X-Signature, secretRefs: [{name: partner, key: current}]}}";
        assert_eq!(accepted("{none: {}}", "{}"), CloudEvents::Accept);
        // Headers are not signed: who replays a request could give it another id.
        assert_eq!(accepted(hmac, "{}"), CloudEvents::AcceptStructured);
        assert_eq!(accepted(hmac, "{cloudEvents: Accept}"), CloudEvents::Accept);
        assert_eq!(accepted(preset, "{}"), CloudEvents::Ignore);
        assert_eq!(accepted(preset, "{cloudEvents: AcceptBatches}"), CloudEvents::AcceptBatches);
    }

    #[test]
    fn keys_are_not_fetched_from_where_nobody_may_call() {
        let judged = |uri: &str| {
            let jwt = format!("{{issuer: 'https://id.example', audience: [hooks], jwksUri: '{uri}'}}");
            judge(&format!("{{{ROUTE}, verify: {{jwt: {jwt}}}}}")).err().map(|found| found[0].to_string())
        };
        assert_eq!(judged("https://id.example/jwks"), None);
        let refused = judged("http://169.254.169.254/jwks").unwrap();
        assert!(refused.contains("spec.verify.jwt.jwksUri") && refused.contains("outgoing.allow"), "{refused}");
    }

    #[test]
    fn twilio_is_told_by_what_address_it_is_known() {
        let urls = |hostnames: &str, url: &str| {
            let preset = format!("{{name: Twilio, secretRefs: [{{name: twilio, key: token}}]{url}}}");
            let route = format!("route: {{parentRefs: [{{name: edge}}], hostnames: {hostnames}}}");
            let endpoint = judge(&format!("{{{route}, verify: {{preset: {preset}}}}}")).ok()?;
            let wire::Verification::Preset { urls, .. } = endpoint.verification else { panic!() };
            Some(urls)
        };
        let both = ["https://a.example/shop/stripe".to_owned(), "https://b.example/shop/stripe".to_owned()];
        assert_eq!(urls("[a.example, '*.c.example', b.example]", ""), Some(both.to_vec()));
        let given = urls("[a.example]", ", url: 'https://public.example/sms'");
        assert_eq!(given, Some(vec!["https://public.example/sms".to_owned()]));
        assert_eq!(urls("['*.c.example']", ""), None);
    }

    #[test]
    fn events_that_are_not_as_they_must_be_go_to_dead_letters_or_are_refused() {
        let contract = |more: &str| {
            let validate = format!("validate: {{jsonSchema: {{inline: {{type: object}}}}{more}");
            judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}, {validate}}}"))
        };
        let kept = contract("}").unwrap();
        assert_eq!(kept.dead_letter_topic().as_deref(), Some("shop.stripe-webhook-dead-letters"));
        let topic = crate::webhook::desire(&kept, &Settings::default()).remove(1);
        assert_eq!(topic.name, "stripe-webhook-dead-letters");
        let config = serde_json::json!({
            "max.message.bytes": "16777216", "message.timestamp.type": "LogAppendTime", "retention.ms": "1209600000",
        });
        assert_eq!(topic.manifest["spec"]["config"], config);
        assert_eq!(contract(", onInvalid: Refuse}").unwrap().dead_letter_topic(), None);
        assert_eq!(judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}}}")).unwrap().contract, None);
    }

    #[test]
    fn a_topic_of_another_namespace_is_written_to_where_that_permits_it() {
        let topic = |name: &str| NamespacedName { namespace: "hub".into(), name: name.into() };
        let reference = |name: &str| format!("topicRef: {{name: {name}, namespace: hub}}");
        let letters = format!("deadLetters: {{{}}}", reference("letters"));
        let spec = format!("{{{ROUTE}, verify: {{none: {{}}}}, {}, {letters}", reference("events"));
        let contract = "validate: {jsonSchema: {inline: {}}}";
        let events = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: events, namespace: hub}, spec: {}, \
                      status: {topicName: hub.events, topicId: id}}";
        let there: Option<Topic> = Some(serde_saphyr::from_str(events).unwrap());
        let references = References { topic: there.clone(), dead_letters: there, ..References::default() };
        let endpoint = judge_with(&format!("{spec}, {contract}}}"), &references).unwrap();
        assert_eq!(
            (endpoint.kafka_topic().as_str(), endpoint.elsewhere),
            ("hub.events", [topic("events"), topic("letters")].into())
        );
        // Without a contract there are no dead letters.
        let endpoint = judge_with(&format!("{spec}}}"), &references).unwrap();
        assert_eq!(endpoint.elsewhere, [topic("events")].into());

        let refused = ["events", "letters"].map(|name| (topic(name), format!("{name} is not for you"))).into();
        let found = judge_with(&format!("{spec}, {contract}}}"), &References { refused, ..References::default() });
        let found: Vec<_> = found.unwrap_err().iter().map(ToString::to_string).collect();
        let expected = [("topicRef", "events"), ("deadLetters.topicRef", "letters")];
        assert_eq!(found, expected.map(|(field, name)| format!("spec.{field}.name: {name} is not for you")));
    }

    #[test]
    fn a_schema_that_is_none_is_refused_where_it_is_written() {
        let complaint = |source: &str, references: &References| {
            let validate = format!("validate: {{jsonSchema: {source}}}, deadLetters: {{topicRef: {{name: letters}}}}");
            let found =
                judge_with(&format!("{{{ROUTE}, verify: {{none: {{}}}}, {validate}}}"), references).unwrap_err();
            found.into_iter().map(|rejection| (rejection.field, rejection.reason)).collect::<Vec<_>>()
        };
        let letters = ("spec.deadLetters.topicRef.name".to_owned(), Reason::NotFound);
        let at = |field: &str, reason| vec![(format!("spec.validate.jsonSchema.{field}"), reason), letters.clone()];
        let data = [("bad".to_owned(), r#"{"type": "objekt"}"#.to_owned())].into();
        let references = References { config_maps: [("schemas".to_owned(), data)].into(), ..References::default() };
        let bad = "{configMapRef: {name: schemas, key: bad}}";
        assert_eq!(complaint("{inline: {type: objekt}}", &references), at("inline", Reason::Invalid));
        assert_eq!(complaint(bad, &references), at("configMapRef", Reason::Invalid));
        assert_eq!(complaint(bad, &References::default()), at("configMapRef.name", Reason::NotFound));
    }

    #[test]
    fn who_shares_receivers_says_nothing_about_their_pods() {
        let judged = |more: &str| {
            let spec = format!("{{{ROUTE}, verify: {{none: {{}}}}, receiver: {{mode: Shared}}{more}}}");
            judge(&spec).err().map(|found| found[0].field.clone())
        };
        assert_eq!(judged(""), None);
        assert_eq!(judged(", pods: {labels: {team: shop}}").as_deref(), Some("spec.pods"));
    }

    #[test]
    fn all_complaints_come_together() {
        let spec = format!(
            "{{{ROUTE}, verify: {{}}, event: {{id: {{}}, key: {{header: a, jsonPointer: /b}}, headers: [X-Signature]}}, \
             respond: {{status: 203}}, patience: 1m, deduplicate: {{window: 0s}}, limits: {{body: 9Mi}}, \
             topicRef: {{name: missing}}}}"
        );
        let found: Vec<_> = judge(&spec).unwrap_err().into_iter().map(|r| (r.field, r.reason)).collect();
        let expected = [
            ("spec.topicRef.name", Reason::NotFound),
            ("spec.verify", Reason::Invalid),
            ("spec.event.id", Reason::Invalid),
            ("spec.event.key", Reason::Invalid),
            ("spec.event.headers", Reason::Invalid),
            ("spec.respond.status", Reason::Invalid),
            ("spec.patience", Reason::Invalid),
            ("spec.deduplicate.window", Reason::Invalid),
            ("spec.limits.body", Reason::Invalid),
        ];
        assert_eq!(found, expected.map(|(field, reason)| (field.to_owned(), reason)));
    }
}
