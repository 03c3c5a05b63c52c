//! What an event is called and which headers stay with it: nothing of that may prove who its sender is.

use sluice_crds::{CloudEvents, EventField, EventId, PresetName, Verify, WebhookSpec, wire};

use super::verify::certificate_header;
use crate::Rejection;

/// Headers that carry credentials, whatever the scheme.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];
/// What gateways call the headers in which they forward a client's certificate, or what is in it: `Client-Cert` and
/// `Client-Cert-Chain` (RFC 9440), `X-Forwarded-Client-Cert` (Envoy), `X-Forwarded-Tls-Client-Cert-Info` (Traefik),
/// `Ssl-Client-Subject-Dn` (NGINX), `X-Amzn-Mtls-Clientcert-Leaf` (AWS).
const CERTIFICATES: [&str; 3] = ["client-cert", "clientcert", "ssl-client"];
/// Beside those, what a header is likely to prove that has such a word in its name.
const PROOFS: [&str; 8] = ["signature", "token", "secret", "hmac", "password", "credential", "api-key", "apikey"];
/// Before the attributes of a cloud event that are headers: all of them get into the topic.
const ATTRIBUTE: &str = "ce-";

/// What the names of an event are taken from, and what stays with it; or all that is wrong with that.
pub(super) fn event_sources(spec: &WebhookSpec) -> Result<wire::EventSources, Vec<Rejection>> {
    let event = &spec.event;
    let mut rejections = Vec::new();
    let id = event.id.as_ref().and_then(|id| id_source(id).map_err(|found| rejections.push(found)).ok());
    let mut field = |path: &str, field: &Option<EventField>| {
        field.as_ref().and_then(|field| field_source(path, field).map_err(|found| rejections.push(found)).ok())
    };
    let sources = wire::EventSources {
        id,
        event_type: field("spec.event.type", &event.event_type),
        key: field("spec.event.key", &event.key),
        sequence: field("spec.event.sequence", &event.sequence),
        cloud_events: event.cloud_events.unwrap_or_else(|| default_mode(&spec.verify)),
        headers: event.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    rejections.extend(bad_names(spec, &sources));
    let kept = sources.headers.iter().filter(|name| is_credential(spec, name) || has_one_of(name, &PROOFS));
    rejections.extend(kept.map(|name| proves("spec.event.headers", name)));
    if sources.cloud_events.in_headers() {
        rejections.extend(credentials_as_attributes(&spec.verify));
    }
    if rejections.is_empty() { Ok(sources) } else { Err(rejections) }
}

/// Signatures cover the body, not the headers in which a cloud event's attributes stand: who replays a genuine request could give it
/// another id, and have it written again.
fn default_mode(verify: &Verify) -> CloudEvents {
    if verify.preset.is_some() {
        CloudEvents::Ignore
    } else if verify.hmac.is_some() {
        CloudEvents::AcceptStructured
    } else {
        CloudEvents::Accept
    }
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
    let preset = spec.verify.preset.as_ref();
    CREDENTIALS.contains(&name)
        || has_one_of(name, &CERTIFICATES)
        || preset.is_some_and(|preset| proofs_of(preset.name).contains(&name))
        || chosen_headers(&spec.verify).any(|(_, header)| header.eq_ignore_ascii_case(name))
}

/// The headers in which the sender proves who it is, where the Webhook says which, each with its field.
fn chosen_headers(verify: &Verify) -> impl Iterator<Item = (&'static str, &str)> {
    let hmac = verify.hmac.as_ref().map(|hmac| ("spec.verify.hmac.header", hmac.header.as_str()));
    let key = verify.api_key.as_ref().map(|key| ("spec.verify.apiKey.header", key.header.as_str()));
    let certificate = verify.client_certificate.as_ref();
    let certificate = certificate.map(|found| ("spec.verify.clientCertificate.header", certificate_header(found)));
    [hmac, key, certificate].into_iter().flatten()
}

/// The headers in which a provider proves that it is the sender, in lower case. Who sends through Svix has them under both names.
fn proofs_of(preset: PresetName) -> &'static [&'static str] {
    match preset {
        PresetName::GitHub => &["x-hub-signature-256", "x-hub-signature"],
        PresetName::GitLab => &["x-gitlab-token", "webhook-signature"],
        PresetName::Shopify => &["x-shopify-hmac-sha256"],
        PresetName::Slack => &["x-slack-signature"],
        PresetName::StandardWebhooks | PresetName::Svix => &["webhook-signature", "svix-signature"],
        PresetName::Stripe => &["stripe-signature"],
        PresetName::Twilio => &["x-twilio-signature"],
    }
}

