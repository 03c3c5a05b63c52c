//! Sluice on a node: its images, the Kafka address that its manifests name, and the manifests as they stand.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_cluster::Target;

use crate::{checkout, program::program, until};

/// Images and the programs in them.
const IMAGES: [(&str, &str); 4] = [
    ("sluice/operator:dev", "sluice-operator"),
    ("sluice/receiver:dev", "sluice-receiver"),
    ("sluice/worker:dev", "sluice-worker"),
    ("sluice/ledger:dev", "ledger"),
];
/// Pods start within seconds; a busy machine may need longer. The operator looks again at what it has missed within eight minutes: even twice
/// as long as this is less.
pub const ROLLOUT: Duration = Duration::from_mins(3);

/// Builds the images from the programs of this build and loads them into the node.
pub fn load_images(target: &Target) -> anyhow::Result<()> {
    for (image, name) in IMAGES {
        target.load_image(image, &[&program(name)?]).with_context(|| format!("cannot load {image}"))?;
    }
    Ok(())
}

/// The Service `kafka/kafka` that the manifests name, over the broker outside the pods.
pub fn name_kafka(target: &Target) -> anyhow::Result<()> {
    let bootstrap = target.kafka_bootstrap()?;
    let metadata = json!({"name": "kafka", "namespace": "kafka", "labels": {"kubernetes.io/service-name": "kafka"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kafka"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
         "spec": {"clusterIP": "None", "ports": [{"name": "kafka", "port": 9092}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
         "ports": [{"name": "kafka", "port": bootstrap.port()}],
         "endpoints": [{"addresses": [bootstrap.ip().to_string()], "conditions": {"ready": true}}]},
    ]});
    apply(target, &list)
}

/// Applies a manifest.
pub fn apply(target: &Target, manifest: &Value) -> anyhow::Result<()> {
    target.apply(&manifest.to_string())
}

/// Applies a folder of the repository with kustomize, as a user would.
pub fn apply_folder(target: &Target, folder: &str) -> anyhow::Result<()> {
    let path = checkout(folder)?.display().to_string();
    target.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &path]).map(drop)
}

/// Installs the operator and waits until it is ready.
pub async fn install(target: &Target, client: &Client) -> anyhow::Result<()> {
    name_kafka(target)?;
    apply_folder(target, "manifests")?;
    rolled_out(client, "sluice-system", "sluice-operator").await
}

/// Waits until every pod of a Deployment runs its newest template.
pub async fn rolled_out(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    until(&format!("Deployment {namespace}/{name} is available"), ROLLOUT, || async {
        let deployment = api.get(name).await.map_err(|error| error.to_string())?;
        let now = sluice_model::children::availability(&deployment, &[], Timestamp::now());
        if now.complete { Ok(()) } else { Err(now.message) }
    })
    .await
}

/// The ledger of the examples, reached through the API server.
pub struct Ledger {
    client: Client,
    namespace: String,
}

impl Ledger {
    /// The ledger that runs in a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// What it has recorded.
    pub async fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let request = http::Request::get(self.path("entries")).body(Vec::new())?;
        let record: Value = self.client.request(request).await?;
        Ok(record["entries"].as_array().cloned().unwrap_or_default())
    }

    /// Tells it how to behave: `{"unavailable": true}`, `{"refuse": "<text>"}`, `{}`.
    pub async fn behave(&self, behaviour: &Value) -> anyhow::Result<()> {
        let request = http::Request::put(self.path("behaviour"))
            .header("content-type", "application/json")
            .body(behaviour.to_string().into_bytes())?;
        self.client.request_text(request).await?;
        Ok(())
    }

    fn path(&self, path: &str) -> String {
        format!("/api/v1/namespaces/{}/services/ledger:80/proxy/{path}", self.namespace)
    }
}
