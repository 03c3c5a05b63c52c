//! The Kubernetes objects that a Webhook or an Integration owns: what they look like, and what has to change.

mod deployment;
mod difference;
mod disruption;
mod network;
mod note;
mod plan;
mod trouble;

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sluice_crds::{NamespacedName, TopicTemplate};

pub use deployment::{Availability, Configuration, DataPlane, availability};
pub use difference::{Difference, differences};
pub use note::{NOTE_ANNOTATION, last_good};
pub(crate) use note::{Recalled, is_meant, noted, recalled, with_replicas};
pub(crate) use plan::plan_of;
pub use plan::{Change, Plan, Withheld, plan};
pub use trouble::{Said, SeenPod, Trouble, is_ready, is_worth_asking, look_again, trouble};

/// The name by which the API server knows what is ours in an object.
pub const FIELD_MANAGER: &str = "sluice";
/// Annotation with the hash of the manifest that was applied last: it tells when a field has left the manifest.
pub const APPLIED_ANNOTATION: &str = "sluice.dev/applied";
/// How the names of all annotations begin that are Sluice's.
const OUR_NOTES: &str = "sluice.dev/";
/// The kind of an owner that is no resource: the receivers that Webhooks of a namespace share. Its name is that of their Deployment.
pub const SHARED: &str = "Receivers";
/// Label with the name of the component that an object belongs to.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// The kinds of objects that Sluice makes. RBAC grants exactly these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChildKind {
    /// A Topic of Sluice.
    Topic,
    /// A configuration, named by its content.
    ConfigMap,
    /// Receivers or workers.
    Deployment,
    /// The address of receivers.
    Service,
    /// A route of the Gateway API.
    HttpRoute,
    /// A route of Kubernetes' older API.
    Ingress,
    /// What Kong does with the requests of a route.
    KongPlugin,
    /// How many pods may be put out at a time.
    PodDisruptionBudget,
    /// Who may call pods, and whom they may.
    NetworkPolicy,
    /// An API of AWS API Gateway.
    AwsApi,
    /// What API Gateway reaches a VPC by.
    AwsVpcLink,
    /// What an API of API Gateway calls.
    AwsIntegration,
    /// Which requests an API of API Gateway takes.
    AwsRoute,
    /// Where an API of API Gateway is served.
    AwsStage,
}

impl ChildKind {
    /// `apiVersion` and `kind` of the objects.
    pub const fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Topic => ("sluice.dev/v1alpha1", "Topic"),
            Self::ConfigMap => ("v1", "ConfigMap"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::Service => ("v1", "Service"),
            Self::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            Self::Ingress => ("networking.k8s.io/v1", "Ingress"),
            Self::KongPlugin => ("configuration.konghq.com/v1", "KongPlugin"),
            Self::PodDisruptionBudget => ("policy/v1", "PodDisruptionBudget"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy"),
            Self::AwsApi => ("apigatewayv2.services.k8s.aws/v1alpha1", "API"),
            Self::AwsVpcLink => ("apigatewayv2.services.k8s.aws/v1alpha1", "VPCLink"),
            Self::AwsIntegration => ("apigatewayv2.services.k8s.aws/v1alpha1", "Integration"),
            Self::AwsRoute => ("apigatewayv2.services.k8s.aws/v1alpha1", "Route"),
            Self::AwsStage => ("apigatewayv2.services.k8s.aws/v1alpha1", "Stage"),
        }
    }
}

/// An object that should exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name, in its owner's namespace.
    pub name: String,
    /// All that Sluice says about it: what server-side apply sends.
    pub manifest: Value,
}

impl Child {
    /// Whether both are the same object, whatever their content.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }

    /// The same, held by these owner references: it goes when the last of them has gone.
    #[must_use]
    pub(crate) fn held_by(mut self, holders: &[Value]) -> Self {
        if let Some(metadata) = self.manifest["metadata"].as_object_mut() {
            metadata.remove("annotations");
            metadata.insert("ownerReferences".to_owned(), json!(holders));
        }
        let hash = short_hash(&to_bytes(&self.manifest));
        self.manifest["metadata"]["annotations"] = json!({APPLIED_ANNOTATION: hash});
        self
    }

    /// The same with one more annotation.
    #[must_use]
    pub fn annotated(self, name: &str, value: &str) -> Self {
        self.changed(|manifest| manifest["metadata"]["annotations"][name] = json!(value))
    }

    /// The same with a change in its manifest.
    #[must_use]
    pub(crate) fn changed(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self.manifest["metadata"]["annotations"][APPLIED_ANNOTATION] = json!(short_hash(&to_bytes(&self.manifest)));
        self
    }
}

/// An object that exists, under a name that is wanted or with its owner's label.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// The object, whole.
    pub object: Value,
}

impl Live {
    /// A text of its metadata, such as `uid`.
    pub fn metadata(&self, key: &str) -> &str {
        self.object["metadata"][key].as_str().unwrap_or_default()
    }

    /// Whether a plan for this object is right for a newer version of it too: others have only written its status, or noted something on it.
    pub fn is_still(&self, newer: &Self) -> bool {
        planned_for(&self.object) == planned_for(&newer.object)
    }

    /// Whether it is named by its content, so that older ones serve a rollback.
    fn is_configuration(&self) -> bool {
        self.kind == ChildKind::ConfigMap && self.object["immutable"] == true
    }

