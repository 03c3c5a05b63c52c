//! The OpenAPI documents of Webhooks, judged by a validator that knows nothing of Sluice.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use sluice_cluster::testing;
use sluice_crds::{Settings, Webhook};
use sluice_model::webhook::{References, desire, validate};

/// The folder with the validator and its packages.
fn validator() -> PathBuf {
    let files = [
        ("package.json", include_str!("validator/package.json")),
        ("package-lock.json", include_str!("validator/package-lock.json")),
        ("validate.mjs", include_str!("validator/validate.mjs")),
    ];
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    testing::prepared("openapi-validator", &files, &mut [npm]).unwrap()
}

/// What is wrong with each document.
fn complaints(documents: &[Value]) -> Vec<Value> {
    let mut child = Command::new("node")
        .arg("validate.mjs")
        .current_dir(validator())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(documents).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The document of a Webhook whose spec says this too.
fn document(spec: &str) -> Value {
    let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
    let settings: Settings = serde_saphyr::from_str(settings).unwrap();
    let metadata = "{name: orders, namespace: shop, uid: u, generation: 3}";
    let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, {spec}}}");
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
    let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
    let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
    let child = desire(&endpoint, &settings).into_iter().find(|child| child.name == "orders-openapi").unwrap();
    serde_json::from_str(child.manifest["data"]["openapi.json"].as_str().unwrap()).unwrap()
}

#[test]
fn a_validator_takes_the_document_of_every_kind_of_webhook() {
    const SECRETS: &str = "secretRefs: [{name: s, key: k}]";
    let preset = |name: &str| format!("openApi: {{}}, verify: {{preset: {{name: {name}, {SECRETS}}}}}");
    let mut specs = vec![
        "openApi: {}, verify: {none: {}}, respond: {status: 204}, event: {cloudEvents: Ignore}".to_owned(),
        format!("openApi: {{target: 'https://receivers.example:8443'}}, verify: {{bearer: {{{SECRETS}}}}}"),
        format!("openApi: {{}}, verify: {{basic: {{username: partner, {SECRETS}}}}}, limits: {{requestsPerSecond: 5}}"),
        format!("openApi: {{}}, verify: {{apiKey: {{{SECRETS}}}}}, version: {{name: v2, header: X-Version}}"),
        format!("openApi: {{}}, verify: {{hmac: {{header: X-Signature, {SECRETS}}}}}, validate: {{jsonSchema: {{inline: {{type: [object, 'null']}}}}}}"),
        "openApi: {}, verify: {jwt: {issuer: 'https://id.example', audience: [hooks], jwksUri: 'https://id.example/jwks'}}"
            .to_owned(),
        "openApi: {}, verify: {clientCertificate: {allowed: [{dns: a.example}]}}, version: {name: v1, deprecated: {since: \
         '2026-01-31T00:00:00Z', documentation: 'https://a.example/v2'}}"
            .to_owned(),
        format!("openApi: {{}}, verify: {{preset: {{name: Twilio, url: 'https://a.example/', {SECRETS}}}}}"),
    ];
    specs.extend(["GitHub", "GitLab", "Shopify", "Slack", "StandardWebhooks", "Stripe", "Svix"].map(preset));
    let documents: Vec<Value> = specs.iter().map(|spec| document(spec)).collect();
    for (spec, complaint) in specs.iter().zip(complaints(&documents)) {
        assert_eq!(complaint, json!([]), "{spec}");
    }
    // It does look.
    let mut broken = documents[0].clone();
    broken["paths"]["/shop/orders"]["post"]["responses"] = json!({});
    assert_ne!(complaints(&[broken]), [json!([])]);
}
