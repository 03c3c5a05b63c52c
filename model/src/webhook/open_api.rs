//! The endpoint as an OpenAPI 3.0 document, for gateways that are set up from one. Apigee takes the server for its target; Google's API
//! Gateway reads the extensions `x-google-*`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sluice_crds::{CloudEvents, OpenApi, PresetName, wire::Verification};

use super::{COMPONENT, Endpoint};
use crate::children::{Child, ChildKind};

/// Key of the document in its ConfigMap.
const KEY: &str = "openapi.json";
/// Longer than any receiver lets a sender wait.
const DEADLINE_SECONDS: f64 = 30.0;

/// The ConfigMap with the document, where one is asked for.
pub(super) fn config_map(endpoint: &Endpoint) -> Option<Child> {
    let document = document(endpoint, endpoint.open_api.as_ref()?);
    let text = serde_json::to_string_pretty(&document).expect("a document is plain data");
    let name = format!("{}-openapi", endpoint.owner.name.name);
    Some(endpoint.owner.child(ChildKind::ConfigMap, COMPONENT, &name, json!({"data": {KEY: text}})))
}

fn document(endpoint: &Endpoint, open_api: &OpenApi) -> Value {
    let (namespace, name) = (&endpoint.owner.name.namespace, &endpoint.owner.name.name);
    let service = || format!("http://{}.{namespace}.svc", endpoint.service());
    let target = open_api.target.clone().unwrap_or_else(service);
    let schemes = schemes(&endpoint.verification);
    let mut document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": format!("{namespace}.{name}"),
            "description": format!("The endpoint of the Webhook {namespace}/{name}"),
            "version": endpoint.version.as_deref().unwrap_or("1"),
        },
        "servers": [{"url": target, "description": "Where a gateway reaches the receivers"}],
        "paths": {(endpoint.path.as_str()): {"post": operation(endpoint, &schemes)}},
        "x-google-api-management": {"backends": {"receivers": {
            "address": target,
            "deadline": DEADLINE_SECONDS,
            "pathTranslation": "APPEND_PATH_TO_ADDRESS",
        }}},
        "x-google-backend": "receivers",
    });
    if !schemes.is_empty() {
        document["components"] = json!({"securitySchemes": schemes});
    }
    document
}

fn operation(endpoint: &Endpoint, schemes: &BTreeMap<&str, Value>) -> Value {
    // Any one of them is enough.
    let security: Vec<Value> = schemes.keys().map(|scheme| json!({(*scheme): []})).collect();
    let mut operation = json!({
        "operationId": "sendEvent",
        "summary": "Sends an event",
        "requestBody": {
            "required": true,
            "description": format!("At most {}, uncompressed", endpoint.body_limit),
            "content": content(endpoint),
        },
        "responses": responses(endpoint),
        "security": security,
    });
    if let Some((name, value)) = &endpoint.header {
        let schema = json!({"type": "string", "enum": [value]});
        operation["parameters"] = json!([{"name": name, "in": "header", "required": true, "schema": schema}]);
    }
    if let Verification::ClientCertificate { header, .. } = &endpoint.verification {
        let text = format!("The gateway verifies the client's certificate and forwards it in the header {header}");
        operation["description"] = json!(text);
    }
    if let Some(deprecation) = &endpoint.deprecation {
        operation["deprecated"] = json!(true);
        if let Some(url) = &deprecation.documentation {
            operation["externalDocs"] = json!({"url": url});
        }
    }
    operation
}

/// What a body is. A JSON Schema of its own is no schema of OpenAPI 3.0, which knows only a part of that language.
fn content(endpoint: &Endpoint) -> Value {
    match (&endpoint.contract, &endpoint.verification) {
        (Some(contract), _) => json!({"application/json": {"schema": {}, "x-json-schema": contract.json_schema}}),
        (None, Verification::Preset { name: PresetName::Twilio, .. }) => {
            json!({"application/x-www-form-urlencoded": {"schema": {}}, "application/json": {"schema": {}}})
        }
        (None, _) => json!({"*/*": {"schema": {}}}),
    }
}

