//! Fetches what an Integration refers to.

use kube::{Api, Client, ResourceExt};
use sluice_crds::{Integration, NamespacedName, Topic, TopicReference, Webhook};
use sluice_model::{
    integration::References,
    topic::{User, UserKind},
};

use crate::{
    config_maps::config_maps,
    context::Context,
    controller::name_of,
    error::{Doing, Error},
    grants,
};

/// The Webhook, the Topics and the ConfigMaps; what does not exist or may not be used is `None`. Read from the API server and not from a
/// cache: the watch that wakes the pass and the cache are two streams, and the cache may not have seen yet what the watch tells.
pub async fn resolve(context: &Context, integration: &Integration) -> Result<References, Error> {
    let (client, spec) = (&context.client, &integration.spec);
    let who = User { kind: UserKind::Integration, name: name_of(integration) };
    let namespace = &who.name.namespace;
    let webhook = match &spec.source.webhook {
        Some(reference) => webhook(client, namespace, &reference.name).await?,
        None => None,
    };
    let source = spec.source.topic.clone().or_else(|| Some(topic_of(webhook.as_ref()?)));
    let references = [source.as_ref(), spec.sink_topic(), spec.dead_letters.topic_ref.as_ref()];
    let topics = references.map(|reference| reference.map(|reference| reference.seen_from(namespace)));
    let refused = grants::refused(context, &who, topics.iter().flatten().cloned()).await?;
    let [source, sink, dead_letters] = topics.map(|topic| topic.filter(|topic| !refused.contains_key(topic)));
    let (source, sink, dead_letters, config_maps) = futures::try_join!(
        topic(client, source.as_ref()),
        topic(client, sink.as_ref()),
        topic(client, dead_letters.as_ref()),
        config_maps(client, namespace, spec.config_map_names())
    )?;
    Ok(References { webhook, source, sink, dead_letters, refused, config_maps })
}

/// The Topic that holds a Webhook's events: the one that it names, or its own, which is named like it.
fn topic_of(webhook: &Webhook) -> TopicReference {
    let own = || TopicReference { name: webhook.name_any(), namespace: None };
    webhook.spec.topic_ref.clone().unwrap_or_else(own)
}

/// The Topic of that name, where one is named and exists.
pub(crate) async fn topic(client: &Client, name: Option<&NamespacedName>) -> Result<Option<Topic>, Error> {
    let Some(name) = name else { return Ok(None) };
    let api = Api::<Topic>::namespaced(client.clone(), &name.namespace);
    api.get_opt(&name.name).await.doing(|| format!("read Topic \"{name}\""))
}

async fn webhook(client: &Client, namespace: &str, name: &str) -> Result<Option<Webhook>, Error> {
    let api = Api::<Webhook>::namespaced(client.clone(), namespace);
    api.get_opt(name).await.doing(|| format!("read Webhook \"{namespace}/{name}\""))
}
