//! What becomes of a Topic's schema.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use sluice_crds::{NamespacedName, Topic, TopicSchema};
use sluice_model::topic::{References, SchemaOutcome, Wanted, subject_of, wanted_schema};

use super::name_of;
use crate::{
    context::Context,
    error::{Doing, Error},
};

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
    let config_map = config_map(context, &name, schema).await?;
    Ok(Some(match wanted_schema(topic, schema, &wanted.name, &context.settings, config_map.as_ref()) {
        Ok(wanted) => context.schemas.outcome(&name, wanted).await,
        Err(rejection) => {
            context.schemas.forget(&name);
            SchemaOutcome::Rejected(rejection)
        }
    }))
}

/// The data of the ConfigMap that the schema names. Read from the API server and not from a cache: the watch that wakes the pass
/// keeps no data.
async fn config_map(
    context: &Context,
    topic: &NamespacedName,
    schema: &TopicSchema,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    let Some(reference) = &schema.definition.config_map_ref else { return Ok(None) };
    let (namespace, name) = (&topic.namespace, &reference.name);
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.doing(|| format!("read ConfigMap \"{namespace}/{name}\""))?;
    Ok(found.map(|config_map| config_map.data.unwrap_or_default()))
}
