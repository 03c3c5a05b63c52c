//! The Kafka clusters of the configuration, each with one client that all passes share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sluice_crds::KafkaConnection;
use sluice_kafka::Admin;

use crate::error::Error;

/// No broker that works takes longer; a pass must not wait for one that does not.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// A client for each Kafka cluster, made when it is first asked for.
pub struct Clusters {
    connections: BTreeMap<String, KafkaConnection>,
    clients: Mutex<HashMap<String, Admin>>,
}

impl Clusters {
    /// No connection is made yet.
    pub fn new(connections: BTreeMap<String, KafkaConnection>) -> Self {
        Self { connections, clients: Mutex::default() }
    }

    /// The client of a cluster that the configuration has. Error: its credentials cannot be read.
    pub fn client(&self, cluster: &str) -> Result<Admin, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(cluster) {
            return Ok(client.clone());
        }
        let connection = self.connections.get(cluster).cloned().unwrap_or_default();
        let client = Admin::connect(&connection)
            .map_err(|source| Error::Kafka { cluster: cluster.to_owned(), source })?
            .with_timeout(REQUEST_TIMEOUT);
        clients.insert(cluster.to_owned(), client.clone());
        Ok(client)
    }
}
