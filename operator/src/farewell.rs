//! What the last passes over resources have in common that hold on to something in Kafka.

use std::{
    fmt::{self, Debug},
    time::Duration,
};

use futures::future::try_join_all;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, ObjectReference},
    jiff::Timestamp,
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use sluice_model::{News, integration::GroupUse, topic::Users};
use tracing::{info, warn};

use crate::{
    context::Context,
    controller::Kind,
    error::{Doing, Error},
    finalizer::{self, Holds},
    looks::Looks,
    metrics::Metrics,
};

/// How long a namespace that is being deleted waits for Kafka.
pub const NAMESPACE_PATIENCE: Duration = Duration::from_secs(30);

/// Where Events of what has no namespace are.
const DEFAULT_NAMESPACE: &str = "default";
/// Why there is such an Event.
const LEFT_IN_KAFKA: &str = "LeftInKafka";

/// What all farewells at a moment look at together.
#[derive(Debug, Default)]
pub struct Farewells {
    /// Who uses Topics.
    pub users: Looks<(), Users>,
    /// Who names which consumer groups.
    pub groups: Looks<(), Vec<GroupUse>>,
    namespaces: Looks<String, Option<ObjectReference>>,
}

impl Farewells {
    /// The Namespace of a resource, where it is being deleted or gone.
    pub async fn going(&self, context: &Context, resource: &impl Kind) -> Result<Option<ObjectReference>, Error> {
        let namespace = resource.namespace().unwrap_or_default();
        let going = self.namespaces.at(namespace.clone(), going(context, &namespace)).await?;
        Ok((*going).clone())
    }
}

async fn going(context: &Context, namespace: &str) -> Result<Option<ObjectReference>, Error> {
    let found = Api::<Namespace>::all(context.client.clone()).get_metadata_opt(namespace).await;
    let found = found.doing(|| format!("read Namespace {namespace:?}"))?;
    if found.as_ref().is_some_and(|found| found.metadata.deletion_timestamp.is_none()) {
        return Ok(None);
    }
    Ok(Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: Some(namespace.to_owned()),
        uid: found.and_then(|found| found.metadata.uid),
        ..ObjectReference::default()
    }))
}

/// How long a resource has been in deletion.
pub fn waited(resource: &impl Kind) -> Duration {
    let since = resource.meta().deletion_timestamp.as_ref();
    let waited = since.map(|since| Duration::try_from(Timestamp::now().duration_since(since.0)).unwrap_or_default());
    waited.unwrap_or_default()
}

/// Why something stays in Kafka although a resource goes that has held on to it.
pub trait Stays: fmt::Display {
    /// What stays.
    const WHAT: &'static str;

    /// Counts it.
    fn count(&self, metrics: &Metrics);

    /// Whether it was to be deleted, and could not be in time.
    fn is_given_up(&self) -> bool;

    /// Whether it would have been deleted, or waited for, if the namespace stayed.
    fn is_due_to_its_namespace(&self) -> bool;
}

/// Lets a resource go although `name` stays in Kafka. That is logged and counted, and told at its Namespace where it goes too and that is why.
pub async fn let_go<K: Holds, S: Stays>(
    context: &Context,
    resource: &K,
    namespace: Option<&ObjectReference>,
    name: &str,
    reason: &S,
) -> Result<(), Error> {
    finalizer::release(&context.client, resource).await?;
    reason.count(&context.metrics);
    let (kind, what) = (K::NAME, S::WHAT);
    if reason.is_given_up() {
        warn!(%reason, "{kind} let go; its {what} stays");
    } else {
        info!(%reason, "{kind} let go; its {what} stays");
    }
    if let Some(namespace) = namespace.filter(|_| reason.is_due_to_its_namespace()) {
        let message = format!("{kind} {:?} was let go and its {what} {name:?} stays: {reason}", resource.name_any());
        tell_what_stays(context, namespace, resource, message).await;
    }
    Ok(())
}

/// In the namespace itself no Event can be made any more. An operator of some namespaces only may not write where those of Namespaces are.
async fn tell_what_stays<K: Kind>(context: &Context, namespace: &ObjectReference, resource: &K, message: String) {
    if context.looks_after(DEFAULT_NAMESPACE) {
        let news = News { is_good: false, reason: LEFT_IN_KAFKA.to_owned(), message };
        context.events.tell_about(namespace, resource, &news).await;
    }
}

/// All resources of a kind that the operator may see, from the API server and not from a cache: a cache may not know yet of one that
/// was made just now.
pub async fn list<K>(context: &Context) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let client = || context.client.clone();
    let apis: Vec<Api<K>> = if context.namespaces.is_empty() {
        vec![Api::all(client())]
    } else {
        context.namespaces.iter().map(|namespace| Api::namespaced(client(), namespace)).collect()
    };
    let everything = ListParams::default();
    let lists = try_join_all(apis.iter().map(|api| api.list(&everything))).await;
    let lists = lists.doing(|| format!("list all {}", K::plural(&())))?;
    Ok(lists.into_iter().flat_map(|list| list.items).collect())
}
