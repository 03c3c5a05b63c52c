//! What a Topic has to do with other resources.

use sluice_crds::Topic;
use sluice_model::topic::References;
use tracing::debug;

use crate::{context::Context, error::Error};

/// Who uses the Topic and who claims its Kafka topic too, as the watches have told. Nothing is asked of the API server.
pub async fn resolve(topic: &Topic, context: &Context) -> Result<References, Error> {
    context.identities.learn(context, &topic.spec.cluster).await?;
    let others = context.relations.named_under(topic, context.clusters.names());
    // A cluster that is away holds up no Topic of another one. Once it tells, it wakes the Topics that it concerns.
    if !others.is_empty() && !context.identities.learn_soon(context, &others).await {
        debug!(clusters = ?others, "Not all of them tell whether they are the Topic's own");
    }
    Ok(context.relations.of(topic))
}
