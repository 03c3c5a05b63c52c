//! The worker's configuration, and its answer to `GET /status`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Body, ClientAuthentication, Decode, Delivery, Duration, HeaderStyle, KafkaConnection, LogLevel, NamespacedName,
    OutgoingCalls, StartFrom,
};

/// All that a worker needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfig {
    /// The Integration that the worker works for.
    pub integration: NamespacedName,
    /// What it reads.
    pub source: SourceConfig,
    /// How the bytes of a record become a value.
    pub decode: Decode,
    /// What happens to a record, in order.
    pub steps: Vec<StepConfig>,
    /// What it delivers to.
    pub sink: SinkConfig,
    /// How it delivers.
    pub delivery: Delivery,
    /// Kafka topic of the dead letters, on the source's cluster.
    pub dead_letters: String,
    /// The headers that say why a record is a dead letter.
    #[serde(default)]
    pub dead_letter_headers: HeaderStyle,
    /// Which addresses may be called.
    #[serde(default, skip_serializing_if = "OutgoingCalls::is_default")]
    pub outgoing: OutgoingCalls,
    /// How much it logs.
    pub log_level: LogLevel,
}

/// What a worker reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceConfig {
    /// Kafka topics, as a member of a consumer group.
    Kafka {
        /// The Kafka cluster.
        connection: KafkaConnection,
        /// Names of the topics.
        topics: Vec<String>,
        /// The consumer group.
        group: String,
        /// Where the group begins in a partition without a committed offset.
        #[serde(rename = "startFrom")]
        start_from: StartFrom,
    },
}

/// One step, its program or schema not yet compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepConfig {
    /// The step's name, unique in the pipeline.
    pub name: String,
    /// What it does.
    pub operation: Operation,
}

/// What a step does: programs are in the Vector Remap Language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Lets only those records through for which the program is true.
    Filter(String),
    /// Changes the record.
    Map(String),
    /// Refuses what does not match a JSON Schema.
    Validate(serde_json::Value),
}

/// What a worker delivers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SinkConfig {
    /// One HTTP request for each record.
    Http(HttpSinkConfig),
    /// One record of a Kafka topic for each record.
    Kafka(KafkaSinkConfig),
}

/// One record of a Kafka topic for each record. Programs and templates are compiled by the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSinkConfig {
    /// The Kafka cluster.
    pub connection: KafkaConnection,
    /// Name of the topic.
    pub topic: String,
    /// Program that gives the key; without one it is the record's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Program that gives the partition; without one it is that of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Templates of headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// One HTTP request for each record. Method, path, query and headers may hold templates, which the pipeline compiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSinkConfig {
    /// Address of the API.
    pub url: String,
    /// Method of the request.
    pub method: String,
    /// Parameters of the query, beside those in the address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
    /// What the body holds.
    #[serde(default)]
    pub body: Body,
    /// Statuses that mean success beside 2xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_codes: Vec<u16>,
    /// How the worker proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthConfig>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsConfig,
}

/// How a worker proves to an API who it is. Secrets are files: they are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthConfig {
    /// An access token by client credentials.
    #[serde(rename = "oauth2", rename_all = "camelCase")]
    OAuth2 {
        /// Address of the token endpoint.
        token_url: String,
        /// File with the client's name.
        client_id: PathBuf,
        /// File with the client's password.
        client_secret: PathBuf,
        /// How the client proves who it is.
        client_authentication: ClientAuthentication,
        /// What is asked for beside the grant.
        parameters: BTreeMap<String, String>,
    },
    /// A token in `Authorization: Bearer <token>`.
    Bearer {
        /// File with the token.
        token: PathBuf,
    },
    /// A user name and a password in `Authorization: Basic ...`.
    Basic {
        /// File with the user name.
        username: PathBuf,
        /// File with the password.
        password: PathBuf,
    },
    /// A key.
    ApiKey {
        /// What carries the key.
        place: KeyPlace,
        /// File with the key.
        key: PathBuf,
    },
}

/// What carries a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyPlace {
    /// This header.
    Header(String),
    /// This parameter of the query.
    Query(String),
}

