//! What keeps a consumer from working, in words for a person.

use std::time::Duration;

use sluice_crds::KafkaConnection;
use sluice_kafka::{
    Error,
    consumer::{ClientError, Consumer as _, RDKafkaErrorCode},
};

use super::GroupConsumer;

/// How long Kafka may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks Kafka for the topics. The error says what is missing and what to do.
pub(super) fn topics(consumer: &GroupConsumer, connection: &KafkaConnection, topics: &[String]) -> Result<(), String> {
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(|error| unanswered(consumer, &brokers(connection), &error))?;
        consumer.context().connections.work();
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

/// How long errors of connections may take to be heard, and how many are heard at once.
const HEARING: Duration = Duration::from_millis(100);
const HEARD: usize = 16;

/// Why Kafka does not answer: that its name is not known, that nobody listens, that one side does not trust the other.
fn unanswered(consumer: &GroupConsumer, at: &str, error: &ClientError) -> String {
    // The context hears of a connection's errors in polls. Before the group is joined nothing else comes by them; afterwards the reading
    // goes on with what they return.
    if consumer.subscription().is_ok_and(|subscribed| subscribed.count() == 0) {
        for _ in 0..HEARD {
            if consumer.poll(HEARING).is_none() {
                break;
            }
        }
    }
    match consumer.context().connections.explain("read the topics", PATIENCE, error) {
        Error::Unreachable { cause, .. } => format!("Kafka at {at} does not answer: {}", cause.message),
        refused => format!("Kafka at {at} does not let this worker in: {refused}"),
    }
}

/// What a refusal that the consumer meets means where somebody may have to act; `None` for what passes by itself.
pub(super) fn trouble(code: RDKafkaErrorCode, connection: &KafkaConnection) -> Option<String> {
    let at = brokers(connection);
    match code {
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
