//! What is watched beside the resources themselves: what they own and what they name.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
};
use sluice_crds::{Integration, NamespacedName, Webhook};
use sluice_model::{
    children::{ChildKind, SHARED, owner_label},
    grants::ReferenceGrant,
};

use super::{Cache, Change, Versioned, wakes};
use crate::{children, context::Context, controller::Kind, grants, webhook::Gateway};

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
    /// Where it is kept.
    pub cache: fn(&Context) -> Arc<Cache<V>>,
    /// Wakes whom a change of one concerns.
    pub wake: fn(&Context, &Change<V>),
}

/// What comes where only the metadata are asked for.
type Metadata = PartialObjectMeta<DynamicObject>;

impl Others<Metadata, Owned> {
    /// What Sluice makes, and what may be named without being Sluice's. Users' ConfigMaps have no label to be told by.
    pub fn all() -> [Self; 8] {
        let ours = |kind| Self::of(kind, Some(OURS), wakes::owners);
        let known = |kind, cache: fn(&Context) -> Arc<Cache<Owned>>| Self { cache, ..ours(kind) };
        let budgets = known(ChildKind::PodDisruptionBudget, |context| Arc::clone(&context.known.budgets));
        let policies = known(ChildKind::NetworkPolicy, |context| Arc::clone(&context.known.policies));
        let config_maps = Self::of(ChildKind::ConfigMap, None, wakes::config_map);
        let [deployments, services, routes, ingresses] =
            [ChildKind::Deployment, ChildKind::Service, ChildKind::HttpRoute, ChildKind::Ingress].map(ours);
        [config_maps, deployments, services, routes, ingresses, budgets, policies, Self::pods()]
    }

    fn of(kind: ChildKind, labels: Option<&'static str>, wake: fn(&Context, &Change<Owned>)) -> Self {
        Self { resource: children::api_resource(kind), labels, keep: Owned::of, cache: nobody_asks, wake }
    }

    /// What keeps pods from running is not told by their Deployment.
    fn pods() -> Self {
        Self {
            resource: ApiResource::erase::<Pod>(&()),
            labels: Some(PODS),
            keep: Owned::of_pod,
            cache: nobody_asks,
            wake: wakes::owners,
        }
    }
}

impl Others<DynamicObject, SeenGateway> {
    /// The Gateways, whole: their metadata do not tell what has changed in them.
    pub fn gateways() -> Self {
        Self {
            resource: Gateway::api_resource(),
            labels: None,
            keep: SeenGateway::of,
            cache: nobody_asks,
            wake: wakes::gateway,
        }
    }
}

/// For a watch alone, to tell what has changed.
fn nobody_asks<V>(_: &Context) -> Arc<Cache<V>> {
    Arc::default()
}

/// Which objects exist of kinds that most owners have none of: what the watches have not told of need not be asked for. One that they tell
/// of later wakes its owner.
#[derive(Debug, Default)]
pub struct Known {
    budgets: Arc<Cache<Owned>>,
    policies: Arc<Cache<Owned>>,
}

impl Known {
    /// Whether an object of ours may exist.
    pub fn may_exist(&self, kind: ChildKind, name: &NamespacedName) -> bool {
        let cache = match kind {
            ChildKind::PodDisruptionBudget => &self.budgets,
            ChildKind::NetworkPolicy => &self.policies,
            _ => return true,
        };
        cache.get(name).is_some()
    }
}

impl Others<DynamicObject, SeenGrant> {
    /// The ReferenceGrants, whole: what they permit is all that there is to them.
    pub fn grants() -> Self {
        let resource = grants::api_resource();
        Self { resource, labels: None, keep: SeenGrant::of, cache: nobody_asks, wake: wakes::grant }
    }
}

impl Others<Metadata, SeenNamespace> {
    /// The Namespaces, for their labels. Only where all namespaces are looked after: nobody has the right to list some of them.
    pub fn namespaces() -> Self {
        let resource = ApiResource::erase::<Namespace>(&());
        Self { resource, labels: None, keep: SeenNamespace::of, cache: nobody_asks, wake: wakes::namespace }
    }
}

/// What is kept of an object, and which version of it that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<V> {
    /// What of it matters.
    pub what: V,
    version: Option<String>,
}

impl<V: Clone + PartialEq> Versioned for Kept<V> {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// An object that somebody owns, and its owner.
pub type Owned = Kept<Option<OwnerReference>>;
/// A Gateway.
pub type SeenGateway = Kept<Gateway>;
/// A ReferenceGrant.
pub type SeenGrant = Kept<ReferenceGrant>;
/// A Namespace, and a hash of its labels: a pass reads them anew, so that only a difference has to be told.
pub type SeenNamespace = Kept<u64>;

impl Owned {
    fn of(object: Metadata) -> Self {
        let what = controller(&object.metadata).cloned().or_else(|| labelled(&object.metadata, SHARED));
        Self { what, version: object.metadata.resource_version }
    }

    /// A pod belongs to a ReplicaSet; whose it is at last is told by its labels.
    fn of_pod(pod: Metadata) -> Self {
        let what =
            [Integration::NAME, Webhook::NAME, SHARED].into_iter().find_map(|kind| labelled(&pod.metadata, kind));
        Self { what, version: pod.metadata.resource_version }
    }
}

impl SeenGateway {
    fn of(object: DynamicObject) -> Self {
        Self { what: Gateway::of(&object), version: object.metadata.resource_version }
    }
}

impl SeenGrant {
    fn of(object: DynamicObject) -> Self {
        Self { what: grants::permitted(&object), version: object.metadata.resource_version }
    }
}

impl SeenNamespace {
    fn of(namespace: Metadata) -> Self {
        let labels: BTreeMap<String, String> = namespace.metadata.labels.unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        Self { what: hasher.finish(), version: namespace.metadata.resource_version }
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
