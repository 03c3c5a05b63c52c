//! What users say about the pods of receivers and workers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConfigMapReference, SecretReference};

/// Where pods run, and what they have beside what Sluice gives them, in the words of Kubernetes. A change makes all of them anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Further labels. Those by which Sluice finds its pods are its own: `app.kubernetes.io/name`, and all that begin with `sluice.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that may be used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are no hindrance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Kubernetes' `affinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub affinity: Option<Value>,
    /// Kubernetes' `topologySpreadConstraints`. Without `labelSelector` they are about the pods of this resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_of_anything")]
    pub topology_spread_constraints: Vec<Value>,
    /// Name of a PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// The Secrets by which images are pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<SecretName>,
    /// Name of a ServiceAccount. Its token is not mounted; clouds that give identities to ServiceAccounts mount their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Further environment variables, such as `HTTPS_PROXY` and `NO_PROXY`. `HOSTNAME`, `SSL_CERT_DIR` and all that begin with
    /// `SLUICE_` or `OTEL_` are Sluice's own; traces are switched on in the operator's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<Variable>,
    /// A ConfigMap with further authorities, PEM, that sign the certificates of what is called: APIs, issuers of tokens, Redis, proxies. Those
    /// of Kafka's brokers are in the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<ConfigMapReference>,
}

/// A Secret in the resource's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secretRef)")
    .message("env: write exactly one of value, secretRef"))]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[_a-zA-Z][_a-zA-Z0-9]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// The key of a Secret that holds its value. Another value counts when the pod starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// The receiver's own settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Whether the Webhook has receivers of its own, or shares those of its namespace: one Deployment, `sluice-receivers`, for all Webhooks that
    /// say so. A shared one costs no pod and comes or changes without a restart, and a pod that is busy or down is so for all.
    #[serde(default)]
    pub mode: ReceiverMode,
    /// CPU and memory of the receiver. Default: requests 50m and 32Mi, memory limit 128Mi and, for each MiB of `limits.body` above one, 24Mi more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Whose receivers take a Webhook's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReceiverMode {
    /// Its own: a Deployment, `<name>-receiver`.
    #[default]
    Dedicated,
    /// Those of the namespace. How many they are, their resources and where they run is said by `sharedReceivers` of the operator's
    /// configuration. A Secret that none of their Webhooks named before makes their pods anew, one after the other.
    Shared,
}

impl PodSettings {
    /// The Secrets that pods need beside those of source and sink.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let variables = self.env.iter().filter_map(|variable| variable.secret_ref.as_ref());
        let pulls = self.image_pull_secrets.iter().map(|secret| secret.name.as_str());
        variables.map(|secret| secret.name.as_str()).chain(pulls)
    }
}

/// What Kubernetes' own schema says would be longer than all the rest; `validate` decodes it.
fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

fn list_of_anything(_: &mut SchemaGenerator) -> Schema {
    let item = json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json_schema!({"type": "array", "maxItems": 16, "items": item})
}
