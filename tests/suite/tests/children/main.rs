//! What Webhooks and Integrations own, on a real API server: what is kept while a spec cannot be carried out or no operator
//! looks, and what goes with the Deployments.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod held;
mod pods;
mod scaling;
mod shared;
mod traced;
mod unready;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use sluice_crds::{Integration, Webhook};
use sluice_suite::Stage;

async fn apply_integration(stage: &Stage, spec: &str) -> Integration {
    let sink = "sink: {http: {url: 'http://api.example/'}}";
    let spec = format!("{{source: {{topic: {{name: orders}}}}, {sink}, {spec}}}");
    let metadata = "{name: to-api}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply(&yaml).await.unwrap()
}

async fn apply_webhook(stage: &Stage, spec: &str) -> Webhook {
    let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, {spec}}}");
    let metadata = "{name: stripe}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
    stage.apply(&yaml).await.unwrap()
}

/// Waits until the Deployment is wanted with so many replicas, and gives its template as Sluice made it.
async fn template(stage: &Stage, name: &str, replicas: i32) -> Value {
    let judge = |deployment: &Deployment| {
        let spec = deployment.spec.as_ref().unwrap();
        if spec.replicas == Some(replicas) { Ok(json!(spec.template)) } else { Err(format!("{:?}", spec.replicas)) }
    };
    stage.until(name, &format!("{replicas} replicas are wanted"), judge).await.unwrap()
}
