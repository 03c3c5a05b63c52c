//! What wakes a pass: changes of the resource itself, of what it owns, and of what it refers to.
//!
//! There is one watch for each kind (and namespace, where the operator looks after some only), and everybody is told by it:
//!
//! - `follow`: one watch, through whatever happens to it.
//! - `cache`: what the watches have told. Resources are kept, what they own is not: of that only the owner and the version.
//! - `wakes`: whom a change concerns.
//!
//! Standing by, a replica watches too, so that it leads with full caches from the first moment.

mod cache;
mod follow;
mod wakes;

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
    runtime::watcher::{Config, Event},
};
use sluice_crds::{Integration, NamespacedName, Topic, Webhook};
use sluice_model::children::{ChildKind, owner_label};
use tokio::{
    sync::watch as channel,
    task::{JoinError, JoinSet},
};

use self::{
    cache::{Cache, Change, Feed, Versioned},
    follow::{Told, follow},
};
use crate::{
    backoff::Backoff, children, context::Context, controller::Kind, kubernetes::watch_seconds, queue::Queue,
    tasks::panicked, topic::Related,
};

/// Label of everything that Sluice makes.
const OURS: &str = "app.kubernetes.io/managed-by=sluice";
/// Of the pods of receivers and workers.
const PODS: &str = "app.kubernetes.io/name in (sluice-receiver,sluice-worker)";
/// What kubectl notes for itself; it repeats the spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One kind of resources: what is known of them, and who waits for a pass.
#[derive(Debug)]
pub struct Watched<K> {
    cache: Arc<Cache<Seen<K>>>,
    /// Who waits for a pass.
    pub queue: Queue,
    /// Whose passes failed.
    pub backoff: Backoff,
}

/// A resource as it was read.
#[derive(Debug)]
pub enum Seen<K> {
    /// It is what its type says.
    Resource(Arc<K>),
    /// It is not: it was written while the CRD was looser, or for another version of Sluice.
    Undecodable(Arc<InvalidObject>),
}

impl<K> Default for Watched<K> {
    fn default() -> Self {
        Self { cache: Arc::default(), queue: Queue::default(), backoff: Backoff::default() }
    }
}

impl<K> Clone for Seen<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Resource(resource) => Self::Resource(Arc::clone(resource)),
            Self::Undecodable(invalid) => Self::Undecodable(Arc::clone(invalid)),
        }
    }
}

impl<K> Watched<K> {
    /// What is known of a resource.
    pub fn get(&self, name: &NamespacedName) -> Option<Seen<K>> {
        self.cache.get(name)
    }

    /// The resources of a namespace, with their names.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = (NamespacedName, Arc<K>)> + use<K> {
        let all = self.cache.of_namespace(namespace);
        all.into_iter().filter_map(|(name, seen)| Some((name, seen.resource()?)))
    }

    /// All resources, with their names.
    pub fn all(&self) -> impl Iterator<Item = (NamespacedName, Arc<K>)> + use<K> {
        let all = self.cache.all();
        all.into_iter().filter_map(|(name, seen)| Some((name, seen.resource()?)))
    }

    /// The resources that are wanted, with their names.
    pub fn where_is(&self, wanted: impl Fn(&K) -> bool) -> Vec<(NamespacedName, Arc<K>)> {
        let found = self.cache.where_is(|seen| matches!(seen, Seen::Resource(resource) if wanted(resource)));
        found.into_iter().filter_map(|(name, seen)| Some((name, seen.resource()?))).collect()
    }

    /// How many there are, and how many of them cannot be decoded.
    pub fn count(&self) -> (usize, usize) {
        let all = self.cache.all();
        (all.len(), all.iter().filter(|(_, seen)| matches!(seen, Seen::Undecodable(_))).count())
    }
}

impl<K> Seen<K> {
    fn resource(self) -> Option<Arc<K>> {
        match self {
            Self::Resource(resource) => Some(resource),
            Self::Undecodable(_) => None,
        }
    }
}

impl<K: Resource> Seen<K> {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Resource(resource) => resource.meta(),
            Self::Undecodable(invalid) => &invalid.metadata,
        }
    }
}

impl<K: Resource> Versioned for Seen<K> {
    fn version(&self) -> Option<&str> {
        self.meta().resource_version.as_deref()
    }
}

/// The watches; they end when this is dropped.
#[derive(Debug, Default)]
pub struct Watches {
    tasks: JoinSet<()>,
    unanswered: channel::Sender<usize>,
    /// How long each lasts.
    seconds: u32,
}

/// Topics, Webhooks and Integrations.
const RESOURCES: usize = 3;

/// How many watches there are over these namespaces; none means all.
pub fn count(namespaces: &[String]) -> usize {
    (RESOURCES + Others::all().len()) * namespaces.len().max(1)
}

/// Whether all watches were answered: by a list, or by the refusal to give one.
#[derive(Clone, Debug)]
pub struct Answered(channel::Receiver<usize>);

