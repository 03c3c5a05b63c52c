//! Judges what the body of an event must look like, and where events go that do not.

use sluice_crds::{DeadLetters, EventValidation, OnInvalidEvent, Settings, WebhookSpec};

use super::{Contract, References, WrittenTopic};
use crate::{
    Cluster, Rejection, references,
    schema::{schema, written_at},
};

const FIELD: &str = "spec.validate.jsonSchema";

/// The contract that the spec asks for, or all that is wrong with it. Dead letters go to the cluster that holds the events.
pub(super) fn contract(
    spec: &WebhookSpec,
    references: &References,
    settings: &Settings,
    cluster: Option<&Cluster>,
) -> Result<Option<Contract>, Vec<Rejection>> {
    let Some(validation) = &spec.validate else { return Ok(None) };
    let mut rejections = Vec::new();
    let json_schema = json_schema(validation, references).map_err(|found| rejections.push(found)).ok();
    let dead_letters = match validation.on_invalid {
        OnInvalidEvent::Refuse => None,
        OnInvalidEvent::DeadLetter => {
            let dead_letters = spec.dead_letters.clone().unwrap_or_default();
            topic(&dead_letters, references, settings, cluster).map_err(|found| rejections.push(found)).ok()
        }
    };
    match json_schema {
        Some(json_schema) if rejections.is_empty() => Ok(Some(Contract { json_schema, dead_letters })),
        _ => Err(rejections),
    }
}

fn json_schema(validation: &EventValidation, references: &References) -> Result<serde_json::Value, Rejection> {
    let source = &validation.json_schema;
    let json_schema = schema(FIELD, source, &references.config_maps)?;
    // The receiver's own compiler says here what it would say there.
    match sluice_pipeline::Contract::compile(&json_schema) {
        Ok(_) => Ok(json_schema),
        Err(reason) => Err(Rejection::invalid(written_at(FIELD, source), reason)),
    }
}

fn topic(
    dead_letters: &DeadLetters,
    references: &References,
    settings: &Settings,
    cluster: Option<&Cluster>,
) -> Result<WrittenTopic, Rejection> {
    let field = "spec.deadLetters.topicRef.name";
    let Some(reference) = &dead_letters.topic_ref else {
        return Ok(WrittenTopic::Own(dead_letters.topic.clone().unwrap_or_default()));
    };
    let topic = references::existing(field, references.dead_letters.as_ref(), reference, &references.refused)?;
    if let Some(cluster) = cluster.filter(|cluster| cluster.name != topic.spec.cluster) {
        let (there, here) = (&topic.spec.cluster, &cluster.name);
        let message =
            format!("this Topic is on the Kafka cluster {there:?} and the events on {here:?}; use one on {here:?}");
        return Err(Rejection::invalid(field, message));
    }
    let kafka = references::created(field, topic, settings)?;
    Ok(WrittenTopic::Named { kafka, not_ready: references::not_ready(field, topic) })
}
