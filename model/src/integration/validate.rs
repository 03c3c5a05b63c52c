//! Judges an Integration and what it refers to.

use sluice_crds::{
    Decode, Delivery, Duration, Guarantee, Integration, IntegrationSpec, NamespacedName, Scaling, Settings, Size,
    Topic, TopicReference,
};

use super::{DeadLetterTopic, Flow, References, sink, steps::steps};
use crate::{
    Cluster, Rejection,
    children::Owner,
    pods, references,
    tenancy::{self, Named},
    topic::{named_by_integration, noted_uses},
};

/// What should run, or all that is wrong with the Integration.
pub fn validate(
    integration: &Integration,
    references: &References,
    settings: &Settings,
) -> Result<Flow, Vec<Rejection>> {
    let spec = &integration.spec;
    let mut rejections = Vec::new();
    let source = source(integration, references, settings).map_err(|found| rejections.push(found)).ok();
    rejections.extend(outside_tenancy(integration, settings));
    let sink = sink::sink(integration, references, source.as_ref(), settings);
    let sink = sink.map_err(|found| rejections.extend(found)).ok();
    rejections.extend(pods::complaints(&spec.pods));
    rejections.extend(bad_circuit(spec));
    rejections.extend(not_for_this_sink(spec));
    let decode = decode(spec).map_err(|found| rejections.push(found)).ok();
    let steps = steps(spec, references, sink.as_ref()).map_err(|found| rejections.extend(found)).ok();
    let dead_letters = dead_letters(spec, references, settings).map_err(|found| rejections.push(found)).ok();
    rejections.extend(elsewhere(DEAD_LETTERS, references.dead_letters.as_ref(), source.as_ref()));
    let (Some(source), Some(decode), Some(steps), Some(sink), Some(dead_letters), true) =
        (source, decode, steps, sink, dead_letters, rejections.is_empty())
    else {
        return Err(rejections);
    };
    let owner = owner(integration);
    let elsewhere = references::elsewhere(&owner.name.namespace, named_topics(spec, references));
    Ok(Flow {
        group: group(integration),
        uses: noted_uses(named_by_integration(integration), references.webhook.as_ref(), &source.cluster.name),
        owner,
        cluster: source.cluster,
        topics: source.topics,
        elsewhere,
        start_from: spec.source.start_from,
        decode,
        steps,
        sink,
        delivery: spec.delivery.clone(),
        outgoing: settings.outgoing.clone(),
        dead_letters,
        dead_letter_headers: spec.dead_letters.header_style,
        replicas: replicas(integration),
        scaling: scaling(spec),
        paused: spec.paused,
        pods: spec.pods.clone(),
        resources: spec.worker.resources.clone(),
        log_level: spec.worker.log_level,
        waiting_for: waiting_for(spec, references),
    })
}

/// The consumer group that an Integration names, or has by default.
pub(super) fn group(integration: &Integration) -> String {
    let NamespacedName { namespace, name } = owner(integration).name;
    integration.spec.source.group.clone().unwrap_or_else(|| format!("{namespace}.{name}"))
}

/// The Integration, as the owner of what it has.
pub fn owner(integration: &Integration) -> Owner {
    let metadata = &integration.metadata;
    let [namespace, name, uid] =
        [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap_or_default());
    let generation = metadata.generation.unwrap_or_default();
    Owner { kind: "Integration", name: NamespacedName { namespace, name }, uid, generation }
}

/// The Kafka topics that are read, and their cluster.
pub(super) struct Source {
    pub(super) cluster: Cluster,
    pub(super) topics: Vec<String>,
}

/// With `scaling` it is how many there are, within the bounds: how many are needed, and how many partitions there are for them, is known
/// only after the broker was asked.
pub(super) fn replicas(integration: &Integration) -> i32 {
    let spec = &integration.spec;
    match &spec.scaling {
        _ if spec.paused => 0,
        None => spec.replicas,
        Some(scaling) => observed(integration, scaling),
    }
}

