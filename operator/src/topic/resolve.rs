//! What a Topic has to do with other resources.

use sluice_crds::Topic;
use sluice_model::topic::References;

use crate::{context::Context, error::Error};

/// Who uses the Topic and who claims its Kafka topic too, as the watches have told. Nothing is asked of the API server.
pub async fn resolve(topic: &Topic, context: &Context) -> Result<References, Error> {
    context.identities.learn(context, &topic.spec.cluster).await?;
    Ok(context.relations.of(topic))
}
