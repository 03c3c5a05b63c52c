//! The receiver's configuration, and its answer to `GET /status`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    CertificateFormat, CloudEvents, Deprecation, Duration, Encoding, HmacAlgorithm, KafkaConnection, NamespacedName,
    Network, OutgoingCalls, PresetName, Size,
};

/// All that a receiver needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverConfig {
    /// The Webhook that the receiver works for.
    pub webhook: NamespacedName,
    /// The Webhook's uid. It tells its ids from those of others of the same name: of other clusters, and of before. Operators before it was
    /// there did not write it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Path of the endpoint, matched exactly.
    pub path: String,
    /// The Kafka cluster that holds the events.
    pub connection: KafkaConnection,
    /// Kafka topic that holds the events.
    pub topic: String,
    /// How senders are verified.
    pub verification: Verification,
    /// How far a sender's timestamp may lie from the clock, in both directions.
    pub tolerance: Duration,
    /// What the event's id, type and key are taken from.
    pub event: EventSources,
    /// What the body of an event must look like, where anything is said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<EventContract>,
    /// How long an event's id is remembered.
    pub deduplication_window: Duration,
    /// File with the address of the Redis that remembers ids; where absent, they are remembered in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_redis: Option<PathBuf>,
    /// Largest body.
    pub body_limit: Size,
    /// How many requests there may be.
    #[serde(default)]
    pub rate_limits: RateLimits,
    /// HTTP status of the answer to an accepted event.
    pub respond: u16,
    /// How long a sender waits for Kafka's confirmation before it is answered 503.
    pub patience: Duration,
    /// What every answer says of an endpoint that is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecation: Option<Deprecation>,
    /// Which addresses may be called.
    #[serde(default, skip_serializing_if = "OutgoingCalls::is_default")]
    pub outgoing: OutgoingCalls,
}

/// One of many Webhooks that share receivers: a file of its own in their folder, `<name>.json`, read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedWebhook {
    /// Another one for each configuration: by it a receiver says what it serves.
    pub revision: String,
    /// The generation of the Webhook that it was made for.
    pub generation: i64,
    /// Answer 503 to every request.
    pub paused: bool,
    /// Host names by which it is told from others with the same path. Where there are none, it takes what is for none of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// A header and its value by which it is told from others with the same path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<(String, String)>,
    /// What a receiver needs to know.
    pub config: ReceiverConfig,
}

impl SharedWebhook {
    /// What the names of the files end with, after the name of the Webhook.
    pub const FILE_SUFFIX: &str = ".json";
}

/// What the body of an event must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventContract {
    /// A JSON Schema.
    pub json_schema: serde_json::Value,
    /// Kafka topic for events that are not as the schema says; where absent, they are answered 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
}

/// What a receiver obeys without a restart: it is read again when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverControls {
    /// Answer 503 to every request.
    pub paused: bool,
    /// Receivers among whom the Webhook's rate limits are divided.
    pub replicas: u32,
}

/// How many requests a Webhook takes. Where a limit is absent, there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// Of one source, before they are verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLimit>,
    /// Of all senders, before they are verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<RateConfig>,
    /// After they are verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genuine: Option<RateConfig>,
}

/// How many requests there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateConfig {
    /// Requests a second.
    pub requests_per_second: u32,
    /// Requests at once, after a pause.
    pub burst: u32,
}

/// How many requests of one source there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceLimit {
    /// The limit.
    #[serde(flatten)]
    pub rate: RateConfig,
    /// Proxies on the way that add to `X-Forwarded-For`.
    pub trusted_hops: u8,
}