fn observed(integration: &Integration, scaling: &Scaling) -> i32 {
    let status = integration.status.clone().unwrap_or_default();
    let least = scaling.min_replicas;
    let there_are = match status.wanted_replicas {
        // This very spec came to it: none were needed, or the source has fewer partitions than `minReplicas`.
        Some(wanted) if status.observed_generation == integration.metadata.generation => wanted,
        Some(wanted) => wanted.max(least),
        // The lag was not followed until now. It takes a worker to begin a group.
        None => status.replicas.unwrap_or_default().max(least).max(1),
    };
    there_are.min(scaling.max_replicas)
}

/// How the number of workers follows the lag; not at all while it is paused.
pub(super) fn scaling(spec: &IntegrationSpec) -> Option<Scaling> {
    spec.scaling.filter(|_| !spec.paused)
}

fn source(integration: &Integration, references: &References, settings: &Settings) -> Result<Source, Rejection> {
    let IntegrationSpec { source, kafka_secret_name, .. } = &integration.spec;
    let own = kafka_secret_name.as_deref();
    if let Some(kafka) = &source.kafka {
        let cluster = Cluster::find(settings, &kafka.cluster, "spec.source.kafka.cluster")?.with_secret(own)?;
        return Ok(Source { cluster, topics: kafka.topics.clone() });
    }
    let (field, topic) = source_topic(source, references)?;
    let cluster = Cluster::find(settings, &topic.spec.cluster, field)?.with_secret(own)?;
    Ok(Source { cluster, topics: vec![references::created(field, topic, settings)?] })
}

/// What is named in Kafka's own words and belongs to others.
fn outside_tenancy(integration: &Integration, settings: &Settings) -> Vec<Rejection> {
    let namespace = integration.metadata.namespace.as_deref().unwrap_or_default();
    let source = &integration.spec.source;
    let topics = source.kafka.iter().flat_map(|kafka| &kafka.topics).enumerate();
    let topics = topics.map(|(index, topic)| (format!("spec.source.kafka.topics[{index}]"), Named::Topic(topic)));
    let group = source.group.iter().map(|group| ("spec.source.group".to_owned(), Named::Group(group)));
    topics.chain(group).filter_map(|(field, named)| tenancy::judge(settings, namespace, &field, named)).collect()
}

/// The Topic that is read, with the field that names it.
fn source_topic<'a>(
    source: &sluice_crds::Source,
    references: &'a References,
) -> Result<(&'static str, &'a Topic), Rejection> {
    if let Some(webhook) = &source.webhook {
        let field = "spec.source.webhook.name";
        if references.webhook.is_none() {
            let message = format!("there is no Webhook {:?} in this namespace; create it", webhook.name);
            return Err(Rejection::not_found(field, message));
        }
        let events = references.webhook.as_ref().and_then(|webhook| webhook.spec.topic_ref.as_ref());
        if let Some(rejection) = events.and_then(|topic| references::not_permitted(field, topic, &references.refused)) {
            return Err(rejection);
        }
        let no_topic = || Rejection::not_ready(field, format!("the Webhook {:?} has no Topic yet", webhook.name));
        return Ok((field, references.source.as_ref().ok_or_else(no_topic)?));
    }
    let field = "spec.source.topic.name";
    let reference = source.topic.as_ref();
    let reference =
        reference.ok_or_else(|| Rejection::invalid("spec.source", "write exactly one of topic, webhook, kafka"))?;
    Ok((field, references::existing(field, references.source.as_ref(), reference, &references.refused)?))
}

/// All Topics that are named, the source's also through its Webhook.
fn named_topics<'a>(spec: &'a IntegrationSpec, references: &'a References) -> [Option<&'a TopicReference>; 4] {
    let events = references.webhook.as_ref().and_then(|webhook| webhook.spec.topic_ref.as_ref());
    [spec.source.topic.as_ref(), events, spec.sink_topic(), spec.dead_letters.topic_ref.as_ref()]
}