/// The headers with credentials that would be taken for attributes of a cloud event.
fn credentials_as_attributes(verify: &Verify) -> impl Iterator<Item = Rejection> {
    let attributes = chosen_headers(verify).filter(|(_, header)| header.to_ascii_lowercase().starts_with(ATTRIBUTE));
    attributes.map(|(field, header)| {
        let message = format!(
            "headers that begin with {ATTRIBUTE} are attributes of cloud events and get into the topic, and {header} proves \
             who the sender is; name another header, or write event.cloudEvents: Ignore"
        );
        Rejection::invalid(field, message)
    })
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
    fn no_header_by_which_a_provider_proves_itself_gets_into_a_topic() {
        for (preset, header) in [
            ("GitHub", "X-Hub-Signature-256"),
            ("GitHub", "X-Hub-Signature"),
            ("GitLab", "X-Gitlab-Token"),
            ("GitLab", "webhook-signature"),
            ("Shopify", "X-Shopify-Hmac-Sha256"),
            ("Slack", "X-Slack-Signature"),
            ("StandardWebhooks", "Webhook-Signature"),
            ("Svix", "Svix-Signature"),
            ("Stripe", "Stripe-Signature"),
            ("Twilio", "X-Twilio-Signature"),
        ] {
            let verify = format!("{{preset: {{name: {preset}, secretRefs: [{{name: a, key: b}}]}}}}");
            assert_eq!(refused(&verify, &format!("{{headers: [{header}]}}")), ["spec.event.headers"], "{header}");
            for name in ["id", "type", "key", "sequence"] {
                let named = refused(&verify, &format!("{{{name}: {{header: {header}}}}}"));
                assert_eq!(named, [format!("spec.event.{name}.header")], "{header}");
            }
        }
    }

    #[test]
    fn no_header_stays_whose_name_says_that_it_proves_something() {
        for header in ["X-Password", "X-Partner-Api-Key", "X-ApiKey", "X-Credentials", "X-Session-Token", "X-Sig-Hmac"]
        {
            assert_eq!(refused("{none: {}}", &format!("{{headers: [{header}]}}")), ["spec.event.headers"], "{header}");
        }
    }

    #[test]
    fn a_header_with_a_credential_is_no_attribute_of_a_cloud_event() {
        const SECRETS: &str = "secretRefs: [{name: a, key: b}]";
        let key = format!("{{apiKey: {{header: Ce-Key, {SECRETS}}}}}");
        let hmac = format!("{{hmac: {{header: ce-signature, {SECRETS}}}}}");
        let certificate = "{clientCertificate: {allowed: [{subject: CN=a}], format: Text, header: CE-Subject}}";
        for (verify, event, expected) in [
            (key.as_str(), "{}", Some("spec.verify.apiKey.header")),
            (key.as_str(), "{cloudEvents: AcceptBatches}", Some("spec.verify.apiKey.header")),
            (key.as_str(), "{cloudEvents: Ignore}", None),
            (hmac.as_str(), "{}", None),
            (hmac.as_str(), "{cloudEvents: Accept}", Some("spec.verify.hmac.header")),
            (certificate, "{}", Some("spec.verify.clientCertificate.header")),
        ] {
            assert_eq!(refused(verify, event), expected.into_iter().collect::<Vec<_>>(), "{verify} {event}");
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
