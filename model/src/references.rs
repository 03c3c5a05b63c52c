//! What a Topic says that somebody else refers to, and whether it may be referred to.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::{ConditionType, NamespacedName, Settings, Topic, TopicReference};

use crate::{
    Rejection, conditions,
    tenancy::{self, Named},
};

/// Topics of other namespaces that the resource names and may not use, each with the reason.
pub type Refused = BTreeMap<NamespacedName, String>;

/// The Topic that `field` names, or a complaint that it may not be used or does not exist.
pub(crate) fn existing<'a>(
    field: &str,
    topic: Option<&'a Topic>,
    reference: &TopicReference,
    refused: &Refused,
) -> Result<&'a Topic, Rejection> {
    // Nothing is said of what may not be used, not even whether it exists.
    if let Some(rejection) = not_permitted(field, reference, refused) {
        return Err(rejection);
    }
    let message = || match (&reference.name, &reference.namespace) {
        (name, None) => format!("there is no Topic {name:?} in this namespace; create it"),
        (name, Some(namespace)) => format!("there is no Topic {name:?} in the namespace {namespace:?}; create it"),
    };
    topic.ok_or_else(|| Rejection::not_found(field, message()))
}

/// The complaint that the Topic is another namespace's, which does not permit its use.
pub(crate) fn not_permitted(field: &str, reference: &TopicReference, refused: &Refused) -> Option<Rejection> {
    // Without a namespace it is the resource's own, of which nothing is refused.
    let topic = reference.seen_from(reference.namespace.as_deref()?);
    refused.get(&topic).map(|why| Rejection::not_permitted(field, why))
}

/// Those of the Topics that other namespaces than `own` have, each once.
pub(crate) fn elsewhere<'a>(
    own: &str,
    references: impl IntoIterator<Item = Option<&'a TopicReference>>,
) -> BTreeSet<NamespacedName> {
    let topics = references.into_iter().flatten().map(|reference| reference.seen_from(own));
    topics.filter(|topic| topic.namespace != own).collect()
}

/// The Kafka topic of a Topic that Kafka has, or once had: data planes keep running while it is not ready. One that its
/// namespace may not name is nobody's to use, even where it was made before that was so.
pub(crate) fn created(field: &str, topic: &Topic, settings: &Settings) -> Result<String, Rejection> {
    let status = topic.status.as_ref().filter(|status| status.topic_id.is_some());
    let name = status.and_then(|status| status.topic_name.clone()).ok_or_else(|| complaint(field, topic))?;
    let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
    tenancy::judge(settings, namespace, field, Named::Topic(&name)).map_or(Ok(name), Err)
}

/// The complaint that a Topic is not ready, where it is not.
pub(crate) fn not_ready(field: &str, topic: &Topic) -> Option<Rejection> {
    let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    (!conditions::is_true(conditions, ConditionType::Ready)).then(|| complaint(field, topic))
}

fn complaint(field: &str, topic: &Topic) -> Rejection {
    let name = topic.metadata.name.as_deref().unwrap_or_default();
    let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let says = conditions::find(conditions, ConditionType::Ready)
        .map_or_else(|| "it was not looked at yet".to_owned(), |ready| format!("{}: {}", ready.reason, ready.message));
    Rejection::not_ready(field, format!("the Topic {name:?} is not ready: {says}"))
}