fn waiting_for(spec: &IntegrationSpec, references: &References) -> Vec<Rejection> {
    let source = if spec.source.webhook.is_some() { "spec.source.webhook.name" } else { "spec.source.topic.name" };
    let named =
        [(source, &references.source), (sink::TOPIC, &references.sink), (DEAD_LETTERS, &references.dead_letters)];
    named.into_iter().filter_map(|(field, topic)| references::not_ready(field, topic.as_ref()?)).collect()
}

/// Nothing larger is decoded: it has to fit into a worker's memory many times.
const LARGEST_RECORD: Size = Size::from_mebibytes(16);

fn decode(spec: &IntegrationSpec) -> Result<Decode, Rejection> {
    let size = spec.decode.max_size;
    if (1..=LARGEST_RECORD.bytes()).contains(&size.bytes()) {
        return Ok(spec.decode.clone());
    }
    Err(Rejection::invalid("spec.decode.maxSize", format!("{size} is not between 1 and {LARGEST_RECORD}")))
}

/// What the sink does not obey.
fn not_for_this_sink(spec: &IntegrationSpec) -> Option<Rejection> {
    let Delivery { guarantee, circuit_breaker, rate_limit, .. } = &spec.delivery;
    if spec.sink.kafka.is_none() && *guarantee == Guarantee::ExactlyOnce {
        let message =
            "ExactlyOnce is only for sink.kafka; HTTP APIs tell repeated deliveries by delivery.idempotencyKey";
        return Some(Rejection::invalid("spec.delivery.guarantee", message));
    }
    let is_given = circuit_breaker.is_some() || rate_limit.is_some();
    (spec.sink.kafka.is_some() && is_given).then(|| {
        let message = "circuitBreaker and rateLimit are for APIs; remove them, as sink.kafka writes batches";
        Rejection::invalid("spec.delivery", message)
    })
}

/// An open circuit has to leave the sink alone.
const SHORTEST_OPEN: Duration = Duration::from_millis(100);

fn bad_circuit(spec: &IntegrationSpec) -> Option<Rejection> {
    let open_for = spec.delivery.circuit_breaker.as_ref()?.open_for;
    let message = || format!("{open_for} leaves the sink no time; write at least {SHORTEST_OPEN}");
    (open_for.get() < SHORTEST_OPEN.get())
        .then(|| Rejection::invalid("spec.delivery.circuitBreaker.openFor", message()))
}

const DEAD_LETTERS: &str = "spec.deadLetters.topicRef.name";

fn dead_letters(
    spec: &IntegrationSpec,
    references: &References,
    settings: &Settings,
) -> Result<DeadLetterTopic, Rejection> {
    let Some(reference) = &spec.dead_letters.topic_ref else {
        return Ok(DeadLetterTopic::Own(spec.dead_letters.topic.clone().unwrap_or_default()));
    };
    let topic = references::existing(DEAD_LETTERS, references.dead_letters.as_ref(), reference, &references.refused)?;
    references::created(DEAD_LETTERS, topic, settings).map(DeadLetterTopic::Named)
}

