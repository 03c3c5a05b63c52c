//! The last pass over a Topic with a finalizer: deletes its Kafka topic, and nothing else, and lets the Topic go.

use std::{fmt::Debug, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace, jiff::Timestamp};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use sluice_crds::{Integration, Topic, TopicStatus, Webhook};
use sluice_model::topic::{
    Farewell, Outcome, Release, Usage, Users, farewell, report, uses_of_integration, uses_of_webhook, validate,
};
use tracing::{info, warn};

use super::finalizer;
use crate::{
    context::Context,
    controller::{Next, Pass},
    error::{Doing, Error},
    grants,
    looks::Looks,
};

/// How long a namespace that is being deleted waits for Kafka.
const NAMESPACE_PATIENCE: Duration = Duration::from_secs(30);
/// Users that go wake the Topic; this is for an event that was lost.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// What all farewells at a moment look at together.
#[derive(Debug, Default)]
pub struct Farewells {
    users: Looks<(), Users>,
    /// Whether they are going.
    namespaces: Looks<String, bool>,
}

/// How a farewell came out.
enum End {
    /// The Kafka topic is deleted.
    Deleted,
    /// The Kafka topic stays.
    Released(Release),
    /// These still use it.
    InUse(Vec<Usage>),
}

/// A pass over a Topic that is being deleted and holds on to its Kafka topic.
pub async fn pass(topic: &Topic, context: &Context) -> Result<Pass<TopicStatus>, Error> {
    let namespace = topic.namespace().unwrap_or_default();
    let is_going = is_going(&context.client, &namespace);
    let namespace_goes = *context.farewells.namespaces.at(namespace.clone(), is_going).await?;
    let end = match end(topic, context, namespace_goes).await {
        Err(error) if namespace_goes && is_out_of_patience(topic) => End::Released(Release::GivenUp(error.to_string())),
        end => end?,
    };
    let unchanged = || topic.status.clone().unwrap_or_default();
    let status = match end {
        End::InUse(users) => report(topic, Some(&users), &Outcome::InUse(&users), Timestamp::now()),
        End::Deleted => {
            finalizer::release(&context.client, topic).await?;
            unchanged()
        }
        End::Released(reason) => {
            finalizer::release(&context.client, topic).await?;
            context.metrics.topic_released(reason.name());
            if let Release::GivenUp(_) = &reason {
                warn!(%reason, "Topic let go; its Kafka topic stays");
            } else {
                info!(%reason, "Topic let go; its Kafka topic stays");
            }
            unchanged()
        }
    };
    Ok(Pass { status, next: Next::Within(LOOK_AGAIN) })
}

async fn end(topic: &Topic, context: &Context, namespace_goes: bool) -> Result<End, Error> {
    let users = context.farewells.users.at((), live_users(context)).await?;
    let references = context.relations.of_users(topic, &users);
    match farewell(topic, &references, namespace_goes) {
        Farewell::Release(reason) => Ok(End::Released(reason)),
        Farewell::Wait(users) => Ok(End::InUse(users)),
        Farewell::Delete { id } => delete(topic, context, &id).await,
    }
}

/// Who uses Topics at this moment, from the API server and not from a cache: a cache may not know yet of the user that was made
/// just now.
async fn live_users(context: &Context) -> Result<Users, Error> {
    let (integrations, webhooks, grants) =
        futures::try_join!(list::<Integration>(context), list::<Webhook>(context), grants::all(context))?;
    let uses = integrations.iter().map(uses_of_integration).chain(webhooks.iter().map(uses_of_webhook));
    Ok(uses.collect::<Users>().let_by(grants))
}

/// All resources of a kind that the operator may see.
async fn list<K>(context: &Context) -> Result<Vec<K>, Error>
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

/// Deletes the Kafka topic if it is still the one with that id. Kafka deletes by name only, so it is looked at just before.
async fn delete(topic: &Topic, context: &Context, id: &str) -> Result<End, Error> {
    let wanted = validate(topic, &context.settings).map_err(Error::Rejected)?;
    let (cluster, name) = (wanted.cluster.name.as_str(), wanted.name.as_str());
    let kafka = context.clusters.topics(cluster)?;
    let found = kafka.describe(name).await;
    let found = found.map_err(|error| Error::of_topic(cluster, || format!("describe topic {name:?}"), error))?;
    if let Some(reason) = Release::after_look(id, found.as_ref().map(|topic| topic.id.as_str())) {
        return Ok(End::Released(reason));
    }
    let deleted = kafka.delete(name).await;
    deleted.map_err(|error| Error::of_topic(cluster, || format!("delete topic {name:?}"), error))?;
    info!(topic = name, id, "Kafka topic deleted");
    Ok(End::Deleted)
}

async fn is_going(client: &Client, namespace: &str) -> Result<bool, Error> {
    let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await;
    let found = found.doing(|| format!("read Namespace {namespace:?}"))?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

fn is_out_of_patience(topic: &Topic) -> bool {
    let since = topic.metadata.deletion_timestamp.as_ref();
    let waited = |since: Timestamp| Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
    since.is_some_and(|since| waited(since.0) >= NAMESPACE_PATIENCE)
}
