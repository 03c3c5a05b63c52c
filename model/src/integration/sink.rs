//! Judges what an Integration delivers to.

use http::{HeaderName, HeaderValue};
use sluice_crds::{HttpSink, Integration, IntegrationSpec, KafkaSink, Settings, wire};

use super::{
    References, auth,
    validate::{Source, elsewhere},
};
use crate::{
    Rejection, address, references,
    tenancy::{self, Named},
};

/// The field that names the Topic that is written to.
pub(super) const TOPIC: &str = "spec.sink.kafka.topic.name";

/// The sink as the worker gets it, or all that is wrong with it. Without a source a Kafka sink has no complaint of its own: that of the
/// source comes first.
pub(super) fn sink(
    integration: &Integration,
    references: &References,
    source: Option<&Source>,
    settings: &Settings,
) -> Result<wire::SinkConfig, Vec<Rejection>> {
    let spec = &integration.spec;
    match (&spec.sink.http, &spec.sink.kafka) {
        (Some(http), None) => self::http(http, spec, settings).map(wire::SinkConfig::Http),
        (None, Some(kafka)) => {
            let Some(source) = source else { return Err(vec![]) };
            self::kafka(kafka, integration, references, source, settings).map(wire::SinkConfig::Kafka)
        }
        _ => Err(vec![Rejection::invalid("spec.sink", "write exactly one of http, kafka")]),
    }
}

fn http(http: &HttpSink, spec: &IntegrationSpec, settings: &Settings) -> Result<wire::HttpSinkConfig, Vec<Rejection>> {
    let mut rejections = Vec::new();
    let auth = auth::auth(http, settings).map_err(|found| rejections.extend(found)).unwrap_or_default();
    let tls = auth::tls(http).map_err(|found| rejections.push(found)).unwrap_or_default();
    let config = wire::HttpSinkConfig {
        url: http.url.clone(),
        method: http.method.clone(),
        query: http.query.clone(),
        headers: http.headers.clone(),
        body: http.body,
        success_codes: http.success_codes.clone(),
        auth,
        tls,
    };
    let address = address::complaint("spec.sink.http.url", config.origin(), settings);
    rejections.extend(address.into_iter().chain(bad_headers(http)).chain(bad_idempotency_header(spec)));
    if rejections.is_empty() { Ok(config) } else { Err(rejections) }
}

/// Headers that the request has anyway: a second one would contradict it.
const RESERVED_HEADERS: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];

/// What is wrong with the name of a header.
pub(super) fn bad_name(field: &str, name: &str) -> Option<Rejection> {
    if HeaderName::try_from(name).is_err() {
        return Some(Rejection::invalid(field, format!("{name:?} is no name of a header")));
    }
    let is_reserved = RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    let message = || format!("{name:?} is set by the HTTP client itself; leave it to it");
    is_reserved.then(|| Rejection::invalid(field, message()))
}

fn bad_headers(http: &HttpSink) -> Vec<Rejection> {
    let complaint = |(name, value): (&String, &String)| {
        let field = format!("spec.sink.http.headers[{name}]");
        let is_value = wire::is_template(value) || HeaderValue::try_from(value.as_str()).is_ok();
        let bad_value = || Rejection::invalid(&*field, "a header's value cannot hold control characters");
        bad_name(&field, name).or_else(|| (!is_value).then(bad_value))
    };
    http.headers.iter().filter_map(complaint).collect()
}

fn bad_idempotency_header(spec: &IntegrationSpec) -> Option<Rejection> {
    bad_name("spec.delivery.idempotencyKey.header", &spec.delivery.idempotency_key.header)
}

fn kafka(
    kafka: &KafkaSink,
    integration: &Integration,
    references: &References,
    source: &Source,
    settings: &Settings,
) -> Result<wire::KafkaSinkConfig, Vec<Rejection>> {
    let mut rejections = Vec::new();
    let topic = topic(kafka, integration, references, settings).map_err(|found| rejections.push(found)).ok();
    rejections.extend(elsewhere(TOPIC, references.sink.as_ref(), Some(source)));
    let field = if kafka.topic.is_some() { TOPIC } else { "spec.sink.kafka.topicName" };
    if topic.as_ref().is_some_and(|topic| source.topics.contains(topic)) {
        let message = "records would be read again without end, as the source reads this topic; name another one";
        rejections.push(Rejection::invalid(field, message));
    }
    if kafka.headers.contains_key("") {
        rejections.push(Rejection::invalid("spec.sink.kafka.headers", "a header has a name; \"\" is none"));
    }
    let (Some(topic), []) = (topic, rejections.as_slice()) else { return Err(rejections) };
    Ok(wire::KafkaSinkConfig {
        connection: source.cluster.connection.clone(),
        topic,
        key: kafka.key.clone(),
        partition: kafka.partition.clone(),
        headers: kafka.headers.clone(),
    })
}

/// The Kafka topic that is written to.
fn topic(
    kafka: &KafkaSink,
    integration: &Integration,
    references: &References,
    settings: &Settings,
) -> Result<String, Rejection> {
    match (&kafka.topic, &kafka.topic_name) {
        (Some(reference), None) => {
            let topic = references::existing(TOPIC, references.sink.as_ref(), reference, &references.refused)?;
            references::created(TOPIC, topic, settings)
        }
        (None, Some(name)) => {
            let namespace = integration.metadata.namespace.as_deref().unwrap_or_default();
            let complaint = tenancy::judge(settings, namespace, "spec.sink.kafka.topicName", Named::Topic(name));
            complaint.map_or_else(|| Ok(name.clone()), Err)
        }
        _ => Err(Rejection::invalid("spec.sink.kafka", "write exactly one of topic, topicName")),
    }
}