/// How senders are verified. Secrets are files: one that cannot be read is reported, and read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// A provider's scheme.
    Preset {
        /// The provider.
        name: PresetName,
        /// Files with the signing secrets.
        secrets: Vec<PathBuf>,
        /// The addresses that senders may have signed, without their queries; only Twilio signs them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        urls: Vec<String>,
    },
    /// An HMAC signature in a header.
    #[serde(rename_all = "camelCase")]
    Hmac {
        /// Header that carries the signature.
        header: String,
        /// Hash function.
        algorithm: HmacAlgorithm,
        /// How the signature is written.
        encoding: Encoding,
        /// Text before the signature.
        prefix: String,
        /// Text between several signatures; where absent, there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        separator: Option<String>,
        /// What is signed: text with `{body}`, `{timestamp}` and `{header:<name>}`.
        signed_content: String,
        /// Header that carries the time of sending, in seconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp_header: Option<String>,
        /// Files with the signing secrets.
        secrets: Vec<PathBuf>,
    },
    /// A token in `Authorization: Bearer`.
    Bearer {
        /// Files with the tokens.
        secrets: Vec<PathBuf>,
    },
    /// A user name and a password in `Authorization: Basic`.
    Basic {
        /// The user name.
        username: String,
        /// Files with the passwords.
        secrets: Vec<PathBuf>,
    },
    /// A key in a header.
    ApiKey {
        /// Header that carries the key.
        header: String,
        /// Files with the keys.
        secrets: Vec<PathBuf>,
    },
    /// A JSON Web Token in `Authorization: Bearer`.
    #[serde(rename_all = "camelCase")]
    Jwt {
        /// The token's `iss`.
        issuer: String,
        /// The token's `aud` is one of these.
        audience: Vec<String>,
        /// The token's `sub` is one of these, where there are any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        subjects: Vec<String>,
        /// Where the issuer publishes its keys.
        jwks_uri: String,
    },
    /// The client's certificate, as the gateway forwards it.
    ClientCertificate {
        /// How the gateway writes the header.
        format: CertificateFormat,
        /// Header that carries the identity.
        header: String,
        /// The certificates that are accepted.
        allowed: Vec<CertificateName>,
        /// Where the header is believed to come from; where there is none, from everywhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        proxies: Vec<Network>,
    },
    /// No verification.
    None,
}

impl Verification {
    /// The files with the secrets. Where there are none, the scheme needs none.
    pub fn secrets(&self) -> &[PathBuf] {
        match self {
            Self::Preset { secrets, .. }
            | Self::Hmac { secrets, .. }
            | Self::Bearer { secrets }
            | Self::Basic { secrets, .. }
            | Self::ApiKey { secrets, .. } => secrets,
            Self::Jwt { .. } | Self::ClientCertificate { .. } | Self::None => &[],
        }
    }
}

/// A name by which a certificate is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CertificateName {
    /// A URI among its alternative names.
    Uri(String),
    /// A DNS name among its alternative names.
    Dns(String),
    /// Its subject, as the gateway writes it.
    Subject(String),
    /// The SHA-256 of the certificate, in lower-case hexadecimal digits.
    Sha256(String),
}

/// What the event's id, type and key are taken from, and what stays with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSources {
    /// The id; where absent, what the preset's provider uses, or the hash of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<IdSource>,
    /// The type.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub event_type: Option<FieldSource>,
    /// The Kafka key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<FieldSource>,
    /// Its place among the sender's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<FieldSource>,
    /// Whether cloud events are taken as such.
    pub cloud_events: CloudEvents,
    /// More headers that stay with the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl Default for EventSources {
    fn default() -> Self {
        Self {
            id: None,
            event_type: None,
            key: None,
            sequence: None,
            cloud_events: CloudEvents::Ignore,
            headers: Vec::new(),
        }
    }
}

/// What an event's id is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdSource {
    /// A header of the request.
    Header(String),
    /// A place in the JSON body (RFC 6901).
    JsonPointer(String),
    /// The SHA-256 of the body.
    BodyHash,
}

/// What a field of an event is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FieldSource {
    /// A header of the request.
    Header(String),
    /// A place in the JSON body (RFC 6901).
    JsonPointer(String),
}