impl Answered {
    /// Whether they were.
    pub fn is_all(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Waits until they were.
    pub async fn all(&mut self) {
        // The watches' end is the operator's end.
        let _ = self.0.wait_for(|unanswered| *unanswered == 0).await;
    }
}

impl Watches {
    /// Starts all watches over these namespaces; none means all.
    pub fn start(context: &Arc<Context>, client: &Client, all: &[String]) -> Self {
        let mut watches = Self { seconds: watch_seconds(count(all)), ..Self::default() };
        let namespaces: Vec<Option<String>> =
            if all.is_empty() { vec![None] } else { all.iter().cloned().map(Some).collect() };
        for namespace in namespaces {
            watches.resources::<Topic>(context, client, namespace.clone());
            watches.resources::<Webhook>(context, client, namespace.clone());
            watches.resources::<Integration>(context, client, namespace.clone());
            for others in Others::all() {
                watches.others(context, client, others, namespace.clone());
            }
        }
        debug_assert_eq!(watches.tasks.len(), count(all));
        watches
    }

    /// Whether they were answered.
    pub fn answered(&self) -> Answered {
        Answered(self.unanswered.subscribe())
    }

    /// Waits until one of them panics, and tells with what.
    pub async fn panicked(&mut self) -> JoinError {
        panicked(&mut self.tasks).await
    }

    fn resources<K: Kind + wakes::Wakes + Related>(
        &mut self,
        context: &Arc<Context>,
        client: &Client,
        namespace: Option<String>,
    ) {
        let api = of_namespace::<DeserializeGuard<K>>(client, namespace.as_deref());
        let (settings, mut feed) = (self.settings(), Feed::new(Arc::clone(&K::watched(context).cache), namespace));
        let (context, mut first) = (Arc::clone(context), self.first());
        self.tasks.spawn(async move {
            let tell = |told| match told {
                Told::Event(event) => {
                    let (ends_list, begins) = (matches!(event, Event::InitDone), !first.has_come());
                    for change in feed.take(named(event, seen)) {
                        wakes::resource(&context, &change, begins);
                    }
                    first.comes_if(ends_list);
                }
                Told::KindAppeared => {}
                Told::Refused => first.comes_if(true),
            };
            follow(api, settings, K::NAME, tell).await;
        });
    }

    fn others(&mut self, context: &Arc<Context>, client: &Client, others: Others, namespace: Option<String>) {
        let Others { resource, labels, keep, wake } = others;
        let api: Api<PartialObjectMeta<DynamicObject>> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let settings = Config { label_selector: labels.map(str::to_owned), ..self.settings() };
        let mut feed = Feed::new(Arc::default(), namespace);
        let (context, mut first) = (Arc::clone(context), self.first());
        self.tasks.spawn(async move {
            let tell = |told| match told {
                Told::Event(event) => {
                    let ends_list = matches!(event, Event::InitDone);
                    for change in feed.take(named(event, keep)) {
                        wake(&context, &change);
                    }
                    first.comes_if(ends_list);
                }
                Told::KindAppeared => wakes::all_webhooks(&context),
                Told::Refused => first.comes_if(true),
            };
            follow(api, settings, &resource.kind, tell).await;
        });
    }

    fn settings(&self) -> Config {
        Config::default().timeout(self.seconds)
    }

    fn first(&self) -> First {
        self.unanswered.send_modify(|unanswered| *unanswered += 1);
        First(Some(self.unanswered.clone()))
    }
}

/// Objects of which only the owner and the version are kept.
struct Others {
    resource: ApiResource,
    labels: Option<&'static str>,
    keep: fn(PartialObjectMeta<DynamicObject>) -> Owned,
    /// Wakes whom a change of one concerns.
    wake: fn(&Context, &Change<Owned>),
}

impl Others {
    /// What is watched beside the resources themselves. Users' ConfigMaps have no label to be told by.
    fn all() -> [Self; 8] {
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

/// The first answer to one watch.
struct First(Option<channel::Sender<usize>>);

impl First {
    fn has_come(&self) -> bool {
        self.0.is_none()
    }

    fn comes_if(&mut self, comes: bool) {
        if comes && let Some(unanswered) = self.0.take() {
            unanswered.send_modify(|unanswered| *unanswered -= 1);
        }
    }
}

fn of_namespace<T>(client: &Client, namespace: Option<&str>) -> Api<T>
where
    T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The event with what is kept of its object.
fn named<T: Resource, V>(event: Event<T>, keep: impl Fn(T) -> V) -> Event<(NamespacedName, V)> {
    let keep = |object: T| {
        let meta = object.meta();
        let name = NamespacedName {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        (name, keep(object))
    };
    match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(keep(object)),
        Event::Apply(object) => Event::Apply(keep(object)),
        Event::Delete(object) => Event::Delete(keep(object)),
    }
}

/// Without what nobody reads: with it, a small resource takes thrice its room.
fn seen<K: Resource>(guarded: DeserializeGuard<K>) -> Seen<K> {
    let trim = |meta: &mut ObjectMeta| {
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(LAST_APPLIED);
        }
    };
    match guarded.0 {
        Ok(mut resource) => {
            trim(resource.meta_mut());
            Seen::Resource(Arc::new(resource))
        }
        Err(mut invalid) => {
            trim(&mut invalid.metadata);
            Seen::Undecodable(Arc::new(invalid))
        }
    }
}

/// What is kept of an object that somebody owns.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    owner: Option<OwnerReference>,
    version: Option<String>,
}

impl Owned {
    fn of(object: PartialObjectMeta<DynamicObject>) -> Self {
        Self { owner: controller(&object.metadata).cloned(), version: object.metadata.resource_version }
    }
}

impl Owned {
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
fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}
