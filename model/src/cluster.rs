//! A Kafka cluster of the operator's configuration, as the data planes see it.

use sluice_crds::{KafkaClients, KafkaCluster, KafkaConnection, Settings, wire};

use crate::Rejection;

/// A Kafka cluster that exists in the operator's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name there.
    pub name: String,
    /// How receivers and workers reach it.
    pub connection: KafkaConnection,
    /// The Secret with their credentials.
    pub secret_name: Option<String>,
    /// The ConfigMap with the brokers' authorities.
    pub ca_config_map_name: Option<String>,
}

impl Cluster {
    /// The cluster of that name, or a complaint about the `field` that names it.
    pub fn find(settings: &Settings, name: &str, field: &str) -> Result<Self, Rejection> {
        let entry = settings.clusters.get(name).ok_or_else(|| unknown_cluster(settings, name, field))?;
        Ok(Self::from_entry(name, entry))
    }

    /// How it is reached by a data plane that reaches others too: each of them has folders of its own.
    pub(crate) fn connection_beside_others(&self) -> KafkaConnection {
        let Self { connection, secret_name, ca_config_map_name, .. } = self;
        KafkaConnection {
            credentials: secret_name.as_ref().map(|name| [wire::KAFKA_CREDENTIALS_FOLDER, name].iter().collect()),
            ca: ca_config_map_name.as_ref().map(|name| [wire::KAFKA_CA_FOLDER, name, "ca.crt"].iter().collect()),
            ..connection.clone()
        }
    }

    fn from_entry(name: &str, entry: &KafkaCluster) -> Self {
        let own = &entry.connection;
        let clients = entry
            .clients
            .clone()
            .unwrap_or_else(|| KafkaClients { security_protocol: own.security_protocol, ..KafkaClients::default() });
        let bootstrap_servers = if clients.bootstrap_servers.is_empty() {
            own.bootstrap_servers.clone()
        } else {
            clients.bootstrap_servers
        };
        Self {
            name: name.to_owned(),
            connection: KafkaConnection {
                bootstrap_servers,
                security_protocol: clients.security_protocol,
                sasl_mechanism: clients.sasl_mechanism,
                credentials: clients.secret_name.as_ref().map(|_| wire::KAFKA_CREDENTIALS_FOLDER.into()),
                ca: clients.ca_config_map_name.as_ref().map(|_| format!("{}/ca.crt", wire::KAFKA_CA_FOLDER).into()),
            },
            secret_name: clients.secret_name,
            ca_config_map_name: clients.ca_config_map_name,
        }
    }
}

fn unknown_cluster(settings: &Settings, name: &str, field: &str) -> Rejection {
    let known: Vec<&str> = settings.clusters.keys().map(String::as_str).collect();
    Rejection::invalid(
        field,
        format!("the operator's configuration has no Kafka cluster {name:?}; it has: {}", known.join(", ")),
    )
}
