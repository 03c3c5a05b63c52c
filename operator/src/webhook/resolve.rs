//! Fetches what a Webhook refers to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::DynamicObject};
use sluice_crds::{NamespacedName, Webhook};
use sluice_model::{
    topic::{User, UserKind},
    webhook::References,
};

use super::gateway::Gateway;
use crate::{
    config_maps::config_maps,
    context::Context,
    controller::name_of,
    error::{Doing, Error},
    grants,
    integration::topic,
};

/// The Topics, the ConfigMap and the gateways' listeners; what does not exist or may not be used is left out.
pub async fn resolve(context: &Context, webhook: &Webhook) -> Result<References, Error> {
    let (client, spec) = (&context.client, &webhook.spec);
    let who = User { kind: UserKind::Webhook, name: name_of(webhook) };
    let namespace = &who.name.namespace;
    let topics = [spec.topic_ref.as_ref(), spec.dead_letters_ref()];
    let topics = topics.map(|reference| reference.map(|reference| reference.seen_from(namespace)));
    let refused = grants::refused(context, &who, topics.iter().flatten().cloned()).await?;
    let [events, dead_letters] = topics.map(|topic| topic.filter(|topic| !refused.contains_key(topic)));
    let events = topic(client, events.as_ref());
    let dead_letters = topic(client, dead_letters.as_ref());
    let config_maps = config_maps(client, namespace, spec.config_map_name());
    let (topic, dead_letters, config_maps) = futures::try_join!(events, dead_letters, config_maps)?;
    let (mut gateways, mut missing_gateways) = (Vec::new(), Vec::new());
    for parent in &spec.route.parent_refs {
        let gateway_namespace = parent.namespace.clone().unwrap_or_else(|| namespace.clone());
        let name = NamespacedName { namespace: gateway_namespace, name: parent.name.clone() };
        match gateway(client, &name).await? {
            Found::There(gateway) => gateways.push((name, gateway)),
            Found::Missing => missing_gateways.push(name.to_string()),
            Found::Hidden => {}
        }
    }
    let decides = gateways.iter().any(|(_, gateway)| gateway.selects_namespaces());
    let labels = if decides { labels_of(client, namespace).await? } else { None };
    let listeners = gateways.iter().flat_map(|(name, gateway)| gateway.listeners(name, labels.as_ref())).collect();
    Ok(References { topic, dead_letters, refused, config_maps, listeners, missing_gateways, older_claim: None })
}

/// What is known of a Gateway.
enum Found {
    There(Gateway),
    Missing,
    /// The Gateway API itself is not there: the route's condition says so. Or the Gateway's namespace is not among those
    /// that this operator looks after.
    Hidden,
}

async fn gateway(client: &Client, name: &NamespacedName) -> Result<Found, Error> {
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &name.namespace, &Gateway::api_resource());
    match api.get(&name.name).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Found::Missing),
        Err(kube::Error::Api(status)) if status.code == 404 || status.is_forbidden() => Ok(Found::Hidden),
        gateway => Ok(Found::There(Gateway::of(&gateway.doing(|| format!("read Gateway \"{name}\""))?))),
    }
}

/// The labels of a namespace; `None` where it may not be read.
async fn labels_of(client: &Client, namespace: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
    match Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        found => {
            let found = found.doing(|| format!("read Namespace {namespace:?}"))?;
            Ok(Some(found.metadata.labels.unwrap_or_default()))
        }
    }
}
