//! The finalizer that a Topic has exactly while its Kafka topic is to be deleted with it.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{TOPIC_FINALIZER, Topic};
use sluice_model::topic::is_deleted_too;

use crate::{
    children::FIELD_MANAGER,
    error::{Doing, Error},
};

/// Whether the Topic holds on until its Kafka topic is deleted.
pub fn is_held(topic: &Topic) -> bool {
    topic.finalizers().iter().any(|finalizer| finalizer == TOPIC_FINALIZER)
}

/// Gives the Topic its finalizer, or takes it, as its spec wants; says whether anything was to be done.
pub async fn follow_spec(client: &Client, topic: &Topic) -> Result<bool, Error> {
    let wanted = is_deleted_too(&topic.spec);
    if wanted == is_held(topic) {
        return Ok(false);
    }
    write(client, topic, wanted).await?;
    Ok(true)
}

/// Takes the finalizer from the Topic: a Topic that is being deleted is gone with it.
pub async fn release(client: &Client, topic: &Topic) -> Result<(), Error> {
    write(client, topic, false).await
}

/// Only over the version that was looked at: the list of finalizers is replaced as a whole.
async fn write(client: &Client, topic: &Topic, held: bool) -> Result<(), Error> {
    let mut finalizers: Vec<&str> = topic.finalizers().iter().map(String::as_str).collect();
    finalizers.retain(|finalizer| *finalizer != TOPIC_FINALIZER);
    if held {
        finalizers.push(TOPIC_FINALIZER);
    }
    let (namespace, name) = (topic.namespace().unwrap_or_default(), topic.name_any());
    let patch = json!({"metadata": {"resourceVersion": topic.resource_version(), "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match Api::<Topic>::namespaced(client.clone(), &namespace).patch(&name, &parameters, &Patch::Merge(patch)).await {
        // It is gone already.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop).doing(|| format!("write the finalizers of Topic \"{namespace}/{name}\"")),
    }
}
