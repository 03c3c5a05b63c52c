//! A Kafka cluster of the operator's configuration, as the data planes see it.

use std::path::PathBuf;

use sluice_crds::{KafkaClients, KafkaCluster, KafkaConnection, SecurityProtocol, Settings, wire};

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

/// The field in which a resource names a Secret of its own.
const SECRET_FIELD: &str = "spec.kafkaSecretName";

impl Cluster {
    /// The cluster of that name, or a complaint about the `field` that names it.
    pub fn find(settings: &Settings, name: &str, field: &str) -> Result<Self, Rejection> {
        let entry = settings.clusters.get(name).ok_or_else(|| unknown_cluster(settings, name, field))?;
        Ok(Self::from_entry(name, entry))
    }

    fn from_entry(name: &str, entry: &KafkaCluster) -> Self {
        let clients = clients(entry);
        let secret_name = clients.secret_name;
        Self {
            name: name.to_owned(),
            connection: KafkaConnection {
                bootstrap_servers: clients.bootstrap_servers,
                security_protocol: clients.security_protocol,
                sasl_mechanism: clients.sasl_mechanism,
                credentials: secret_name.as_deref().map(credentials_folder),
                ca: clients.ca_config_map_name.as_deref().map(|name| ca_folder(name).join("ca.crt")),
            },
            secret_name,
            ca_config_map_name: clients.ca_config_map_name,
        }
    }

    /// The same for a resource that may name a Secret of its own, or a complaint about that.
    pub fn with_secret(mut self, own: Option<&str>) -> Result<Self, Rejection> {
        let (name, protocol) = (&self.name, self.connection.security_protocol);
        if let Some(own) = own {
            if protocol == SecurityProtocol::Plaintext {
                let message = format!("the Kafka cluster {name:?} asks for no credentials; leave it out");
                return Err(Rejection::invalid(SECRET_FIELD, message));
            }
            self.secret_name = Some(own.to_owned());
            self.connection.credentials = Some(credentials_folder(own));
        }
        if protocol.is_sasl() && self.secret_name.is_none() {
            let message = format!(
                "the Kafka cluster {name:?} asks for a login, and the operator's configuration names no Secret for it \
                 (clients.secretName); write the name of a Secret with username and password"
            );
            return Err(Rejection::invalid(SECRET_FIELD, message));
        }
        Ok(self)
    }
}

/// What no receiver and no worker could connect with, for people.
pub fn complaints(settings: &Settings) -> Vec<String> {
    let lacks_mechanism = |entry: &KafkaCluster| {
        let clients = clients(entry);
        clients.security_protocol.is_sasl() && clients.sasl_mechanism.is_none()
    };
    let lacking = settings.clusters.iter().filter(|(_, entry)| lacks_mechanism(entry));
    lacking.map(|(name, _)| format!("clusters.{name}.clients: a SASL protocol needs saslMechanism")).collect()
}

/// How receivers and workers reach the cluster, with all that is left out.
fn clients(entry: &KafkaCluster) -> KafkaClients {
    let KafkaConnection { bootstrap_servers, security_protocol, sasl_mechanism, .. } = &entry.connection;
    let like_ours = || KafkaClients {
        security_protocol: *security_protocol,
        sasl_mechanism: *sasl_mechanism,
        ..KafkaClients::default()
    };
    let mut clients = entry.clients.clone().unwrap_or_else(like_ours);
    if clients.bootstrap_servers.is_empty() {
        clients.bootstrap_servers.clone_from(bootstrap_servers);
    }
    clients
}

/// The folder of a Secret is called like it, so that who misses one of its keys can name it.
pub(crate) fn credentials_folder(secret: &str) -> PathBuf {
    [wire::KAFKA_CREDENTIALS_FOLDER, secret].iter().collect()
}

/// The same of the ConfigMap with the brokers' authorities.
pub(crate) fn ca_folder(config_map: &str) -> PathBuf {
    [wire::KAFKA_CA_FOLDER, config_map].iter().collect()
}

