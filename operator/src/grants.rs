//! Reads the ReferenceGrants of namespaces whose Topics resources of other namespaces name.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use sluice_crds::NamespacedName;
use sluice_model::{
    Refused, Rejection,
    grants::{Grants, Known, ReferenceGrant},
    topic::User,
};

use crate::{
    context::Context,
    error::{Doing, Error},
};

/// A ReferenceGrant wakes those whose specs name Topics of its namespace. Where one from before goes on that does so, it is looked at so often.
const LOOK_AT_HELD: Duration = Duration::from_secs(15);

/// How the API server calls the kind.
pub fn api_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant"))
}

/// What one permits.
pub fn permitted(object: &DynamicObject) -> ReferenceGrant {
    ReferenceGrant::of(&object.data["spec"])
}

/// Those of the Topics that other namespaces do not let a resource use. Read from the API server and not from a cache, as all that a pass
/// refers to.
pub async fn refused(
    context: &Context,
    who: &User,
    topics: impl IntoIterator<Item = NamespacedName>,
) -> Result<Refused, Error> {
    let topics: Vec<_> = topics.into_iter().filter(|topic| topic.namespace != who.name.namespace).collect();
    let namespaces: BTreeSet<&str> = topics.iter().map(|topic| topic.namespace.as_str()).collect();
    let mut known = BTreeMap::new();
    for namespace in namespaces {
        known.insert(namespace, look(context, namespace).await?);
    }
    let refusal = |topic: &NamespacedName| known.get(topic.namespace.as_str())?.refusal(who, topic);
    Ok(topics.iter().filter_map(|topic| Some((topic.clone(), refusal(topic)?))).collect())
}

/// All that the operator may see; none where there is no such kind.
pub async fn all(context: &Context) -> Result<Grants, Error> {
    if context.namespaces.is_empty() {
        let api = Api::all_with(context.client.clone(), &api_resource());
        return Ok(grants(list(&api, "all namespaces").await?));
    }
    let mut all = Grants::default();
    for namespace in &context.namespaces {
        all = all.and(grants(look(context, namespace).await?));
    }
    Ok(all)
}

/// The complaints, with those that say why objects of the last good spec cannot be kept at work.
pub fn with_stop(rejections: &[Rejection], refused: Refused) -> Vec<Rejection> {
    let is_new = |why: &String| !rejections.iter().any(|rejection| rejection.message == *why);
    let reason = |why| Rejection::not_permitted("status.lastGood", format!("what ran before is stopped: {why}"));
    rejections.iter().cloned().chain(refused.into_values().filter(is_new).map(reason)).collect()
}

/// When to look again at what goes on of a spec from before, where that uses Topics of other namespaces.
pub fn look_at_held(elsewhere: &BTreeSet<NamespacedName>) -> Option<Duration> {
    (!elsewhere.is_empty()).then_some(LOOK_AT_HELD)
}

async fn look(context: &Context, namespace: &str) -> Result<Known, Error> {
    if !context.looks_after(namespace) {
        return Ok(Known::Hidden);
    }
    let api = Api::namespaced_with(context.client.clone(), namespace, &api_resource());
    list(&api, namespace).await
}

async fn list(api: &Api<DynamicObject>, place: &str) -> Result<Known, Error> {
    match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Known::Hidden),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Known::KindMissing),
        found => {
            let found = found.doing(|| format!("list the ReferenceGrants of {place}"))?;
            Ok(Known::Grants(found.items.iter().map(|object| (name_of(object), permitted(object))).collect()))
        }
    }
}

fn name_of(object: &DynamicObject) -> NamespacedName {
    NamespacedName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn grants(known: Known) -> Grants {
    match known {
        Known::Grants(grants) => grants,
        Known::KindMissing | Known::Hidden => Grants::default(),
    }
}