/// Files with certificates, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    /// Authorities beside those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The worker's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of the worker's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl AuthConfig {
    /// The files of the Secrets that it names.
    pub fn secrets(&self) -> Vec<&PathBuf> {
        match self {
            Self::OAuth2 { client_id, client_secret, .. } => vec![client_id, client_secret],
            Self::Bearer { token } => vec![token],
            Self::Basic { username, password } => vec![username, password],
            Self::ApiKey { key, .. } => vec![key],
        }
    }
}

/// What begins a program in a text.
pub const TEMPLATE_START: &str = "{{";
/// What ends a program in a text.
pub const TEMPLATE_END: &str = "}}";

/// Whether records have a say in a text.
pub fn is_template(text: &str) -> bool {
    text.contains(TEMPLATE_START)
}

impl HttpSinkConfig {
    /// The record's value as the body of a `POST` to this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            method: "POST".to_owned(),
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            body: Body::default(),
            success_codes: Vec::new(),
            auth: None,
            tls: TlsConfig::default(),
        }
    }

    /// The files of the Secrets that it names.
    pub fn secrets(&self) -> impl Iterator<Item = &PathBuf> {
        let TlsConfig { ca, certificate, key } = &self.tls;
        let auth = self.auth.iter().flat_map(AuthConfig::secrets);
        auth.chain([ca, certificate, key].into_iter().flatten())
    }

    /// Scheme, host and port of the address, which are the same for all records.
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |scheme| scheme + "://".len());
        let end = self.url[host..].find(['/', '?', '#']).map_or(self.url.len(), |end| host + end);
        &self.url[..end]
    }
}

/// What a worker answers to `GET /status`: counts since its start. `received` is the sum of the four that follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// The generation of the Integration that its configuration was made for.
    pub generation: i64,
    /// Another one for each process: counts begin anew with it.
    #[serde(default)]
    pub instance: String,
    /// How long the process has run.
    #[serde(default)]
    pub uptime: Duration,
    /// Records read.
    pub received: u64,
    /// Records that the sink took.
    pub delivered: u64,
    /// Records that a filter held back or that were dropped.
    pub skipped: u64,
    /// Records whose dead letter Kafka confirmed.
    pub dead_lettered: u64,
    /// Records that are neither yet.
    pub unsettled: u64,
    /// Attempts that failed and are repeated.
    pub retries: u64,
    /// Attempts by the time that they took: those within each of [`super::DURATION_BOUNDS`] and not within the one before, and last
    /// those that took longer.
    #[serde(default)]
    pub attempts: Vec<u64>,
    /// Attempts that failed.
    #[serde(default)]
    pub failed: u64,
    /// Attempts under way.
    #[serde(default)]
    pub in_flight: u64,
    /// When the sink last took a record, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<i64>,
    /// Records that Kafka deleted before they were read, at most: markers of transactions and compacted holes are among them.
    #[serde(default)]
    pub gone: u64,
    /// Partitions that are assigned to it.
    pub partitions: u64,
    /// Whether the sink is left alone because it failed again and again.
    #[serde(default)]
    pub circuit: Circuit,
    /// What the sink fails with, while no attempt succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_failure: Option<SinkFailure>,
    /// What keeps records from being delivered: an open circuit, or a Secret that cannot be used. It is part of `trouble`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_trouble: Option<String>,
    /// Why Secrets, or the authorities that Kafka's brokers are known by, cannot be used: those of the sink, and those of Kafka. It is part of
    /// `trouble`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_trouble: Option<String>,
    /// Partitions that stopped at a record, as the Integration says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<HaltedPartition>,
    /// Why nothing moves, where something keeps it from working; with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Attempts that failed since one succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkFailure {
    /// How many.
    pub attempts: u64,
    /// What the first of them failed with.
    pub message: String,
}

/// Whether records are delivered, as far as the sink is concerned; the later, the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Circuit {
    /// They are.
    #[default]
    Closed,
    /// It is tried with one record.
    HalfOpen,
    /// The sink failed again and again and is left alone.
    Open,
}

/// A partition that stopped at a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaltedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The record.
    pub offset: i64,
    /// What it failed with.
    pub reason: String,
}
