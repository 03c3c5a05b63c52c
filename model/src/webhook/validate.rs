//! Judges a Webhook and what it refers to.

use sluice_crds::{Event, EventField, EventId, NamespacedName, Settings, Webhook, WebhookSpec, wire};

use super::{Endpoint, EventTopic, References, verify::verification};
use crate::{Cluster, Rejection, children::Owner, references};

/// What should be served, or all that is wrong with the Webhook.
pub fn validate(webhook: &Webhook, references: &References, settings: &Settings) -> Result<Endpoint, Vec<Rejection>> {
    let spec = &webhook.spec;
    let mut rejections = Vec::new();
    let topic = topic(spec, references, settings).map_err(|found| rejections.push(found)).ok();
    let owner = owner(webhook);
    let default_path = format!("/{}/{}", owner.name.namespace, owner.name.name);
    let path = spec.route.path.clone().unwrap_or(default_path);
    let verification = verification(spec, &path).map_err(|found| rejections.push(found)).ok();
    let event = event(&spec.event).map_err(|found| rejections.extend(found)).ok();
    rejections.extend(bad_status(spec.respond.status));
    let (Some((cluster, topic)), Some(verification), Some(event), true) =
        (topic, verification, event, rejections.is_empty())
    else {
        return Err(rejections);
    };
    Ok(Endpoint {
        owner,
        cluster,
        topic,
        parents: spec.route.parent_refs.clone(),
        hostnames: spec.route.hostnames.clone(),
        path,
        verification,
        tolerance: spec.verify.tolerance,
        event,
        deduplication_window: spec.deduplicate.window,
        body_limit: spec.limits.body,
        respond: spec.respond.status,
        replicas: spec.replicas,
        paused: spec.paused,
    })
}

fn owner(webhook: &Webhook) -> Owner {
    let metadata = &webhook.metadata;
    let [namespace, name, uid] =
        [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap_or_default());
    let generation = metadata.generation.unwrap_or_default();
    Owner { kind: "Webhook", name: NamespacedName { namespace, name }, uid, generation }
}

/// A Topic that the Webhook owns is on the default cluster.
const DEFAULT_CLUSTER: &str = "default";

fn topic(spec: &WebhookSpec, references: &References, settings: &Settings) -> Result<(Cluster, EventTopic), Rejection> {
    let field = "spec.topicRef.name";
    let Some(reference) = &spec.topic_ref else {
        let cluster = Cluster::find(settings, DEFAULT_CLUSTER, "spec.topic")?;
        return Ok((cluster, EventTopic::Own(spec.topic.clone().unwrap_or_default())));
    };
    let topic = references::existing(field, references.topic.as_ref(), reference)?;
    let cluster = Cluster::find(settings, &topic.spec.cluster, field)?;
    let kafka = references::created(field, topic)?;
    Ok((cluster, EventTopic::Named { kafka, not_ready: references::not_ready(field, topic) }))
}

fn event(event: &Event) -> Result<wire::EventSources, Vec<Rejection>> {
    let mut rejections = Vec::new();
    let sources = wire::EventSources {
        id: event.id.as_ref().and_then(|id| id_source(id).map_err(|found| rejections.push(found)).ok()),
        event_type: event
            .event_type
            .as_ref()
            .and_then(|field| field_source("spec.event.type", field).map_err(|found| rejections.push(found)).ok()),
        key: event
            .key
            .as_ref()
            .and_then(|field| field_source("spec.event.key", field).map_err(|found| rejections.push(found)).ok()),
    };
    if rejections.is_empty() { Ok(sources) } else { Err(rejections) }
}

fn id_source(id: &EventId) -> Result<wire::IdSource, Rejection> {
    match (&id.header, &id.json_pointer, &id.body_hash) {
        (Some(header), None, None) => Ok(wire::IdSource::Header(header.clone())),
        (None, Some(pointer), None) => Ok(wire::IdSource::JsonPointer(pointer.clone())),
        (None, None, Some(_)) => Ok(wire::IdSource::BodyHash),
        _ => Err(Rejection::invalid("spec.event.id", "write exactly one of header, jsonPointer, bodyHash")),
    }
}

