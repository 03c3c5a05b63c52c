//! What becomes of a Topic's schema.

use std::time::Duration;

use sluice_crds::Topic;
use sluice_model::topic::{References, SchemaOutcome, Wanted, subject_of, wanted_schema};
use tracing::warn;

use crate::{config_maps::config_maps, context::Context, controller::name_of, error::Error};

/// When a schema that could not be read is tried again: no watch tells that it can.
pub const RETRY: Duration = Duration::from_secs(10);

/// Asks the registrar; `None` where the Topic has no schema.
pub async fn outcome(
    topic: &Topic,
    wanted: &Wanted,
    references: &References,
    context: &Context,
) -> Result<Option<SchemaOutcome>, Error> {
    let name = name_of(topic);
    let Some(schema) = &topic.spec.schema else {
        context.schemas.forget(&name);
        return Ok(None);
    };
    if let Some(winner) = &references.subject_winner {
        context.schemas.forget(&name);
        return Ok(Some(SchemaOutcome::Lost { subject: subject_of(schema, &wanted.name), winner: winner.clone() }));
    }
    // Read from the API server and not from a cache: the watch that wakes the pass keeps no data.
    let named = schema.definition.config_map_ref.as_ref().map(|reference| reference.name.as_str());
    let config_map = config_maps(&context.client, &name.namespace, named).await?.into_values().next();
    Ok(Some(match wanted_schema(topic, schema, &wanted.name, &context.settings, config_map.as_ref()) {
        Ok(wanted) => context.schemas.outcome(&name, wanted).await,
        Err(rejection) => {
            context.schemas.forget(&name);
            SchemaOutcome::Rejected(rejection)
        }
    }))
}

/// What is known of the schema after such an error.
pub fn failed(topic: &Topic, wanted: &Wanted, error: &Error) -> Option<SchemaOutcome> {
    warn!(%error, "The schema could not be read and will be tried again");
    let subject = subject_of(topic.spec.schema.as_ref()?, &wanted.name);
    Some(SchemaOutcome::Failed { subject, reason: error.reason(), message: error.to_string() })
}
