//! What a Topic has to do with other resources.

use std::time::Duration;

use sluice_crds::Topic;
use sluice_model::topic::References;
use tokio::time::timeout;
use tracing::debug;

use crate::{context::Context, error::Error};

/// How long another Kafka cluster than the Topic's may take to tell which one it is. Once it does, it wakes the Topics that it concerns.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who uses the Topic and who claims its Kafka topic too, as the watches have told. Nothing is asked of the API server.
pub async fn resolve(topic: &Topic, context: &Context) -> Result<References, Error> {
    context.identities.learn(context, &topic.spec.cluster).await?;
    let others = context.relations.named_under(topic, context.clusters.names());
    if !others.is_empty() {
        let told = timeout(PATIENCE, context.identities.learn_all(context, &others)).await;
        // A cluster that is away holds up no Topic of another one.
        if !matches!(told, Ok(Ok(()))) {
            debug!(clusters = ?others, "Not all of them tell whether they are the Topic's own");
        }
    }
    Ok(context.relations.of(topic))
}
