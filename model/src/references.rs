//! What a Topic says that somebody else refers to.

use sluice_crds::{ConditionType, Settings, Topic, TopicReference};

use crate::{
    Rejection, conditions,
    tenancy::{self, Named},
};

/// The Topic that `field` names, or a complaint that it does not exist.
pub(crate) fn existing<'a>(
    field: &str,
    topic: Option<&'a Topic>,
    reference: &TopicReference,
) -> Result<&'a Topic, Rejection> {
    let message = || format!("there is no Topic {:?} in this namespace; create it", reference.name);
    topic.ok_or_else(|| Rejection::not_found(field, message()))
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