fn unknown_cluster(settings: &Settings, name: &str, field: &str) -> Rejection {
    let known: Vec<&str> = settings.clusters.keys().map(String::as_str).collect();
    Rejection::invalid(
        field,
        format!("the operator's configuration has no Kafka cluster {name:?}; it has: {}", known.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use sluice_crds::SaslMechanism;

    use super::*;

    fn settings(cluster: &str) -> Settings {
        let yaml = format!(
            "{{clusters: {{default: {{bootstrapServers: [k]{cluster}}}}}, images: {{receiver: r, worker: w}}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn found(cluster: &str, secret: Option<&str>) -> Result<Cluster, String> {
        let found = Cluster::find(&settings(cluster), "default", "").unwrap();
        found.with_secret(secret).map_err(|rejection| rejection.to_string())
    }

    const SCRAM: &str = "securityProtocol: SASL_SSL, saslMechanism: SCRAM-SHA-512";

    #[test]
    fn clients_have_what_their_half_says_and_nothing_of_the_operators_files() {
        let clients =
            "clients: {bootstrapServers: [inside], securityProtocol: SSL, secretName: kafka, caConfigMapName: brokers}";
        let cluster = found(&format!(", {SCRAM}, credentials: /own, ca: /own/ca.crt, {clients}"), None).unwrap();
        let expected = KafkaConnection {
            bootstrap_servers: vec!["inside".into()],
            security_protocol: SecurityProtocol::Ssl,
            sasl_mechanism: None,
            credentials: Some("/etc/sluice/kafka/credentials/kafka".into()),
            ca: Some("/etc/sluice/kafka/ca/brokers/ca.crt".into()),
        };
        assert_eq!(cluster.connection, expected);
        assert_eq!(
            (cluster.secret_name.as_deref(), cluster.ca_config_map_name.as_deref()),
            (Some("kafka"), Some("brokers"))
        );
    }

    #[test]
    fn clients_of_which_nothing_is_said_connect_as_the_operator_does() {
        let cluster = found(&format!(", {SCRAM}, credentials: /own"), Some("mine")).unwrap();
        let expected = KafkaConnection {
            bootstrap_servers: vec!["k".into()],
            security_protocol: SecurityProtocol::SaslSsl,
            sasl_mechanism: Some(SaslMechanism::ScramSha512),
            credentials: Some("/etc/sluice/kafka/credentials/mine".into()),
            ca: None,
        };
        assert_eq!(cluster.connection, expected);
    }

    #[test]
    fn a_resource_may_name_another_secret_where_one_is_of_use() {
        let of_clients = format!(", clients: {{{SCRAM}, secretName: kafka}}");
        let secret = |cluster: &str, own| found(cluster, own).map(|found| found.secret_name.unwrap_or_default());
        assert_eq!(secret(&of_clients, None).as_deref(), Ok("kafka"));
        assert_eq!(secret(&of_clients, Some("mine")).as_deref(), Ok("mine"));
        assert_eq!(secret(", clients: {securityProtocol: SSL}", Some("mine")).as_deref(), Ok("mine"));
        assert_eq!(secret("", None).as_deref(), Ok(""));
        let needless = secret("", Some("mine")).unwrap_err();
        assert!(
            needless.starts_with("spec.kafkaSecretName: the Kafka cluster \"default\" asks for no credentials"),
            "{needless}"
        );
        let missing = secret(&format!(", clients: {{{SCRAM}}}"), None).unwrap_err();
        assert!(missing.contains("clients.secretName") && missing.starts_with("spec.kafkaSecretName"), "{missing}");
    }

    #[test]
    fn a_configuration_that_no_client_could_use_is_complained_of() {
        assert_eq!(complaints(&settings(&format!(", {SCRAM}"))), [""; 0]);
        let expected = ["clusters.default.clients: a SASL protocol needs saslMechanism"];
        assert_eq!(complaints(&settings(&format!(", {SCRAM}, clients: {{securityProtocol: SASL_SSL}}"))), expected);
    }
}
