//! Producers for callers who write many records and wait for all of them.
//!
//! - `plain`: says which records of a batch are not written.
//! - `transactional`: writes a batch and commits offsets together, or neither.
//! - `sharing`: how many records share a request, and what a refusal says of each.
//! - `pace`: how many are under way together of which none shares a request.
//! - `queue`: librdkafka's producer, as both use it.

mod pace;
mod plain;
mod queue;
mod sharing;
mod transactional;

use std::time::Duration;

use rdkafka::ClientConfig;
use sluice_crds::KafkaConnection;

pub use plain::{BatchProducer, Unwritten};
pub use transactional::{Transaction, TransactionError, TransactionalProducer};

use crate::{Compression, Error, ProducerSettings};

/// How long each part of a batch may take, a broker's answer too: librdkafka wants that to be shorter than the timeout of transactions.
const PATIENCE: Duration = Duration::from_secs(10);
/// Batches are handed over as a whole: records wait for the rest of theirs, and no longer.
const LINGER: Duration = Duration::from_millis(5);

fn config(connection: &KafkaConnection, compression: Compression) -> Result<ClientConfig, Error> {
    let settings = ProducerSettings { patience: PATIENCE, answer: PATIENCE, linger: LINGER, compression };
    settings.config(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_batch_waits_longer_for_a_broker_than_a_batch_may_take() {
        let connection =
            KafkaConnection { bootstrap_servers: vec!["127.0.0.1:9".into()], ..KafkaConnection::default() };
        let config = config(&connection, Compression::None).unwrap();
        assert_eq!(config.get("socket.timeout.ms"), Some("10000"));
        // librdkafka refuses a transactional producer that waits for longer than its transactions may take.
        TransactionalProducer::connect(&connection, "id", Compression::None).map(drop).unwrap();
    }
}