    /// Whether it is that owner's.
    pub fn is_owned_by(&self, owner: &Owner) -> bool {
        let references = self.object["metadata"]["ownerReferences"].as_array();
        references.into_iter().flatten().any(|r| r["uid"] == owner.uid.as_str() && r["controller"] == true)
    }
}

/// What of an object a plan for it goes by.
fn planned_for(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(parts) = object.as_object_mut() {
        parts.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for of_version in ["resourceVersion", "managedFields"] {
            metadata.remove(of_version);
        }
        let mut notes = match metadata.remove("annotations") {
            Some(Value::Object(notes)) => notes,
            _ => Map::new(),
        };
        notes.retain(|name, _| name.starts_with(OUR_NOTES));
        metadata.insert("annotations".to_owned(), Value::Object(notes));
    }
    object
}

/// The live object of that kind and name.
pub fn find<'a>(live: &'a [Live], kind: ChildKind, name: &str) -> Option<&'a Live> {
    live.iter().find(|object| object.kind == kind && object.name == name)
}

/// The live Deployment of that name.
pub fn find_deployment(live: &[Live], name: &str) -> Option<Deployment> {
    serde_json::from_value(find(live, ChildKind::Deployment, name)?.object.clone()).ok()
}

/// What the live Deployment of that name and its pods say.
pub fn find_availability(live: &[Live], name: &str, pods: &[SeenPod], now: Timestamp) -> Option<Availability> {
    find_deployment(live, name).map(|deployment| availability(&deployment, pods, now))
}

/// The Webhook or Integration that owns objects, or the receivers that Webhooks share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `Webhook`, `Integration` or [`SHARED`].
    pub kind: &'static str,
    /// Its namespace and name.
    pub name: NamespacedName,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
}

impl Owner {
    /// The labels by which the objects of this owner are found, as selectors use them.
    pub fn selector(&self, component: &str) -> Map<String, Value> {
        Map::from_iter([
            ("app.kubernetes.io/name".to_owned(), json!(format!("sluice-{component}"))),
            (owner_label(self.kind), json!(self.name.name)),
        ])
    }

    /// The selector as text, `key=value,...`, as list requests and the scale subresource take it.
    pub fn selector_text(&self, component: &str) -> String {
        let selector = self.selector(component);
        let parts = selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        parts.collect::<Vec<_>>().join(",")
    }

    /// A child of this owner: `body` holds what is not metadata.
    pub fn child(&self, kind: ChildKind, component: &str, name: &str, body: Value) -> Child {
        let (api_version, kind_name) = kind.api();
        let mut labels = self.selector(component);
        labels.insert(COMPONENT_LABEL.to_owned(), json!(component));
        labels.insert("app.kubernetes.io/part-of".to_owned(), json!("sluice"));
        labels.insert("app.kubernetes.io/managed-by".to_owned(), json!("sluice"));
        let mut manifest = json!({
            "apiVersion": api_version,
            "kind": kind_name,
            "metadata": {
                "name": name,
                "namespace": self.name.namespace,
                "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "sluice.dev/v1alpha1",
                    "kind": self.kind,
                    "name": self.name.name,
                    "uid": self.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
        });
        if let (Value::Object(manifest), Value::Object(body)) = (&mut manifest, body) {
            manifest.extend(body);
        }
        let hash = short_hash(&to_bytes(&manifest));
        manifest["metadata"]["annotations"] = json!({APPLIED_ANNOTATION: hash});
        Child { kind, name: name.to_owned(), manifest }
    }

    /// A Topic of this owner, on a Kafka cluster.
    pub fn topic(&self, component: &str, name: &str, cluster: &str, template: &TopicTemplate) -> Child {
        let mut spec = serde_json::to_value(template).expect("a template is plain data");
        spec["cluster"] = json!(cluster);
        self.child(ChildKind::Topic, component, name, json!({"spec": spec}))
    }

    /// A Topic of this owner for dead letters. Unless the template says otherwise they are kept 14 days from when they were written,
    /// however old their records are, and may be as large as a record with all its reasons can be.
    pub fn dead_letters(&self, component: &str, name: &str, cluster: &str, template: &TopicTemplate) -> Child {
        const CONFIG: [(&str, &str); 3] = [
            ("max.message.bytes", "16777216"),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "1209600000"),
        ];
        let mut template = template.clone();
        for (key, value) in CONFIG {
            template.config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        self.topic(component, name, cluster, &template)
    }

    /// A configuration of this owner. Its name carries a hash of its content, so that a Deployment that names it changes
    /// with it, all at once, and the one before stays as it is.
    pub fn configuration(&self, component: &str, config: &impl Serialize) -> Child {
        let config = serde_json::to_string(config).expect("a configuration is plain data");
        let name = format!("{}-{component}-{}", self.name.name, short_hash(config.as_bytes()));
        let data = json!({
            sluice_crds::wire::CONFIG_KEY: config,
            sluice_crds::wire::GENERATION_KEY: self.generation.to_string(),
        });
        self.child(ChildKind::ConfigMap, component, &name, json!({"immutable": true, "data": data}))
    }
}

/// Label with the name of the owner of that kind.
pub fn owner_label(kind: &str) -> String {
    format!("sluice.dev/{}", kind.to_lowercase())
}

/// The first eight hexadecimal digits of a SHA-256.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value always serializes")
}