/// The answers of receivers to requests for this path; a gateway has others of its own.
fn responses(endpoint: &Endpoint) -> Map<String, Value> {
    let again = json!({"Retry-After": {
        "description": "Seconds until another attempt is worth while",
        "required": true,
        "schema": {"type": "integer", "minimum": 1},
    }});
    let mut responses = Map::new();
    let mut answers = |status: &str, what: &str| {
        responses.insert(status.to_owned(), json!({"description": what}));
    };
    if let Verification::Preset { name: PresetName::Slack, .. } = &endpoint.verification {
        answers("200", "The text of a url_verification challenge");
    }
    answers(&endpoint.respond.to_string(), "Kafka has confirmed the event, or it was received before");
    if !matches!(endpoint.verification, Verification::None) {
        answers("401", "The request is not genuine");
    }
    answers("413", "The body is too large");
    answers("415", "The body is compressed");
    if may_be_unusable(endpoint) {
        answers("422", "The event is not as it must be; sending it again does not help");
    }
    let limits = &endpoint.rate_limits;
    if limits.source.is_some() || limits.total.is_some() || limits.genuine.is_some() {
        answers("429", "Too many requests come");
    }
    answers("503", "Kafka has not confirmed the event, or the endpoint is paused; the event is to be sent again");
    for status in ["429", "503"] {
        if let Some(response) = responses.get_mut(status) {
            response["headers"] = again.clone();
        }
    }
    responses
}

/// Whether an event can be refused for what it is.
fn may_be_unusable(endpoint: &Endpoint) -> bool {
    let is_refused = endpoint.contract.as_ref().is_some_and(|contract| contract.dead_letters.is_none());
    is_refused || endpoint.event.id.is_some() || endpoint.event.cloud_events != CloudEvents::Ignore
}

