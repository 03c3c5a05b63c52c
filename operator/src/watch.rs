//! What wakes a pass: changes of the resource itself, of what it owns, and of what it refers to.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt, predicates,
        reflector::{self, ObjectRef, Store},
        utils::{Predicate, PredicateConfig},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use sluice_crds::{Integration, Topic, Webhook};

use crate::controller::Kind;

/// A watch is renewed this often, in seconds: a connection that died silently is noticed no later.
const WATCH_SECONDS: u32 = 45;
/// Label of everything that Sluice makes.
const OURS: &str = "app.kubernetes.io/managed-by=sluice";

fn settings() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The watch of one kind.
pub struct Watched<K: Kind>
where
    K::DynamicType: Eq + Hash,
{
    /// The loop that it drives.
    pub controller: Controller<K>,
    /// What it has seen.
    pub store: Store<K>,
    /// Whether it has seen everything once. (Not `Store::wait_until_ready`: it wakes only one of its waiters, and the
    /// controller is one.)
    pub listed: Arc<AtomicBool>,
}

/// A controller of one kind. Its own status writes do not wake it: only spec, annotations and labels count.
pub fn controller<K: Kind>(client: &Client) -> Watched<K>
where
    K::DynamicType: Debug + Default + Eq + Hash + Clone + Unpin,
{
    let (store, writer) = reflector::store();
    let listed = Arc::new(AtomicBool::new(false));
    let all_seen = Arc::clone(&listed);
    let changes = watcher(Api::<K>::all(client.clone()), settings())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, watcher::Event::InitDone) {
                all_seen.store(true, Ordering::Release);
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations).combine(predicates::labels),
            PredicateConfig::default(),
        );
    Watched { controller: Controller::for_stream(changes, store.clone()), store, listed }
}

/// What a Webhook owns and refers to.
pub fn of_webhooks(watched: Watched<Webhook>, client: &Client) -> Controller<Webhook> {
    let Watched { controller, store, .. } = watched;
    let route = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    let routes = Api::<PartialObjectMeta<DynamicObject>>::all_with(client.clone(), &route);
    controller
        .owns_stream(owned::<Deployment>(client))
        .owns_stream(owned::<Service>(client))
        .owns_stream(owned::<ConfigMap>(client))
        .owns_stream_with(watcher(routes, settings().labels(OURS)).default_backoff().touched_objects(), route)
        .owns_stream(topics(client))
        .watches_stream(topics(client), move |topic| {
            referring(&store, &topic, |webhook, name| {
                webhook.spec.topic_ref.as_ref().is_some_and(|topic| topic.name == name)
            })
        })
}

/// What an Integration owns and refers to.
pub fn of_integrations(watched: Watched<Integration>, client: &Client) -> Controller<Integration> {
    let Watched { controller, store, .. } = watched;
    let webhooks =
        watcher(Api::<PartialObjectMeta<Webhook>>::all(client.clone()), settings()).default_backoff().touched_objects();
    let by_webhook = store.clone();
    controller
        .owns_stream(owned::<Deployment>(client))
        .owns_stream(owned::<ConfigMap>(client))
        .owns_stream(topics(client))
        .watches_stream(topics(client), move |topic| referring(&store, &topic, refers_to_topic))
        .watches_stream(webhooks, move |webhook| {
            referring(&by_webhook, &webhook, |integration, name| {
                integration.spec.source.webhook.as_ref().is_some_and(|webhook| webhook.name == name)
            })
        })
}

/// By name, or through a Webhook: its own Topic is named like it, and one that it names wakes the Webhook's status anyway.
fn refers_to_topic(integration: &Integration, name: &str) -> bool {
    let spec = &integration.spec;
    spec.source.topic.as_ref().is_some_and(|topic| topic.name == name)
        || spec.source.webhook.as_ref().is_some_and(|webhook| webhook.name == name)
        || spec.dead_letters.topic_ref.as_ref().is_some_and(|topic| topic.name == name)
}

fn owned<C>(client: &Client) -> impl Stream<Item = Result<PartialObjectMeta<C>, watcher::Error>> + Send + 'static
where
    C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::<PartialObjectMeta<C>>::all(client.clone()), settings().labels(OURS))
        .default_backoff()
        .touched_objects()
}

fn topics(client: &Client) -> impl Stream<Item = Result<PartialObjectMeta<Topic>, watcher::Error>> + Send + 'static {
    watcher(Api::<PartialObjectMeta<Topic>>::all(client.clone()), settings()).default_backoff().touched_objects()
}

/// The resources of a namespace that refer to the object.
fn referring<K: Kind, R: Resource>(
    store: &Store<K>,
    object: &PartialObjectMeta<R>,
    refers: impl Fn(&K, &str) -> bool,
) -> Vec<ObjectRef<K>>
where
    K::DynamicType: Debug + Default + Eq + Hash + Clone,
    PartialObjectMeta<R>: ResourceExt,
{
    let (namespace, name) = (object.namespace(), object.name_any());
    let all = store.state();
    let referring = all.iter().filter(|candidate| candidate.namespace() == namespace && refers(candidate, &name));
    referring.map(|candidate| ObjectRef::from_obj(candidate.as_ref())).collect()
}
