//! The finalizer that a resource has exactly while something in Kafka is to be deleted with it.

use std::fmt::Debug;

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::Serialize;
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
    if wanted {
        hold(client, resource).await?;
    } else {
        release(client, resource).await?;
    }
    Ok(true)
}

/// Only over the version that was looked at: the list of finalizers is replaced as a whole.
async fn hold<K: Holds>(client: &Client, resource: &K) -> Result<(), Error> {
    let mut finalizers = resource.finalizers().to_vec();
    finalizers.push(K::FINALIZER.to_owned());
    let patch = json!({"metadata": {"resourceVersion": resource.resource_version(), "finalizers": finalizers}});
    write(client, resource, Patch::Merge(patch)).await
}

/// Takes the finalizer from the resource: one that is being deleted is gone with it. Only where its spec is the one that was judged; all else
/// that is written meanwhile, however often, holds nothing up.
pub async fn release<K: Holds>(client: &Client, resource: &K) -> Result<(), Error> {
    let Some(place) = resource.finalizers().iter().position(|finalizer| finalizer == K::FINALIZER) else {
        return Ok(());
    };
    let place = format!("/metadata/finalizers/{place}");
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": resource.uid()},
        {"op": "test", "path": "/metadata/generation", "value": resource.meta().generation},
        {"op": "test", "path": place, "value": K::FINALIZER},
        {"op": "remove", "path": place},
    ]);
    let patch = serde_json::from_value(patch).expect("these are operations of a JSON patch");
    match write(client, resource, Patch::Json::<()>(patch)).await {
        Err(Error::Kube { source, .. }) if is_another(&source) => Err(Error::Stale),
        written => written,
    }
}

/// Whether a test of a JSON patch found another value, which has no reason of its own.
fn is_another(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422 && status.message.contains("test failed"))
}

async fn write<K: Holds>(client: &Client, resource: &K, patch: Patch<impl Serialize + Debug>) -> Result<(), Error> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let parameters = PatchParams::apply(FIELD_MANAGER);
    match Api::<K>::namespaced(client.clone(), &namespace).patch(&name, &parameters, &patch).await {
        // It is gone already.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop).doing(|| format!("write the finalizers of {} \"{namespace}/{name}\"", K::NAME)),
    }
}
