//! The operator's own configuration: what the platform team says once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KafkaConnection, SaslMechanism, SecurityProtocol};

/// The operator's configuration file (YAML).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Kafka clusters by name; resources that name none mean `default`.
    pub clusters: BTreeMap<String, KafkaCluster>,
    /// Images of the data planes.
    pub images: Images,
}

/// A Kafka cluster: how the operator reaches it, and how receivers and workers do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaCluster {
    /// The operator's own access. Its files are mounted into the operator.
    #[serde(flatten)]
    pub connection: KafkaConnection,
    /// The access of receivers and workers. Default: the operator's brokers and protocol, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<KafkaClients>,
}

/// How receivers and workers reach a Kafka cluster. Each namespace that uses the cluster has the Secret and the ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaClients {
    /// Brokers to ask first, as `host:port`. Default: the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_servers: Vec<String>,
    /// Kafka's `security.protocol`.
    #[serde(default)]
    pub security_protocol: SecurityProtocol,
    /// Kafka's `sasl.mechanism`; required by the SASL protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Name of the Secret with `username` and `password`, or `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Name of the ConfigMap whose key `ca.crt` holds the authorities that sign the brokers' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_name: Option<String>,
}

/// Images of the data planes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// Image of the receiver.
    pub receiver: String,
    /// Image of the worker.
    pub worker: String,
}
