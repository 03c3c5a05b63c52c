//! The finalizer that a resource has exactly while something in Kafka is to be deleted with it.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::Status,
};
use serde_json::{Value, json};

use crate::{
    children::FIELD_MANAGER,
    controller::Kind,
    error::{Doing, Error},
};

/// A kind whose resources may hold on until something in Kafka is deleted.
pub trait Holds: Kind {
    /// The finalizer by which they do. No resource has it whose spec does not ask for the deletion.
    const FINALIZER: &'static str;

    /// The part of the status that notes what is to be deleted.
    const NOTED: &'static str;

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

/// Gives the resource its finalizer. Only where its spec and its finalizers are those that were judged; all else that is written meanwhile, however
/// often, holds nothing up.
async fn hold<K: Holds>(client: &Client, resource: &K) -> Result<(), Error> {
    const PLACE: &str = "/metadata/finalizers";
    let before = resource.finalizers();
    let after: Vec<&str> = before.iter().map(String::as_str).chain([K::FINALIZER]).collect();
    // Kubernetes leaves out what is empty, and what is not there is `null`.
    let before = (!before.is_empty()).then_some(before);
    let test = json!({"op": "test", "path": PLACE, "value": before});
    change(client, resource, [test, json!({"op": "add", "path": PLACE, "value": after})]).await
}

/// Takes the finalizer from the resource: one that is being deleted is gone with it. Only where its spec is the one that was judged, and what its
/// status notes of Kafka: what was made there a moment before, and is noted by now, would stay. All else that is written meanwhile, however often,
/// holds nothing up.
pub async fn release<K: Holds>(client: &Client, resource: &K) -> Result<(), Error> {
    let Some(place) = resource.finalizers().iter().position(|finalizer| finalizer == K::FINALIZER) else {
        return Ok(());
    };
    let place = format!("/metadata/finalizers/{place}");
    let test = json!({"op": "test", "path": place, "value": K::FINALIZER});
    let remove = json!({"op": "remove", "path": place});
    change(client, resource, noted(resource).into_iter().chain([test, remove])).await
}

/// The operation that tests whether a resource's status still notes of Kafka what it did. What is not there is `null`, as long as there is a status.
fn noted<K: Holds>(resource: &K) -> Option<Value> {
    let status = serde_json::to_value(resource.status()?).expect("a status is plain data");
    Some(json!({"op": "test", "path": format!("/status/{}", K::NOTED), "value": status.get(K::NOTED)}))
}

/// Makes these operations of a JSON patch where the resource and its spec are those that were judged.
async fn change<K: Holds>(
    client: &Client,
    resource: &K,
    operations: impl IntoIterator<Item = Value>,
) -> Result<(), Error> {
    let judged = [
        json!({"op": "test", "path": "/metadata/uid", "value": resource.uid()}),
        json!({"op": "test", "path": "/metadata/generation", "value": resource.meta().generation}),
    ];
    let patch: Value = judged.into_iter().chain(operations).collect();
    let patch = serde_json::from_value(patch).expect("these are operations of a JSON patch");
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    match api.patch(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Json::<()>(patch)).await {
        // It is gone already.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(kube::Error::Api(status)) if is_another(&status) => Err(Error::Stale),
        written => written.map(drop).doing(|| format!("write the finalizers of {} \"{namespace}/{name}\"", K::NAME)),
    }
}

/// Whether a test of a JSON patch found another value. The API server says so by nothing but the code of what is not valid and words for any such
/// case; where it says what is not valid, it was something else.
fn is_another(status: &Status) -> bool {
    status.code == 422 && status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}

#[cfg(test)]
mod tests {
    use sluice_crds::{TOPIC_FINALIZER, Topic};

    use super::*;
    use crate::kubernetes::answers::answers;

    #[tokio::test]
    async fn a_finalizer_is_taken_only_where_no_more_is_noted_than_was_judged() {
        for id in [json!(null), json!("qjbtiPqUQyuK2ad2l3vDNA")] {
            let finalizers = json!(["others/keep", TOPIC_FINALIZER]);
            let metadata =
                json!({"name": "orders", "namespace": "shop", "uid": "a", "generation": 3, "finalizers": finalizers});
            let (api_version, kind, status) = ("sluice.dev/v1alpha1", "Topic", json!({"topicId": id}));
            let topic =
                json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {}, "status": status});
            let (client, asked) = answers([(200, topic.clone())]);
            release(&client, &serde_json::from_value::<Topic>(topic).unwrap()).await.unwrap();
            let place = "/metadata/finalizers/1";
            let patch = json!([
                {"op": "test", "path": "/metadata/uid", "value": "a"},
                {"op": "test", "path": "/metadata/generation", "value": 3},
                {"op": "test", "path": "/status/topicId", "value": id},
                {"op": "test", "path": place, "value": TOPIC_FINALIZER},
                {"op": "remove", "path": place},
            ]);
            assert_eq!(*asked.lock().unwrap(), [patch]);
        }
    }

    #[test]
    fn a_test_that_found_another_value_is_told_from_what_is_not_valid() {
        let status = |details: Value| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid",
                "message": "the server rejected our request due to an error in our request", "details": details,
            });
            serde_json::from_value::<Status>(status).unwrap()
        };
        assert!(is_another(&status(json!({}))));
        let cause = json!({"reason": "FieldValueForbidden", "message": "Forbidden", "field": "metadata.finalizers"});
        let refused = status(json!({"name": "orders", "group": "sluice.dev", "kind": "Topic", "causes": [cause]}));
        assert!(!is_another(&refused));
        assert!(!is_another(&Status { code: 409, ..status(json!({})) }));
    }
}
