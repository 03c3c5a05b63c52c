//! What an event is called and which headers stay with it: nothing of that may prove who its sender is.

use sluice_crds::{CloudEvents, EventField, EventId, WebhookSpec, wire};

use super::verify::certificate_header;
use crate::Rejection;

/// Headers that carry credentials, whatever the scheme.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];
/// What gateways call the headers in which they forward a client's certificate, or what is in it: `Client-Cert` and
/// `Client-Cert-Chain` (RFC 9440), `X-Forwarded-Client-Cert` (Envoy), `X-Forwarded-Tls-Client-Cert-Info` (Traefik),
/// `Ssl-Client-Subject-Dn` (NGINX), `X-Amzn-Mtls-Clientcert-Leaf` (AWS).
const CERTIFICATES: [&str; 3] = ["client-cert", "clientcert", "ssl-client"];
/// Beside those, what a header is likely to prove that has such a word in its name.
const PROOFS: [&str; 4] = ["signature", "token", "secret", "hmac"];

/// What the names of an event are taken from, and what stays with it; or all that is wrong with that.
pub(super) fn event_sources(spec: &WebhookSpec) -> Result<wire::EventSources, Vec<Rejection>> {
    let event = &spec.event;
    let mut rejections = Vec::new();
    let id = event.id.as_ref().and_then(|id| id_source(id).map_err(|found| rejections.push(found)).ok());
    let mut field = |path: &str, field: &Option<EventField>| {
        field.as_ref().and_then(|field| field_source(path, field).map_err(|found| rejections.push(found)).ok())
    };
    let default = if spec.verify.preset.is_some() { CloudEvents::Ignore } else { CloudEvents::Accept };
    let sources = wire::EventSources {
        id,
        event_type: field("spec.event.type", &event.event_type),
        key: field("spec.event.key", &event.key),
        sequence: field("spec.event.sequence", &event.sequence),
        cloud_events: event.cloud_events.unwrap_or(default),
        headers: event.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    rejections.extend(bad_names(spec, &sources));
    let kept = sources.headers.iter().filter(|name| is_credential(spec, name) || has_one_of(name, &PROOFS));
    rejections.extend(kept.map(|name| proves("spec.event.headers", name)));
    if rejections.is_empty() { Ok(sources) } else { Err(rejections) }
}

/// Names get into the topic as well. Some providers call an event's id a token, so that only what surely is a credential
/// is refused.
fn bad_names(spec: &WebhookSpec, sources: &wire::EventSources) -> Vec<Rejection> {
    let header = |source: &Option<wire::FieldSource>| match source {
        Some(wire::FieldSource::Header(name)) => Some(name.to_ascii_lowercase()),
        Some(wire::FieldSource::JsonPointer(_)) | None => None,
    };
    let id = match &sources.id {
        Some(wire::IdSource::Header(name)) => Some(name.to_ascii_lowercase()),
        Some(wire::IdSource::JsonPointer(_) | wire::IdSource::BodyHash) | None => None,
    };
    let names = [
        ("spec.event.id.header", id),
        ("spec.event.type.header", header(&sources.event_type)),
        ("spec.event.key.header", header(&sources.key)),
        ("spec.event.sequence.header", header(&sources.sequence)),
    ];
    let chosen = names.into_iter().filter_map(|(field, name)| Some((field, name?)));
    chosen.filter(|(_, name)| is_credential(spec, name)).map(|(field, name)| proves(field, &name)).collect()
}

/// Whether a header, in lower case, proves by itself who its sender is.
fn is_credential(spec: &WebhookSpec, name: &str) -> bool {
    let verify = &spec.verify;
    let of_scheme = [
        verify.hmac.as_ref().map(|hmac| hmac.header.as_str()),
        verify.api_key.as_ref().map(|key| key.header.as_str()),
        verify.client_certificate.as_ref().map(certificate_header),
    ];
    CREDENTIALS.contains(&name)
        || has_one_of(name, &CERTIFICATES)
        || of_scheme.into_iter().flatten().any(|header| header.eq_ignore_ascii_case(name))
}

fn has_one_of(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.contains(word))
}

fn proves(field: &str, name: &str) -> Rejection {
    let message = format!("the header {name} proves who the sender is and must not get into a topic; remove it");
    Rejection::invalid(field, message)
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

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;

    /// The fields of `event` that are refused.
    fn refused(verify: &str, event: &str) -> Vec<String> {
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {verify}, event: {event}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: a}}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let found = event_sources(&webhook.spec).err().unwrap_or_default();
        found.into_iter().map(|rejection| rejection.field).collect()
    }

    #[test]
    fn no_header_with_a_client_certificate_gets_into_a_topic() {
        for header in [
            "Client-Cert",
            "Client-Cert-Chain",
            "X-Forwarded-Client-Cert",
            "X-Forwarded-Tls-Client-Cert-Info",
            "Ssl-Client-Subject-Dn",
            "X-Amzn-Mtls-Clientcert-Leaf",
            "Authorization",
        ] {
            let kept = refused("{none: {}}", &format!("{{headers: [{header}]}}"));
            assert_eq!(kept, ["spec.event.headers"], "{header}");
            for name in ["id", "type", "key", "sequence"] {
                let named = refused("{none: {}}", &format!("{{{name}: {{header: {header}}}}}"));
                assert_eq!(named, [format!("spec.event.{name}.header")], "{header}");
            }
        }
        for harmless in
            ["{headers: [X-Tenant]}", "{id: {header: I-Twilio-Idempotency-Token}}", "{key: {header: X-Client}}"]
        {
            assert_eq!(refused("{none: {}}", harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn the_header_that_the_scheme_trusts_does_not_get_into_a_topic_whatever_its_name() {
        let keyed = |header: &str| refused("{apiKey: {header: X-Partner, secretRefs: [{name: a, key: b}]}}", header);
        assert_eq!(keyed("{key: {header: x-partner}}"), ["spec.event.key.header"]);
        let allowed = "allowed: [{subject: CN=a}], format: Text";
        let verify = format!("{{clientCertificate: {{{allowed}, header: X-Subject}}}}");
        assert_eq!(
            refused(&verify, "{headers: [X-Subject], id: {header: X-SUBJECT}}"),
            ["spec.event.id.header", "spec.event.headers"]
        );
    }
}
