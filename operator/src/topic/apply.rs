//! Carries out a plan over a Kafka topic.

use sluice_kafka::{ConfigChange, ErrorCode, NewTopic, TopicAdmin, TopicError};
use sluice_model::topic::{Change, Wanted};
use tracing::info;

use crate::error::Error;

/// Makes the changes. What was made before an error stays: the next pass goes on from there.
pub async fn apply(kafka: &TopicAdmin, wanted: &Wanted, changes: &[Change]) -> Result<(), Error> {
    let (name, cluster) = (wanted.name.as_str(), wanted.cluster.name.as_str());
    let mut settings = Vec::new();
    for change in changes {
        match change.clone() {
            Change::Create { partitions, replicas, config } => {
                let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), replicas, config };
                let created = kafka.create(topic).await;
                if !is_there_already(&created, ErrorCode::TOPIC_ALREADY_EXISTS) {
                    let doing = || format!("create topic {name:?}");
                    created.map_err(|error| Error::of_topic(cluster, doing, error))?;
                    info!(topic = name, partitions, "Topic created");
                }
            }
            Change::Adopt { from, to } => info!(topic = name, from, to, "Another topic adopted"),
            Change::Grow { from, to } => {
                let grown = kafka.grow(name, to).await;
                if !is_there_already(&grown, ErrorCode::INVALID_PARTITIONS) {
                    let doing = || format!("grow topic {name:?} from {from} to {to} partitions");
                    grown.map_err(|error| Error::of_topic(cluster, doing, error))?;
                    info!(topic = name, from, partitions = to, "Topic grown");
                }
            }
            Change::Set { key, to, .. } => settings.push(ConfigChange::Set { key, value: to }),
            Change::Reset { key, .. } => settings.push(ConfigChange::Delete { key }),
        }
    }
    if settings.is_empty() {
        return Ok(());
    }
    let (count, doing) = (settings.len(), || format!("change the settings of topic {name:?}"));
    kafka.alter_config(name, settings).await.map_err(|error| Error::of_topic(cluster, doing, error))?;
    info!(topic = name, settings = count, "Topic settings changed");
    Ok(())
}

/// Whether Kafka has refused with this code because somebody else has made it in the meantime, or an operator that ended before it knew, and no
/// broker showed it yet: the next look sees it.
fn is_there_already(made: &Result<(), TopicError>, code: ErrorCode) -> bool {
    matches!(made, Err(TopicError::Topic(error)) if error.code == code)
}