fn field_source(path: &str, field: &EventField) -> Result<wire::FieldSource, Rejection> {
    match (&field.header, &field.json_pointer) {
        (Some(header), None) => Ok(wire::FieldSource::Header(header.clone())),
        (None, Some(pointer)) => Ok(wire::FieldSource::JsonPointer(pointer.clone())),
        _ => Err(Rejection::invalid(path, "write exactly one of header, jsonPointer")),
    }
}

fn bad_status(status: u16) -> Option<Rejection> {
    let message = format!("{status} does not tell a sender that the event was taken; use 200, 201, 202 or 204");
    (!matches!(status, 200 | 201 | 202 | 204)).then(|| Rejection::invalid("spec.respond.status", message))
}

#[cfg(test)]
mod tests {
    use sluice_crds::{Reason, Settings, Webhook, wire};

    use super::{Endpoint, References, Rejection, validate};
    use crate::webhook::{Listener, url::url};

    fn judge(spec: &str) -> Result<Endpoint, Vec<Rejection>> {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let settings: Settings = serde_saphyr::from_str(yaml).unwrap();
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        validate(&serde_saphyr::from_str::<Webhook>(&yaml).unwrap(), &References::default(), &settings)
    }

    const ROUTE: &str = "route: {parentRefs: [{name: edge, namespace: gateways}], hostnames: [hooks.example]}";

    fn listener(protocol: &str, hostname: Option<&str>) -> Listener {
        Listener {
            namespace: "gateways".into(),
            gateway: "edge".into(),
            name: protocol.to_lowercase(),
            protocol: protocol.into(),
            port: if protocol == "HTTPS" { 443 } else { 8080 },
            hostname: hostname.map(str::to_owned),
            address: Some("192.0.2.1".into()),
        }
    }

    #[test]
    fn what_is_left_out_gets_its_default() {
        let endpoint = judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}}}")).unwrap();
        assert_eq!((endpoint.path.as_str(), endpoint.respond, endpoint.replicas), ("/shop/stripe", 202, 1));
        assert_eq!(endpoint.kafka_topic(), "shop.stripe");
    }

    #[test]
    fn secrets_are_files_of_their_mounts() {
        let verify = "verify: {preset: {name: GitHub, secretRefs: [{name: github, key: current}]}}";
        let endpoint = judge(&format!("{{{ROUTE}, {verify}}}")).unwrap();
        let wire::Verification::Preset { secrets, .. } = endpoint.verification else { panic!() };
        assert_eq!(secrets, [std::path::PathBuf::from("/etc/sluice/secrets/github/current")]);
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
    fn all_complaints_come_together() {
        let spec = format!(
            "{{{ROUTE}, verify: {{}}, event: {{id: {{}}, key: {{header: a, jsonPointer: /b}}}}, respond: {{status: 203}}, topicRef: {{name: missing}}}}"
        );
        let found: Vec<_> = judge(&spec).unwrap_err().into_iter().map(|r| (r.field, r.reason)).collect();
        let expected = [
            ("spec.topicRef.name", Reason::NotFound),
            ("spec.verify", Reason::Invalid),
            ("spec.event.id", Reason::Invalid),
            ("spec.event.key", Reason::Invalid),
            ("spec.respond.status", Reason::Invalid),
        ];
        assert_eq!(found, expected.map(|(field, reason)| (field.to_owned(), reason)));
    }

    #[test]
    fn the_url_is_that_of_the_listener_that_serves_the_host() {
        let endpoint = judge(&format!("{{{ROUTE}, verify: {{none: {{}}}}}}")).unwrap();
        let cases = [
            (vec![], None),
            (vec![listener("HTTP", None)], Some("http://hooks.example:8080/shop/stripe")),
            (vec![listener("HTTP", None), listener("HTTPS", None)], Some("https://hooks.example/shop/stripe")),
            (vec![listener("HTTPS", Some("*.example"))], Some("https://hooks.example/shop/stripe")),
            (vec![listener("HTTPS", Some("other.example"))], None),
            (vec![listener("TCP", None)], None),
        ];
        for (listeners, expected) in cases {
            assert_eq!(url(&endpoint, &listeners).as_deref(), expected, "{listeners:?}");
        }
    }
}