/// The complaint that a Topic is on another Kafka cluster than the one that records come from.
pub(super) fn elsewhere(field: &str, topic: Option<&Topic>, source: Option<&Source>) -> Option<Rejection> {
    let (there, here) = (&topic?.spec.cluster, &source?.cluster.name);
    let message =
        || format!("this Topic is on the Kafka cluster {there:?} and the source on {here:?}; use one on {here:?}");
    (there != here).then(|| Rejection::invalid(field, message()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_crds::{
        Integration, KafkaTopic, NamespacedName, Reason, Settings, Topic, TopicReference, TopicRole, UsedTopic,
        Webhook, wire,
    };

    use super::{Flow, References, Rejection, validate};

    fn settings() -> Settings {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn judge(spec: &str, references: &References) -> Result<Flow, Vec<Rejection>> {
        let metadata = "{name: to-ledger, namespace: shop, uid: u, generation: 3}";
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        validate(&serde_saphyr::from_str::<Integration>(&yaml).unwrap(), references, &settings())
    }

    fn orders(status: &str) -> References {
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {{name: orders}}, spec: {{}}, status: {status}}}"
        );
        let source = serde_saphyr::from_str::<Topic>(&yaml).unwrap();
        References { source: Some(source), ..References::default() }
    }

    fn complaints(spec: &str, references: &References) -> Vec<(String, Reason)> {
        judge(spec, references).unwrap_err().into_iter().map(|r| (r.field, r.reason)).collect()
    }

    const READY: &str = "{topicName: shop.orders, topicId: id}";
    const SINK: &str = "sink: {http: {url: 'https://ledger.example/v2?token=1'}}";

    #[test]
    fn what_is_left_out_gets_its_default() {
        let flow = judge(&format!("{{source: {{topic: {{name: orders}}}}, {SINK}}}"), &orders(READY)).unwrap();
        assert_eq!((flow.topics.as_slice(), flow.group.as_str()), (&["shop.orders".to_owned()][..], "shop.to-ledger"));
        assert_eq!(flow.dead_letter_topic(), "shop.to-ledger-dead-letters");
        assert_eq!(flow.sink_title(), "POST ledger.example");
        assert_eq!(flow.replicas, 1);
    }

    #[test]
    fn a_paused_integration_runs_no_worker() {
        let spec = format!("{{source: {{topic: {{name: orders}}}}, {SINK}, paused: true, replicas: 3}}");
        assert_eq!(judge(&spec, &orders(READY)).unwrap().replicas, 0);
    }

    #[test]
    fn while_nobody_knows_how_many_workers_are_needed_there_are_as_many_as_before() {
        let replicas = |scaling: &str, status: &str| {
            let spec = format!("{{source: {{topic: {{name: orders}}}}, {SINK}, scaling: {scaling}}}");
            let metadata = "{name: to-ledger, namespace: shop, uid: u, generation: 3}";
            let yaml = format!(
                "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}, status: {status}}}"
            );
            super::replicas(&serde_saphyr::from_str(&yaml).unwrap())
        };
        for (scaling, status, expected) in [
            // It was never followed: it is new, had another number of workers, or was paused.
            ("{maxReplicas: 9}", "{}", 1),
            ("{minReplicas: 0, maxReplicas: 9}", "{observedGeneration: 2, replicas: 0}", 1),
            ("{minReplicas: 3, maxReplicas: 9}", "{}", 3),
            ("{minReplicas: 0, maxReplicas: 9}", "{observedGeneration: 2, replicas: 5}", 5),
            ("{maxReplicas: 4}", "{observedGeneration: 2, replicas: 5}", 4),
            // It was: what it came to counts, and not how many pods there are by now.
            ("{minReplicas: 0, maxReplicas: 9}", "{observedGeneration: 3, wantedReplicas: 0, replicas: 2}", 0),
            ("{minReplicas: 0, maxReplicas: 9}", "{observedGeneration: 3, wantedReplicas: 6, replicas: 2}", 6),
            ("{minReplicas: 0, maxReplicas: 9}", "{observedGeneration: 2, wantedReplicas: 0}", 0),
            ("{minReplicas: 3, maxReplicas: 9}", "{observedGeneration: 2, wantedReplicas: 1}", 3),
            ("{minReplicas: 3, maxReplicas: 9}", "{observedGeneration: 3, wantedReplicas: 1}", 1),
            ("{maxReplicas: 4}", "{observedGeneration: 2, wantedReplicas: 6}", 4),
        ] {
            assert_eq!(replicas(scaling, status), expected, "{scaling} after {status}");
        }
    }

    #[test]
    fn what_runs_uses_the_topic_of_its_webhook_and_the_kafka_cluster_of_its_source() {
        let webhook = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe, namespace: shop}, spec: {route: \
                       {parentRefs: []}, verify: {none: {}}, topicRef: {name: orders, namespace: hub}}}";
        let webhook: Webhook = serde_saphyr::from_str(webhook).unwrap();
        let references = References { webhook: Some(webhook), ..orders("{topicName: hub.orders, topicId: id}") };
        let topic = |name: &str, namespace: Option<&str>| {
            Some(TopicReference { name: name.into(), namespace: namespace.map(Into::into) })
        };
        let used = |role, by_key, topic| UsedTopic { role, by_key, topic, kafka: None };
        let legacy = KafkaTopic { cluster: "default".into(), name: "legacy".into() };
        let legacy = UsedTopic { kafka: Some(legacy), ..used(TopicRole::Sink, true, None) };
        let dead_letters = used(TopicRole::DeadLetters, false, topic("to-ledger-dead-letters", None));
        let spec = "{source: {webhook: {name: stripe}}, sink: {kafka: {topicName: legacy}}}";
        let mut all = judge(spec, &references).unwrap().uses;
        all.sort_by_key(|used| format!("{:?}", used.role));
        assert_eq!(all, [dead_letters, legacy, used(TopicRole::Source, true, topic("orders", Some("hub")))]);
    }

    #[test]
    fn what_does_not_exist_yet_is_waited_for() {
        let spec = format!("{{source: {{topic: {{name: orders}}}}, {SINK}}}");
        assert_eq!(complaints(&spec, &References::default()), [("spec.source.topic.name".into(), Reason::NotFound)]);
        assert_eq!(complaints(&spec, &orders("{}")), [("spec.source.topic.name".into(), Reason::DependencyNotReady)]);
        let spec = format!("{{source: {{webhook: {{name: stripe}}}}, {SINK}}}");
        assert_eq!(complaints(&spec, &References::default()), [("spec.source.webhook.name".into(), Reason::NotFound)]);
    }

    #[test]
    fn a_topic_of_another_namespace_is_used_where_that_permits_it() {
        let spec = format!("{{source: {{topic: {{name: orders, namespace: hub}}}}, {SINK}}}");
        let topic = NamespacedName { namespace: "hub".into(), name: "orders".into() };
        let flow = judge(&spec, &orders("{topicName: hub.orders, topicId: id}")).unwrap();
        assert_eq!(flow.elsewhere, [topic.clone()].into());
        assert_eq!((flow.source_title().as_str(), flow.group.as_str()), ("hub.orders", "shop.to-ledger"));
        let own = judge(&spec.replace("hub", "shop"), &orders(READY)).unwrap();
        assert!(own.elsewhere.is_empty());

        let webhook = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe, namespace: shop}, spec: {route: \
                       {parentRefs: []}, verify: {none: {}}, topicRef: {name: orders, namespace: hub}}}";
        let webhook: Option<Webhook> = Some(serde_saphyr::from_str(webhook).unwrap());
        let through = format!("{{source: {{webhook: {{name: stripe}}}}, {SINK}}}");
        let flow = judge(&through, &References { webhook: webhook.clone(), ..orders(READY) }).unwrap();
        assert_eq!(flow.elsewhere, [topic.clone()].into());

        let none = References { webhook, ..References::default() };
        let refused = References { refused: [(topic, "not for you".to_owned())].into(), ..none.clone() };
        let told = |spec: &str, references: &References| {
            let complaint = judge(spec, references).unwrap_err().remove(0);
            (complaint.reason, complaint.to_string())
        };
        let not_permitted = |field: &str| (Reason::RefNotPermitted, format!("spec.source.{field}.name: not for you"));
        assert_eq!(told(&spec, &refused), not_permitted("topic"));
        assert_eq!(told(&through, &refused), not_permitted("webhook"));
        let missing = "spec.source.topic.name: there is no Topic \"orders\" in the namespace \"hub\"; create it";
        assert_eq!(told(&spec, &none), (Reason::NotFound, missing.to_owned()));
    }

    #[test]
    fn a_schema_is_taken_from_its_config_map() {
        let spec = |reference: &str| {
            let validate = format!("validate: {{jsonSchema: {{configMapRef: {reference}}}}}");
            format!("{{source: {{topic: {{name: orders}}}}, {SINK}, steps: [{{name: contract, {validate}}}]}}")
        };
        let entries = [("good", r#"{"type": "object"}"#), ("bad", r#"{"type": "objekt"}"#), ("none", "%YAML")];
        let data = entries.map(|(key, schema)| (key.to_owned(), schema.to_owned())).into();
        let references = References { config_maps: [("schemas".to_owned(), data)].into(), ..orders(READY) };
        let flow = judge(&spec("{name: schemas, key: good}"), &references).unwrap();
        assert_eq!(flow.steps[0].operation, wire::Operation::Validate(json!({"type": "object"})));
        for (reference, field, reason, message) in [
            ("{name: other, key: good}", "configMapRef.name", Reason::NotFound, "there is no ConfigMap \"other\""),
            ("{name: schemas, key: x}", "configMapRef.key", Reason::NotFound, "no key \"x\"; it has: bad, good, none"),
            (
                "{name: schemas, key: none}",
                "configMapRef",
                Reason::Invalid,
                "is no JSON: expected value at line 1 column 1",
            ),
            ("{name: schemas, key: bad}", "configMapRef", Reason::Invalid, "not a JSON Schema: /type"),
        ] {
            let complaint = judge(&spec(reference), &references).unwrap_err().remove(0);
            assert_eq!(complaint.field, format!("spec.steps[0].validate.jsonSchema.{field}"));
            assert!(complaint.reason == reason && complaint.message.contains(message), "{complaint}");
        }
    }

    #[test]
    fn templates_of_the_sink_are_judged_with_the_worker_s_compiler() {
        let sink = |sink: &str| {
            let spec = format!("{{source: {{topic: {{name: orders}}}}, sink: {{http: {sink}}}}}");
            judge(&spec, &orders(READY)).map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let flow = sink("{url: 'https://ledger.example/{{ .id }}', method: '{{ string!(.verb) }}'}").unwrap();
        assert_eq!(flow.sink_title(), "ledger.example");
        let headers = "headers: {X-A: '{{ .a }}', X-B: \"{{ upcase(.b) }}\"}";
        let found =
            sink(&format!("{{url: 'https://ledger.example/{{{{ .id', {headers}, query: {{q: '{{{{ ( }}}}'}}}}"))
                .unwrap_err();
        let begins = [
            "spec.sink.http.url: sink.http.url, line 1, column 24: {{ has no }}",
            "spec.sink.http.query[q]: sink.http.query[q], line 1, column 5: syntax error",
            "spec.sink.http.headers[X-B]: sink.http.headers[X-B], line 1, column 11: invalid argument type",
        ];
        assert_eq!(found.len(), begins.len(), "{found:?}");
        assert!(found.iter().zip(begins).all(|(found, begin)| found.starts_with(begin)), "{found:?}");
    }

    #[test]
    fn secrets_are_files_of_their_mounts_and_schemes_contradict_nothing() {
        let judge = |sink: &str| {
            let spec = format!("{{source: {{topic: {{name: orders}}}}, sink: {{http: {{{sink}}}}}}}");
            judge(&spec, &orders(READY)).map_err(|found| found.iter().map(|r| r.field.clone()).collect::<Vec<_>>())
        };
        let url = "url: 'https://ledger.example/'";
        let reference = |key: &str| format!("{{name: ledger, key: {key}}}");
        let oauth2 = format!(
            "oauth2: {{tokenUrl: 'https://id.example/token', clientIdRef: {}, clientSecretRef: {}, scopes: [a, b]}}",
            reference("id"),
            reference("secret"),
        );
        let flow = judge(&format!("{url}, auth: {{{oauth2}}}, tls: {{caRef: {{name: ca, key: ca.crt}}}}")).unwrap();
        let wire::SinkConfig::Http(http) = &flow.sink else { panic!() };
        let files: Vec<_> = http.secrets().map(|file| file.to_str().unwrap()).collect();
        let expected = ["ledger/id", "ledger/secret", "ca/ca.crt"].map(|file| format!("/etc/sluice/secrets/{file}"));
        assert_eq!(files, expected);
        let children = super::super::desire(&flow, &settings());
        let worker = children.iter().find(|child| child.kind == crate::children::ChildKind::Deployment).unwrap();
        let volumes = worker.manifest["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let mounted: Vec<_> = volumes.iter().filter_map(|volume| volume["secret"]["secretName"].as_str()).collect();
        assert_eq!(mounted, ["ca", "ledger"]);
        let Some(wire::AuthConfig::OAuth2 { parameters, .. }) = &http.auth else { panic!() };
        assert_eq!(*parameters, [("scope".to_owned(), "a b".to_owned())].into());
        let bearer = format!("bearer: {{tokenRef: {}}}", reference("token"));
        let key = format!("apiKey: {{query: key, header: X-Key, keyRef: {}}}", reference("key"));
        let local = oauth2.replace("id.example", "127.0.0.1");
        for (sink, field) in [
            (format!("{url}, auth: {{}}"), "auth"),
            (format!("{url}, auth: {{{bearer}, {oauth2}}}"), "auth"),
            (format!("{url}, auth: {{{key}}}"), "auth.apiKey"),
            (
                format!("{url}, auth: {{{}}}", key.replace("query: key, header: X-Key", "header: Host")),
                "auth.apiKey.header",
            ),
            (format!("{url}, auth: {{{local}}}"), "auth.oauth2.tokenUrl"),
            (format!("{url}, auth: {{{bearer}}}, headers: {{authorization: x}}"), "headers[authorization]"),
            (format!("{url}, tls: {{keyRef: {}}}", reference("key")), "tls"),
            (format!("url: 'http://ledger/', tls: {{caRef: {}}}", reference("ca")), "tls"),
        ] {
            assert_eq!(judge(&sink).unwrap_err(), [format!("spec.sink.http.{field}")], "{sink}");
        }
    }

    #[test]
    fn the_idempotency_key_takes_the_place_of_no_header_that_requests_have_anyway() {
        for name in ["Content-Length", "host", "a b"] {
            let delivery = format!("delivery: {{idempotencyKey: {{header: {name}}}}}");
            let spec = format!("{{source: {{topic: {{name: orders}}}}, {SINK}, {delivery}}}");
            let field = "spec.delivery.idempotencyKey.header".to_owned();
            assert_eq!(complaints(&spec, &orders(READY)), [(field, Reason::Invalid)], "{name}");
        }
    }

    #[test]
    fn records_go_to_a_topic_of_the_same_cluster_that_is_not_read() {
        let entries = |cluster: &str, status: &str| {
            let metadata = "{name: entries, namespace: shop}";
            let yaml = format!(
                "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {metadata}, spec: {{cluster: {cluster}}}, status: {status}}}"
            );
            References { sink: Some(serde_saphyr::from_str(&yaml).unwrap()), ..orders(READY) }
        };
        let judge = |sink: &str, references: &References| {
            let spec = format!("{{source: {{topic: {{name: orders}}}}, sink: {{kafka: {{{sink}}}}}}}");
            judge(&spec, references).map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let flow =
            judge("topic: {name: entries}, key: .id", &entries("default", "{topicName: shop.entries, topicId: e}"));
        let flow = flow.unwrap();
        assert_eq!(flow.sink_title(), "shop.entries");
        let wire::SinkConfig::Kafka(kafka) = &flow.sink else { panic!() };
        assert_eq!((kafka.topic.as_str(), kafka.key.as_deref()), ("shop.entries", Some(".id")));
        assert_eq!(kafka.connection, flow.cluster.connection);
        assert_eq!(judge("topicName: other.entries", &orders(READY)).unwrap().sink_title(), "other.entries");
        let created = entries("default", "{topicName: shop.entries, topicId: e}");
        for (sink, references, complaint) in [
            ("topic: {name: entries}", &orders(READY), "spec.sink.kafka.topic.name: there is no Topic \"entries\""),
            (
                "topic: {name: entries}",
                &entries("default", "{}"),
                "spec.sink.kafka.topic.name: the Topic \"entries\" is not ready",
            ),
            (
                "topic: {name: entries}",
                &entries("east", "{topicName: e, topicId: e}"),
                "spec.sink.kafka.topic.name: this Topic is on the Kafka cluster \"east\"",
            ),
            (
                "topicName: shop.orders",
                &orders(READY),
                "spec.sink.kafka.topicName: records would be read again without end",
            ),
            (
                "topicName: a, topic: {name: entries}",
                &created,
                "spec.sink.kafka: write exactly one of topic, topicName",
            ),
            ("", &orders(READY), "spec.sink.kafka: write exactly one of topic, topicName"),
            ("topic: {name: entries}, key: '.a ='", &created, "spec.sink.kafka.key: sink.kafka.key, line 1"),
            (
                "topic: {name: entries}, partition: '\"x\"'",
                &created,
                "spec.sink.kafka.partition: sink.kafka.partition, line 1, column 1: a partition is a whole number",
            ),
            ("topic: {name: entries}, headers: {'': x}", &created, "spec.sink.kafka.headers: a header has a name"),
        ] {
            let found = judge(sink, references).unwrap_err();
            assert!(found[0].starts_with(complaint) && found.len() == 1, "{sink}: {found:?}");
        }
    }

    #[test]
    fn addresses_that_nobody_may_call_are_refused() {
        for url in ["http://127.0.0.1:8080/", "http://[::1]/", "http://169.254.169.254/latest/{{ .id }}"] {
            let spec = format!("{{source: {{topic: {{name: orders}}}}, sink: {{http: {{url: '{url}'}}}}}}");
            let complaint = judge(&spec, &orders(READY)).unwrap_err().remove(0);
            assert!(complaint.message.contains("outgoing.allow"), "{complaint}");
        }
    }

    #[test]
    fn with_tenancy_kafkas_own_names_must_be_the_namespaces() {
        let mut settings = settings();
        settings.tenancy = Some(sluice_crds::Tenancy::default());
        let judge = |source: &str, references: &References| {
            let spec = format!("{{source: {source}, {SINK}}}");
            let metadata = "{name: to-ledger, namespace: shop}";
            let yaml =
                format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
            let judged = validate(&serde_saphyr::from_str(&yaml).unwrap(), references, &settings);
            let complaints = judged.err().unwrap_or_default();
            assert!(complaints.iter().all(|complaint| complaint.reason == Reason::OutsideTenancy), "{complaints:?}");
            complaints.into_iter().map(|complaint| complaint.field).collect::<Vec<_>>()
        };
        let none = References::default();
        assert_eq!(judge("{kafka: {topics: [shop.a, shop.b]}, group: shop.c}", &none), [""; 0]);
        assert_eq!(
            judge("{kafka: {topics: [shop.a, billing.b]}, group: billing.c}", &none),
            ["spec.source.kafka.topics[1]", "spec.source.group"]
        );
        let mut elsewhere = orders("{topicName: billing.orders, topicId: id}");
        elsewhere.source.as_mut().unwrap().metadata.namespace = Some("shop".to_owned());
        assert_eq!(judge("{topic: {name: orders}}", &elsewhere), ["spec.source.topic.name"]);
    }

    #[test]
    fn all_complaints_come_together() {
        let spec = "{source: {kafka: {cluster: east, topics: [a]}}, decode: {maxSize: 17Mi}, delivery: {circuitBreaker: {openFor: 99ms}}, steps: [{name: one, filter: '.a =='}, {name: two, map: '.b = upcase('}],
            sink: {http: {url: 'http://user:pw@host/', headers: {Host: x, 'a b': y}}}}";
        let fields: Vec<_> = complaints(spec, &References::default()).into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "spec.source.kafka.cluster",
                "spec.sink.http.url",
                "spec.sink.http.headers[Host]",
                "spec.sink.http.headers[a b]",
                "spec.delivery.circuitBreaker.openFor",
                "spec.decode.maxSize",
                "spec.steps[0].filter",
                "spec.steps[1].map",
            ]
        );
    }
}
