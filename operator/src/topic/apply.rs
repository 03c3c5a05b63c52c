//! Carries out a plan over a Kafka topic.

use std::collections::BTreeMap;

use sluice_kafka::{Admin, ConfigChange, ErrorCode, KafkaError, NewTopic};
use sluice_model::topic::{Change, Plan, Wanted};
use tracing::info;

use crate::error::{Doing, Error};

/// Makes the changes. What was made before an error stays: the next pass goes on from there.
pub async fn apply(kafka: &Admin, wanted: &Wanted, plan: &Plan) -> Result<(), Error> {
    let name = wanted.name.as_str();
    let unreachable = |source| Error::Kafka { cluster: wanted.cluster.name.clone(), source };
    let mut settings = Vec::new();
    for change in &plan.changes {
        match change.clone() {
            Change::Create { partitions, replicas, config } => {
                let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), replicas, config };
                let created = kafka.create_topics(&[topic]).await.map_err(unreachable)?;
                unless_it_exists(of(created, name)).doing(|| format!("create topic {name:?}"))?;
                info!(topic = name, partitions, "Topic created");
            }
            Change::Grow { from, to } => {
                let grown = kafka.create_partitions(&[(name, to)]).await.map_err(unreachable)?;
                of(grown, name).doing(|| format!("grow topic {name:?} from {from} to {to} partitions"))?;
                info!(topic = name, from, partitions = to, "Topic grown");
            }
            Change::Set { key, to, .. } => settings.push(ConfigChange::Set { key, value: to }),
            Change::Reset { key, .. } => settings.push(ConfigChange::Delete { key }),
        }
    }
    if settings.is_empty() {
        return Ok(());
    }
    let count = settings.len();
    let altered = kafka.alter_configs_incrementally(&[(name, settings)]).await.map_err(unreachable)?;
    of(altered, name).doing(|| format!("change the settings of topic {name:?}"))?;
    info!(topic = name, settings = count, "Topic settings changed");
    Ok(())
}

/// The answer about one topic.
fn of(mut answers: BTreeMap<String, Result<(), KafkaError>>, name: &str) -> Result<(), KafkaError> {
    answers.remove(name).unwrap_or(Ok(()))
}

/// Somebody else created it in the meantime: the next pass adopts it.
fn unless_it_exists(created: Result<(), KafkaError>) -> Result<(), KafkaError> {
    created.or_else(|error| if error.code == ErrorCode::TOPIC_ALREADY_EXISTS { Ok(()) } else { Err(error) })
}
