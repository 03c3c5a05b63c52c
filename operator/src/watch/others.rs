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
use sluice_model::children::{ChildKind, owner_label};

use super::{Change, Versioned, wakes};
use crate::{children, context::Context, controller::Kind};

/// Label of everything that Sluice makes.
const OURS: &str = "app.kubernetes.io/managed-by=sluice";
/// Of the pods of receivers and workers.
const PODS: &str = "app.kubernetes.io/name in (sluice-receiver,sluice-worker)";

/// Objects of which only the owner and the version are kept.
pub struct Others {
    /// Their kind.
    pub resource: ApiResource,
    /// The labels that they have.
    pub labels: Option<&'static str>,
    /// What is kept of one.
    pub keep: fn(PartialObjectMeta<DynamicObject>) -> Owned,
    /// Wakes whom a change of one concerns.
    pub wake: fn(&Context, &Change<Owned>),
}

impl Others {
    /// What is watched beside the resources themselves. Users' ConfigMaps have no label to be told by.
    pub fn all() -> [Self; 6] {
        let ours = |kind| Self::of(kind, Some(OURS), wakes::owners);
        let config_maps = Self::of(ChildKind::ConfigMap, None, wakes::config_map);
        let [deployments, services, routes, ingresses] =
            [ChildKind::Deployment, ChildKind::Service, ChildKind::HttpRoute, ChildKind::Ingress].map(ours);
        [config_maps, deployments, services, routes, ingresses, Self::pods()]
    }

    fn of(kind: ChildKind, labels: Option<&'static str>, wake: fn(&Context, &Change<Owned>)) -> Self {
        Self { resource: children::api_resource(kind), labels, keep: Owned::of, wake }
    }

    /// What keeps pods from running is not told by their Deployment.
    fn pods() -> Self {
        Self { resource: ApiResource::erase::<Pod>(&()), labels: Some(PODS), keep: Owned::of_pod, wake: wakes::owners }
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
    fn of(object: PartialObjectMeta<DynamicObject>) -> Self {
        Self { owner: controller(&object.metadata).cloned(), version: object.metadata.resource_version }
    }

    /// A pod belongs to a ReplicaSet; whose it is at last is told by its labels.
    fn of_pod(pod: PartialObjectMeta<DynamicObject>) -> Self {
        let labels = pod.metadata.labels.unwrap_or_default();
        let of = |kind: &str| {
            let name = labels.get(&owner_label(kind))?.clone();
            Some(OwnerReference { kind: kind.to_owned(), name, ..OwnerReference::default() })
        };
        let owner = of(Integration::NAME).or_else(|| of(Webhook::NAME));
        Self { owner, version: pod.metadata.resource_version }
    }
}

impl Versioned for Owned {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// The owner that looks after an object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}
