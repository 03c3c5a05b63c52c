//! Fetches what an Integration refers to.

use kube::{Api, Client, ResourceExt};
use sluice_crds::{Integration, Topic, Webhook};
use sluice_model::integration::References;

use crate::{
    config_maps::config_maps,
    error::{Doing, Error},
};

/// The Webhook, the Topics and the ConfigMaps; what does not exist is `None`. Read from the API server and not from a cache: the watch that
/// wakes the pass and the cache are two streams, and the cache may not have seen yet what the watch tells.
pub async fn resolve(client: &Client, integration: &Integration) -> Result<References, Error> {
    let namespace = integration.namespace().unwrap_or_default();
    let source = &integration.spec.source;
    let webhook = match &source.webhook {
        Some(reference) => webhook(client, &namespace, &reference.name).await?,
        None => None,
    };
    let source = source.topic.as_ref().map(|topic| topic.name.clone()).or_else(|| Some(topic_of(webhook.as_ref()?)));
    let sink = integration.spec.sink_topic().map(|topic| topic.name.as_str());
    let dead_letters = integration.spec.dead_letters.topic_ref.as_ref().map(|topic| topic.name.as_str());
    let (source, sink, dead_letters, config_maps) = futures::try_join!(
        topic(client, &namespace, source.as_deref()),
        topic(client, &namespace, sink),
        topic(client, &namespace, dead_letters),
        config_maps(client, &namespace, integration.spec.config_map_names())
    )?;
    Ok(References { webhook, source, sink, dead_letters, config_maps })
}

/// The Topic that holds a Webhook's events: the one that it names, or its own, which is named like it.
fn topic_of(webhook: &Webhook) -> String {
    webhook.spec.topic_ref.as_ref().map_or_else(|| webhook.name_any(), |topic| topic.name.clone())
}

/// The Topic of that name, where one is named and exists.
pub(crate) async fn topic(client: &Client, namespace: &str, name: Option<&str>) -> Result<Option<Topic>, Error> {
    let Some(name) = name else { return Ok(None) };
    let api = Api::<Topic>::namespaced(client.clone(), namespace);
    api.get_opt(name).await.doing(|| format!("read Topic \"{namespace}/{name}\""))
}

async fn webhook(client: &Client, namespace: &str, name: &str) -> Result<Option<Webhook>, Error> {
    let api = Api::<Webhook>::namespaced(client.clone(), namespace);
    api.get_opt(name).await.doing(|| format!("read Webhook \"{namespace}/{name}\""))
}
