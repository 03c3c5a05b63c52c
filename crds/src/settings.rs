//! The operator's own configuration: what the platform team says once.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, KafkaConnection, Network, OutgoingCalls, PodSettings, SaslMechanism, SecurityProtocol};

/// The operator's configuration file (YAML).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Kafka clusters by name; resources that name none mean `default`.
    pub clusters: BTreeMap<String, KafkaCluster>,
    /// Schema registries by name; Topics that name none mean `default`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schema_registries: BTreeMap<String, SchemaRegistry>,
    /// Images of the data planes.
    pub images: Images,
    /// How the operator asks Kafka about topics.
    #[serde(default)]
    pub admin_requests: AdminRequests,
    /// How lag and other numbers are measured and written into statuses.
    #[serde(default)]
    pub measuring: Measuring,
    /// Which addresses receivers and workers may call for users.
    #[serde(default)]
    pub outgoing: OutgoingCalls,
    /// Which Kafka topics and consumer groups a namespace may name. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<Tenancy>,
    /// How receivers and workers trace events. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Who may call receivers and workers, and whom they may. Default: no NetworkPolicies are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<NetworkPolicies>,
    /// The receivers that Webhooks with `receiver.mode: Shared` share, the same in each namespace that has such Webhooks.
    #[serde(default)]
    pub shared_receivers: SharedReceivers,
}

/// The receivers that the Webhooks of a namespace share. A change makes their pods anew, but for one of `replicas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedReceivers {
    /// Receivers to run. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// CPU and memory of a receiver. Default: requests 100m and 128Mi, memory limit 512Mi, enough for some hundreds of Webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Where their pods run, and what they have beside what Sluice gives them. What it names, each of the namespaces has.
    pub pods: PodSettings,
}

impl Default for SharedReceivers {
    fn default() -> Self {
        Self { replicas: 2, resources: None, pods: PodSettings::default() }
    }
}

/// The NetworkPolicies of receivers and workers: anybody may call a receiver's endpoint, and nobody what they tell of themselves but the
/// namespaces that are named here. It takes a network plugin that enforces them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkPolicies {
    /// The operator's namespace, from which it asks receivers and workers how they are. Default: the one that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_namespace: Option<String>,
    /// Namespaces that read metrics. Where that of Prometheus is missing it reads none of receivers and workers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring_namespaces: Vec<String>,
    /// Networks that receivers and workers may call, beside DNS: those of Kafka, of the APIs, of Redis, of issuers of tokens, of the
    /// collector of traces. Default: all. A node's network plugin judges addresses, `outgoing` says what is judged in the pod itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Network>,
}

/// How receivers and workers trace events: by OpenTelemetry's own variables. A change makes all of their pods anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracing {
    /// OpenTelemetry's environment variables, all of which begin with `OTEL_`. `OTEL_EXPORTER_OTLP_ENDPOINT` names the collector. They
    /// stand in Deployments: what is secret has its place in `headersSecretName`.
    pub environment: BTreeMap<String, String>,
    /// Name of the Secret whose key `headers` is `OTEL_EXPORTER_OTLP_HEADERS`, as in `authorization=Bearer%20...`. Each namespace with
    /// receivers or workers has it; where it is missing they send no headers. Another value counts when a pod starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_name: Option<String>,
    /// Name of the ConfigMap whose key `ca.crt` holds the authorities that sign the collector's certificate, in place of the system's
    /// (`OTEL_EXPORTER_OTLP_CERTIFICATE`). Each namespace with receivers or workers has it; where it is missing they lose their spans and
    /// say so, until it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_name: Option<String>,
    /// Name of the Secret with `tls.crt` and `tls.key`, which are shown to the collector (mTLS; `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and
    /// `OTEL_EXPORTER_OTLP_CLIENT_KEY`). Each namespace with receivers or workers has it; where it is missing they lose their spans and say
    /// so, until it comes. A renewed certificate counts without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_name: Option<String>,
}