/// How senders prove who they are, by name. OpenAPI has no word for signatures: one stands as a key in its header.
fn schemes(verification: &Verification) -> BTreeMap<&'static str, Value> {
    let key = |header: &str, what: &str| json!({"type": "apiKey", "in": "header", "name": header, "description": what});
    match verification {
        Verification::Preset { name, .. } => {
            let signature = |header| ("signature", key(header, &format!("The signature of {name:?}")));
            match name {
                PresetName::GitHub => [signature("X-Hub-Signature-256")].into(),
                PresetName::GitLab => {
                    [signature("webhook-signature"), ("token", key("X-Gitlab-Token", "The secret token"))].into()
                }
                PresetName::Shopify => [signature("X-Shopify-Hmac-Sha256")].into(),
                PresetName::Slack => [signature("X-Slack-Signature")].into(),
                PresetName::StandardWebhooks => [signature("webhook-signature")].into(),
                PresetName::Stripe => [signature("Stripe-Signature")].into(),
                PresetName::Svix => [signature("svix-signature")].into(),
                PresetName::Twilio => [signature("X-Twilio-Signature")].into(),
            }
        }
        Verification::Hmac { header, algorithm, encoding, prefix, signed_content, .. } => {
            let what = format!("{prefix}<HMAC with {algorithm:?} of {signed_content}, in {encoding:?}>");
            [("signature", key(header, &what))].into()
        }
        Verification::ApiKey { header, .. } => [("key", key(header, "The key"))].into(),
        Verification::Bearer { .. } => [("bearer", json!({"type": "http", "scheme": "bearer"}))].into(),
        Verification::Basic { .. } => [("basic", json!({"type": "http", "scheme": "basic"}))].into(),
        Verification::Jwt { issuer, audience, jwks_uri, .. } => {
            let google = json!({"issuer": issuer, "audiences": audience, "jwksUri": jwks_uri});
            let scheme = json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "x-google-auth": google});
            [("jwt", scheme)].into()
        }
        // The client's certificate, which OpenAPI has from 3.1 on.
        Verification::ClientCertificate { .. } | Verification::None => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::webhook::{References, validate};

    fn described(spec: &str) -> Value {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: orders, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}], path: /orders}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let settings = serde_saphyr::from_str(settings).unwrap();
        let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
        let child = config_map(&endpoint).unwrap();
        assert_eq!((child.kind, child.name.as_str()), (ChildKind::ConfigMap, "orders-openapi"));
        serde_json::from_str(child.manifest["data"][KEY].as_str().unwrap()).unwrap()
    }

    fn document(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn an_endpoint_is_described_with_path_body_answers_and_verification() {
        let expected = document(
            "
openapi: 3.0.3
info: {title: shop.orders, description: The endpoint of the Webhook shop/orders, version: v2}
servers: [{url: 'https://receivers.example', description: Where a gateway reaches the receivers}]
paths:
  /v2/orders:
    post:
      operationId: sendEvent
      summary: Sends an event
      deprecated: true
      externalDocs: {url: 'https://a.example/v3'}
      requestBody:
        required: true
        description: At most 512Ki, uncompressed
        content: {application/json: {schema: {}, x-json-schema: {type: object}}}
      security: [{bearer: []}]
      responses:
        '202': {description: 'Kafka has confirmed the event, or it was received before'}
        '401': {description: The request is not genuine}
        '413': {description: The body is too large}
        '415': {description: The body is compressed}
        '422': {description: The event is not as it must be; sending it again does not help}
        '429':
          description: Too many requests come
          headers:
            Retry-After:
              description: Seconds until another attempt is worth while
              required: true
              schema: {type: integer, minimum: 1}
        '503':
          description: 'Kafka has not confirmed the event, or the endpoint is paused; the event is to be sent again'
          headers:
            Retry-After:
              description: Seconds until another attempt is worth while
              required: true
              schema: {type: integer, minimum: 1}
components: {securitySchemes: {bearer: {type: http, scheme: bearer}}}
x-google-api-management:
  backends:
    receivers: {address: 'https://receivers.example', deadline: 30.0, pathTranslation: APPEND_PATH_TO_ADDRESS}
x-google-backend: receivers
",
        );
        let spec = "openApi: {target: 'https://receivers.example'}, verify: {bearer: {secretRefs: [{name: s, key: k}]}},
            limits: {body: 512Ki, requestsPerSecond: 5}, validate: {jsonSchema: {inline: {type: object}}, onInvalid: Refuse},
            version: {name: v2, deprecated: {since: '2026-01-31T00:00:00Z', documentation: 'https://a.example/v3'}}";
        assert_eq!(described(spec), expected);
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let described =
            described("openApi: {}, verify: {none: {}}, respond: {status: 200}, event: {cloudEvents: Ignore}");
        assert_eq!(described["servers"][0]["url"], "http://orders-receiver.shop.svc");
        let operation = &described["paths"]["/orders"]["post"];
        let answers: Vec<_> = operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(answers, ["200", "413", "415", "503"]);
        assert_eq!(operation["security"], json!([]));
        assert_eq!(operation["requestBody"]["content"], json!({"*/*": {"schema": {}}}));
        for absent in ["deprecated", "parameters", "description"] {
            assert_eq!(operation.get(absent), None, "{absent}");
        }
        assert_eq!(described.get("components"), None);
    }

    #[test]
    fn a_version_that_a_header_chooses_is_a_parameter() {
        let described = described("openApi: {}, verify: {none: {}}, version: {name: v2, header: X-Version}");
        let expected = json!([{"name": "x-version", "in": "header", "required": true, "schema": {"type": "string", "enum": ["v2"]}}]);
        assert_eq!(described["paths"]["/orders"]["post"]["parameters"], expected);
    }

    #[test]
    fn each_way_to_prove_who_sends_has_its_scheme() {
        const SECRETS: &str = "secretRefs: [{name: s, key: k}]";
        let key = |header: &str| format!("apiKey {header}");
        let preset = |name: &str| format!("preset: {{name: {name}, url: 'https://a.example/', {SECRETS}}}");
        for (verify, expected) in [
            (preset("GitHub"), vec![key("X-Hub-Signature-256")]),
            (preset("GitLab"), vec![key("webhook-signature"), key("X-Gitlab-Token")]),
            (preset("Slack"), vec![key("X-Slack-Signature")]),
            (preset("Twilio"), vec![key("X-Twilio-Signature")]),
            (format!("hmac: {{header: X-Signature, {SECRETS}}}"), vec![key("X-Signature")]),
            (format!("apiKey: {{{SECRETS}}}"), vec![key("X-Api-Key")]),
            (format!("basic: {{username: partner, {SECRETS}}}"), vec!["http basic".to_owned()]),
            (
                "jwt: {issuer: 'https://id.example', audience: [hooks], jwksUri: 'https://id.example/jwks'}".to_owned(),
                vec!["http bearer".to_owned()],
            ),
            ("clientCertificate: {allowed: [{dns: a.example}]}".to_owned(), vec![]),
        ] {
            let described = described(&format!("openApi: {{}}, verify: {{{verify}}}"));
            let schemes = described["components"]["securitySchemes"].as_object().cloned().unwrap_or_default();
            let word = |scheme: &Value, key: &str| scheme[key].as_str().map(str::to_owned);
            let told: Vec<_> = schemes
                .values()
                .map(|scheme| [word(scheme, "type"), word(scheme, "name").or_else(|| word(scheme, "scheme"))])
                .map(|words| words.map(Option::unwrap).join(" "))
                .collect();
            assert_eq!(told, expected, "{verify}");
            let operation = &described["paths"]["/orders"]["post"];
            assert_eq!(operation["security"].as_array().unwrap().len(), expected.len(), "{verify}");
            assert!(operation["responses"].get("401").is_some(), "{verify}");
        }
    }
}
