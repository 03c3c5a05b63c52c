//! What keeps a consumer from working, in words for a person.

use std::time::Duration;

use sluice_crds::KafkaConnection;
use sluice_kafka::consumer::{Consumer as _, RDKafkaErrorCode};

use super::GroupConsumer;

/// How long Kafka may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks Kafka for the topics. The error says what is missing and what to do.
pub(super) fn topics(consumer: &GroupConsumer, connection: &KafkaConnection, topics: &[String]) -> Result<(), String> {
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(|error| format!("Kafka at {} does not answer: {error}", brokers(connection)))?;
        let error = metadata.topics().iter().find_map(|found| found.error().map(RDKafkaErrorCode::from));
        match error {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                let at = brokers(connection);
                return Err(format!(
                    "topic {topic:?} does not exist in Kafka at {at}; create it, or a Topic that does"
                ));
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(format!(
                    "this worker's Kafka user may not read topic {topic:?}; allow it to describe and read it"
                ));
            }
            Some(error) => return Err(format!("topic {topic:?} cannot be read: {error}")),
        }
    }
    Ok(())
}

/// What an error of the consumer means where somebody may have to act; `None` for what passes by itself.
pub(super) fn trouble(code: RDKafkaErrorCode, connection: &KafkaConnection) -> Option<String> {
    let at = brokers(connection);
    match code {
        RDKafkaErrorCode::AllBrokersDown => Some(format!("Kafka at {at} does not answer: all brokers are down")),
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            Some(format!("Kafka at {at} does not accept the worker's credentials: {code}"))
        }
        RDKafkaErrorCode::SSL => Some(format!("no TLS connection to Kafka at {at}: {code}")),
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed => Some(format!("Kafka at {at} refuses the worker: {code}")),
        _ => None,
    }
}

fn brokers(connection: &KafkaConnection) -> String {
    connection.bootstrap_servers.join(",")
}
