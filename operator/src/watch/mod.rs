//! What wakes a pass: changes of the resource itself, of what it owns, and of what it refers to.
//!
//! There is one watch for each kind (and namespace, where the operator looks after some only), and everybody is told by it:
//!
//! - `follow`: one watch, through whatever happens to it.
//! - `cache`: what the watches have told.
//! - `others`: what is watched beside the resources. Those are kept whole, of the others only what tells whom a change
//!   concerns.
//! - `wakes`: whom a change concerns.
//!
//! Standing by, a replica watches too, so that it leads with full caches from the first moment.

mod cache;
mod follow;
mod others;
mod wakes;

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    api::ApiResource,
    core::{DeserializeGuard, DynamicResourceScope, error_boundary::InvalidObject},
    runtime::watcher::{Config, Event},
};
use serde::de::DeserializeOwned;
use sluice_crds::{Integration, NamespacedName, Topic, Webhook};
use tokio::{
    sync::watch as channel,
    task::{JoinError, JoinSet},
};

pub use self::others::{Known, controller};
use self::{
    cache::{Cache, Change, Feed, Versioned},
    follow::{Told, follow},
    others::Others,
};
use crate::{
    backoff::Backoff, context::Context, controller::Kind, kubernetes::watch_seconds, queue::Queue, tasks::panicked,
    topic::Related,
};

/// Objects in one part of a list. With its managed fields one takes ten times the room that is kept of it, and all of a part are there at
/// a time.
const PAGE: u32 = 100;
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
        self.cache.count(|seen| matches!(seen, Seen::Undecodable(_)))
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
/// Gateways and ReferenceGrants.
const GATEWAY_API: usize = 2;

/// How many watches there are over these namespaces; none means all, and then the Namespaces are watched too.
pub fn count(namespaces: &[String]) -> usize {
    let of_each = RESOURCES + Others::all().len() + GATEWAY_API;
    of_each * namespaces.len().max(1) + usize::from(namespaces.is_empty())
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
            watches.others(context, client, Others::gateways(), namespace.clone());
            watches.others(context, client, Others::grants(), namespace);
        }
        if all.is_empty() {
            watches.others(context, client, Others::namespaces(), None);
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

    fn others<T, V>(&mut self, context: &Arc<Context>, client: &Client, others: Others<T, V>, namespace: Option<String>)
    where
        T: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        V: Versioned + Send + Sync + 'static,
    {
        let Others { resource, labels, keep, cache, wake } = others;
        let api: Api<T> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let settings = Config { label_selector: labels.map(str::to_owned), ..self.settings() };
        let mut feed = Feed::new(cache(context), namespace);
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
                Told::KindAppeared => wakes::kind_appeared(&context),
                Told::Refused => first.comes_if(true),
            };
            follow(api, settings, &resource.kind, tell).await;
        });
    }

    fn settings(&self) -> Config {
        Config::default().timeout(self.seconds).page_size(PAGE)
    }

    fn first(&self) -> First {
        self.unanswered.send_modify(|unanswered| *unanswered += 1);
        First(Some(self.unanswered.clone()))
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