/// Which Kafka topics and consumer groups a namespace may name: those that begin with its own name and a dot, and what is
/// granted beside them. The same holds on all Kafka clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenancy {
    /// What some namespaces may name beside what is their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// What some namespaces may name. In all of these a `*` stands for any characters, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The namespaces.
    pub namespaces: Vec<String>,
    /// Kafka topics that they may create, adopt, read and write, and subjects of schema registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Consumer groups in which they may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// How the operator asks Kafka about topics. Requests of Topics that are looked at together share a request to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminRequests {
    /// Topics in one request at most. Default: 1000.
    #[schemars(range(min = 1))]
    pub max_topics: u16,
    /// How long a request waits for another one to share it, each time one comes along; four times as long where it makes a topic. Where
    /// many came within the last second, up to ten times as long; in all at most forty times that. While passes over other Topics are
    /// under way, which may ask as well, it waits for them up to 500 times as long. Default: `5ms`.
    pub linger: Duration,
    /// How long Kafka may take to answer. Less than 10 s, so that what a replica asked for in time is over before another one
    /// leads. Default: `8s`.
    pub timeout: Duration,
    /// How often all topics of a Kafka cluster are compared with what was seen last, to find what other tools changed.
    /// It is one look for all topics. Default: `1m`.
    pub drift_interval: Duration,
}

impl Default for AdminRequests {
    fn default() -> Self {
        Self {
            max_topics: 1000,
            linger: Duration::from_millis(5),
            timeout: Duration::from_secs(8),
            drift_interval: Duration::from_secs(60),
        }
    }
}

/// How lag and other numbers are measured and written into statuses. What is asked of a Kafka cluster in each interval has a bound that
/// does not depend on the number of Integrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Measuring {
    /// How often each Kafka cluster is asked where its topics end: one look for all of them. Default: `5s`.
    pub interval: Duration,
    /// Consumer groups that are asked for their offsets in one interval at most: those where records come or are read, and of the others so
    /// many that each is asked every 5 minutes, but half of all at most. Who was asked longest ago comes first. Default: 200.
    #[schemars(range(min = 1))]
    pub groups: u16,
    /// The numbers of one resource are written no more often, and only when a person would see a difference. Default: `30s`.
    pub write_every: Duration,
}

impl Default for Measuring {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), groups: 200, write_every: Duration::from_secs(30) }
    }
}

/// A Kafka cluster: how the operator reaches it, and how receivers and workers do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaCluster {
    /// The operator's own access. Its files are mounted into the operator.
    #[serde(flatten)]
    pub connection: KafkaConnection,
    /// The access of receivers and workers. Default: the operator's brokers, protocol and mechanism, and no Secret or ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<KafkaClients>,
}

/// How receivers and workers reach a Kafka cluster. Each namespace that uses the cluster has the Secret and the ConfigMap: Sluice copies
/// neither, and the operator reads no Secret.
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
    /// Name of the Secret with `username` and `password`, or `tls.crt` and `tls.key`. A Webhook or an Integration may name another one in
    /// `kafkaSecretName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Name of the ConfigMap whose key `ca.crt` holds the authorities that sign the brokers' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_name: Option<String>,
}

/// A schema registry with the API of Confluent's, and how the operator reaches it. Its files are mounted into the operator, and
/// read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaRegistry {
    /// Where its API begins: below it are `/subjects` and `/config`. Example: `https://registry.example/apis/ccompat/v7`.
    pub url: String,
    /// Folder with the operator's credentials: `tls.crt` and `tls.key` for a certificate of its own (mTLS); `token` for a bearer token,
    /// or `username` and `password` for HTTP basic, also beside a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// PEM file with the authorities that sign the registry's certificate; the system's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// How often every subject is compared with what was seen last, to find what other tools changed. It takes one or two
    /// requests for each subject, because the API has none for several. Default: `5m`.
    #[serde(default = "SchemaRegistry::default_drift_interval")]
    pub drift_interval: Duration,
}

impl SchemaRegistry {
    const fn default_drift_interval() -> Duration {
        Duration::from_secs(300)
    }
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
