//! What is watched beside the resources themselves: what they own and what they name.

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
};
use sluice_crds::{Integration, Webhook};
use sluice_model::children::{ChildKind, SHARED, owner_label};

use super::{Change, Versioned, wakes};
use crate::{children, context::Context, controller::Kind, webhook::Gateway};

/// Label of everything that Sluice makes.
const OURS: &str = "app.kubernetes.io/managed-by=sluice";
/// Of the pods of receivers and workers.
const PODS: &str = "app.kubernetes.io/name in (sluice-receiver,sluice-worker)";

/// Objects of a kind, which come as `T`, and of which a `V` is kept.
pub struct Others<T, V> {
    /// Their kind.
    pub resource: ApiResource,
    /// The labels that they have.
    pub labels: Option<&'static str>,
    /// What is kept of one.
    pub keep: fn(T) -> V,
    /// Wakes whom a change of one concerns.
    pub wake: fn(&Context, &Change<V>),
}

/// What comes where only the metadata are asked for.
type Metadata = PartialObjectMeta<DynamicObject>;

impl Others<Metadata, Owned> {
    /// What Sluice makes, and what may be named without being Sluice's. Users' ConfigMaps have no label to be told by.
    pub fn all() -> [Self; 8] {
        let ours = |kind| Self::of(kind, Some(OURS), wakes::owners);
        let config_maps = Self::of(ChildKind::ConfigMap, None, wakes::config_map);
        let [deployments, services, routes, ingresses, budgets, policies] = [
            ChildKind::Deployment,
            ChildKind::Service,
            ChildKind::HttpRoute,
            ChildKind::Ingress,
            ChildKind::PodDisruptionBudget,
            ChildKind::NetworkPolicy,
        ]
        .map(ours);
        [config_maps, deployments, services, routes, ingresses, budgets, policies, Self::pods()]
    }

    fn of(kind: ChildKind, labels: Option<&'static str>, wake: fn(&Context, &Change<Owned>)) -> Self {
        Self { resource: children::api_resource(kind), labels, keep: Owned::of, wake }
    }

    /// What keeps pods from running is not told by their Deployment.
    fn pods() -> Self {
        Self { resource: ApiResource::erase::<Pod>(&()), labels: Some(PODS), keep: Owned::of_pod, wake: wakes::owners }
    }
}

impl Others<DynamicObject, SeenGateway> {
    /// The Gateways, whole: their metadata do not tell what has changed in them.
    pub fn gateways() -> Self {
        Self { resource: Gateway::api_resource(), labels: None, keep: SeenGateway::of, wake: wakes::gateway }
    }
}

/// What is kept of an object that somebody owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    /// Its owner.
    pub owner: Option<OwnerReference>,
    version: Option<String>,
}

impl Owned {
    fn of(object: Metadata) -> Self {
        let owner = controller(&object.metadata).cloned().or_else(|| labelled(&object.metadata, SHARED));
        Self { owner, version: object.metadata.resource_version }
    }

    /// A pod belongs to a ReplicaSet; whose it is at last is told by its labels.
    fn of_pod(pod: Metadata) -> Self {
        let owner =
            [Integration::NAME, Webhook::NAME, SHARED].into_iter().find_map(|kind| labelled(&pod.metadata, kind));
        Self { owner, version: pod.metadata.resource_version }
    }
}

impl Versioned for Owned {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// What is kept of a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenGateway {
    /// What of it matters.
    pub gateway: Gateway,
    version: Option<String>,
}

impl SeenGateway {
    fn of(object: DynamicObject) -> Self {
        Self { gateway: Gateway::of(&object), version: object.metadata.resource_version }
    }
}

impl Versioned for SeenGateway {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// The owner of a kind that an object's label names.
fn labelled(meta: &ObjectMeta, kind: &str) -> Option<OwnerReference> {
    let name = meta.labels.as_ref()?.get(&owner_label(kind))?.clone();
    Some(OwnerReference { kind: kind.to_owned(), name, ..OwnerReference::default() })
}

/// The owner that looks after an object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}
