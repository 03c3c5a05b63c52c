//! The finalizer that a resource has exactly while something in Kafka is to be deleted with it.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    children::FIELD_MANAGER,
    controller::Kind,
    error::{Doing, Error},
};

/// A kind whose resources may hold on until something in Kafka is deleted.
pub trait Holds: Kind {
    /// The finalizer by which they do. No resource has it whose spec does not ask for the deletion.
    const FINALIZER: &'static str;

    /// Whether the spec asks for the deletion.
    fn deletes_too(&self) -> bool;
}

/// Whether the resource holds on.
pub fn is_held<K: Holds>(resource: &K) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == K::FINALIZER)
}

/// Gives the resource its finalizer, or takes it, as its spec wants; says whether anything was to be done.
pub async fn follow_spec<K: Holds>(client: &Client, resource: &K) -> Result<bool, Error> {
    let wanted = resource.deletes_too();
    if wanted == is_held(resource) {
        return Ok(false);
    }
    write(client, resource, wanted).await?;
    Ok(true)
}

/// Takes the finalizer from the resource: one that is being deleted is gone with it.
pub async fn release<K: Holds>(client: &Client, resource: &K) -> Result<(), Error> {
    write(client, resource, false).await
}

/// Only over the version that was looked at: the list of finalizers is replaced as a whole.
async fn write<K: Holds>(client: &Client, resource: &K, held: bool) -> Result<(), Error> {
    let mut finalizers: Vec<&str> = resource.finalizers().iter().map(String::as_str).collect();
    finalizers.retain(|finalizer| *finalizer != K::FINALIZER);
    if held {
        finalizers.push(K::FINALIZER);
    }
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let patch = json!({"metadata": {"resourceVersion": resource.resource_version(), "finalizers": finalizers}});
    let parameters = PatchParams::apply(FIELD_MANAGER);
    match Api::<K>::namespaced(client.clone(), &namespace).patch(&name, &parameters, &Patch::Merge(patch)).await {
        // It is gone already.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop).doing(|| format!("write the finalizers of {} \"{namespace}/{name}\"", K::NAME)),
    }
}