/// What a receiver answers to `GET /status`, and one of many Webhooks to `GET /status/<name of the Webhook>`: counts since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverStatus {
    /// The generation of the Webhook that its configuration was made for.
    pub generation: i64,
    /// The configuration that it serves, where it serves many Webhooks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// Another one for each process: counts begin anew with it. Empty where it serves many Webhooks, and not this one yet.
    #[serde(default)]
    pub instance: String,
    /// How long the process has run.
    #[serde(default)]
    pub uptime: Duration,
    /// Whether every request is answered 503.
    #[serde(default)]
    pub paused: bool,
    /// Events that Kafka confirmed.
    pub accepted: u64,
    /// Events that had been received before: acknowledged, and not written again.
    pub duplicates: u64,
    /// Events whose bodies are not as they must be, and that Kafka confirmed as dead letters.
    #[serde(default)]
    pub dead_letters: u64,
    /// Accepted events for which Redis did not answer, before they were written or after: they may have been received before, or be
    /// written again when they are sent again.
    pub unchecked: u64,
    /// Requests that were refused for what they are, or because there are too many, by cause. A cause that never occurred is absent.
    pub rejected: BTreeMap<RejectedBecause, u64>,
    /// Requests that were answered 503, so that the sender tries again, by cause. A cause that never occurred is absent.
    pub deferred: BTreeMap<DeferredBecause, u64>,
    /// Requests whose events Kafka confirmed, by the time that it took: those within each of [`super::DURATION_BOUNDS`] and not
    /// within the one before, and last those that took longer.
    #[serde(default)]
    pub confirmations: Vec<u64>,
    /// When Kafka last confirmed an event, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<i64>,
    /// What keeps Redis from being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_trouble: Option<String>,
    /// What keeps events from being written to Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_trouble: Option<String>,
    /// What is wrong with credentials beside `unusable_secrets`: keys that their issuer does not give, credentials for Kafka that
    /// cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_trouble: Option<String>,
    /// Why the newest configuration is not served, where it serves many Webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_trouble: Option<String>,
    /// How far back an event's id is surely remembered: shorter than configured where more events came than fit in memory.
    pub deduplication_window: Duration,
    /// Files of Secrets that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable_secrets: Vec<PathBuf>,
    /// Why nothing moves, where something keeps it from working; with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Why a request was refused: for what it is, or because there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RejectedBecause {
    /// The path is not the endpoint's.
    Path,
    /// The method is not POST.
    Method,
    /// More than 100 headers.
    Headers,
    /// The body is compressed.
    Encoding,
    /// The body is larger than the limit, or than what Kafka takes.
    Size,
    /// The body did not arrive whole, or not in time.
    Body,
    /// The signature is not that of a known secret.
    Signature,
    /// The event has no id where the Webhook says it is.
    EventId,
    /// The request says that it is a cloud event, and is none.
    CloudEvent,
    /// The body is not as the Webhook's schema says.
    Schema,
    /// More requests came than the Webhook's limits allow: it was answered 429, and may come again.
    Rate,
}

impl RejectedBecause {
    /// Every cause.
    pub const ALL: [Self; 11] = [
        Self::Path,
        Self::Method,
        Self::Headers,
        Self::Encoding,
        Self::Size,
        Self::Body,
        Self::Signature,
        Self::EventId,
        Self::CloudEvent,
        Self::Schema,
        Self::Rate,
    ];
}

/// Why a request was answered 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeferredBecause {
    /// The Webhook is paused.
    Paused,
    /// A signing secret is missing, so the request may be genuine.
    Secret,
    /// The same event is being written.
    InProgress,
    /// As many events are on their way as fit in memory.
    Busy,
    /// Kafka did not confirm in time: the event may have been written.
    Unconfirmed,
    /// Kafka did not take the event.
    NotWritten,
    /// Kafka takes no event like this one until a person changes the Webhook or its topic.
    Refused,
}

impl DeferredBecause {
    /// Every cause.
    pub const ALL: [Self; 7] =
        [Self::Paused, Self::Secret, Self::InProgress, Self::Busy, Self::Unconfirmed, Self::NotWritten, Self::Refused];
}
