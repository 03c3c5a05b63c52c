//! How an Integration delivers: order, concurrency, timeouts, retries, and what happens to what cannot be delivered.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How records are delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// What holds when something crashes.
    #[serde(default)]
    pub guarantee: Guarantee,
    /// What stays in order.
    #[serde(default)]
    pub ordering: Ordering,
    /// Most records that one worker delivers at the same time.
    #[serde(default = "Delivery::default_max_in_flight")]
    #[schemars(range(min = 1, max = 10_000), extend("format" = "int32"))]
    pub max_in_flight: u32,
    /// Longest time that one attempt may take.
    #[serde(default = "Delivery::default_timeout")]
    pub timeout: Duration,
    /// When and how often a failed attempt is repeated.
    #[serde(default)]
    pub retry: Retry,
    /// When a sink that fails again and again is left alone for a while. Default: it never is, and each record's retries go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Most attempts in a time, for each worker. Default: as many as `maxInFlight` and the sink allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The header by which an HTTP API can tell a repeated delivery.
    #[serde(default)]
    pub idempotency_key: IdempotencyKey,
    /// What becomes of a record that cannot be decoded or that a step fails on.
    #[serde(default)]
    pub on_data_error: OnDataError,
    /// What becomes of a record that the sink refuses, or that the retries do not get through.
    #[serde(default)]
    pub on_delivery_error: OnDeliveryError,
}

impl Delivery {
    const fn default_max_in_flight() -> u32 {
        64
    }

    const fn default_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            guarantee: Guarantee::default(),
            ordering: Ordering::default(),
            max_in_flight: Self::default_max_in_flight(),
            timeout: Self::default_timeout(),
            retry: Retry::default(),
            circuit_breaker: None,
            rate_limit: None,
            idempotency_key: IdempotencyKey::default(),
            on_data_error: OnDataError::default(),
            on_delivery_error: OnDeliveryError::default(),
        }
    }
}

/// What holds when something crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Guarantee {
    /// No record is lost. After a crash a record may be delivered again, to an HTTP API with the same idempotency key.
    #[default]
    AtLeastOnce,
    /// No record is lost, and none is written twice: what the records of a batch become, dead letters included, and how far the source is
    /// read are written in one transaction of Kafka. Readers with `isolation.level=read_committed` see each once. Only for
    /// `sink.kafka`.
    ExactlyOnce,
}

/// What stays in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ordering {
    /// Records with the same key; records without a key have no order.
    #[default]
    Key,
    /// All records of a partition.
    Partition,
    /// Nothing.
    None,
}

/// When and how often a failed attempt is repeated. Connection errors, timeouts and the answers 408, 409, 425, 429 and 5xx
/// are worth repeating; `Retry-After` is obeyed. Other answers are refusals. What a record has used of this survives a restart
/// of the worker, and its partition's way to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Most attempts for a record, the first one included.
    #[serde(default = "Retry::default_max_attempts")]
    #[schemars(range(min = 1, max = 1000), extend("format" = "int32"))]
    pub max_attempts: u32,
    /// The wait between two attempts.
    #[serde(default)]
    pub backoff: Backoff,
    /// Longest time from the first failure to the last attempt. Time in which no worker has the record, or in which the
    /// circuit is not closed, does not count.
    #[serde(default = "Retry::default_max_elapsed")]
    pub max_elapsed: Duration,
}

impl Retry {
    const fn default_max_attempts() -> u32 {
        8
    }

    const fn default_max_elapsed() -> Duration {
        Duration::from_secs(15 * 60)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: Self::default_max_attempts(),
            backoff: Backoff::default(),
            max_elapsed: Self::default_max_elapsed(),
        }
    }
}

/// The wait between two attempts: a random time between nothing and `initial * factor^n`, at most `max` (full jitter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Upper bound of the first wait.
    #[serde(default = "Backoff::default_initial")]
    pub initial: Duration,
    /// How much the upper bound grows with each attempt.
    #[serde(default = "Backoff::default_factor")]
    #[schemars(range(min = 1, max = 10), extend("format" = "int32"))]
    pub factor: u32,
    /// Largest upper bound.
    #[serde(default = "Backoff::default_max")]
    pub max: Duration,
}

impl Backoff {
    const fn default_initial() -> Duration {
        Duration::from_millis(200)
    }

    const fn default_factor() -> u32 {
        2
    }

    const fn default_max() -> Duration {
        Duration::from_secs(30)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Self::default_initial(), factor: Self::default_factor(), max: Self::default_max() }
    }
}

/// When a sink that fails again and again is left alone: its circuit opens, and no attempt is made. After `openFor` one record is
/// tried; when the sink takes it, the circuit closes, else it stays open as long again.
///
/// Failures are those that are worth repeating; a refusal shows that the sink works. While the circuit is not closed no retry
/// budget is used: neither the attempts that find out whether the sink works again nor the time count. Records wait in the
/// source meanwhile; the worker stays a member of its group. Each worker has a circuit of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.failures > 0 || has(self.failureShare)")
    .message("circuitBreaker: with failures 0 write failureShare, or nothing opens the circuit"))]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// So many failures in a row open the circuit; 0: they do not.
    #[serde(default = "CircuitBreaker::default_failures")]
    #[schemars(range(min = 0, max = 1_000_000), extend("format" = "int32"))]
    pub failures: u32,
    /// Such a share of failures opens the circuit. Default: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_share: Option<FailureShare>,
    /// How long the sink is left alone; at least 100 ms.
    #[serde(default = "CircuitBreaker::default_open_for")]
    pub open_for: Duration,
}

impl CircuitBreaker {
    const fn default_failures() -> u32 {
        10
    }

    const fn default_open_for() -> Duration {
        Duration::from_secs(30)
    }
}

/// A share of failures among the last attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureShare {
    /// The share, in percent.
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub percent: u8,
    /// How many attempts are looked at. As long as fewer were made, the share does not count.
    #[serde(default = "FailureShare::default_attempts")]
    #[schemars(range(min = 10, max = 1000), extend("format" = "int32"))]
    pub attempts: u32,
}

impl FailureShare {
    const fn default_attempts() -> u32 {
        100
    }
}

/// Most attempts in a time. It holds for each worker: with several replicas the sink gets as many times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Attempts in a second, in the long run.
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub per_second: u32,
    /// Attempts that may begin at once after a quiet time. Default: as many as `perSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub burst: Option<u32>,
}

/// The header by which the sink can tell a repeated delivery. Its value is the same for a record over all attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyKey {
    /// Name of the header.
    #[serde(default = "IdempotencyKey::default_header")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: String,
}

impl IdempotencyKey {
    fn default_header() -> String {
        "Idempotency-Key".to_owned()
    }
}

impl Default for IdempotencyKey {
    fn default() -> Self {
        Self { header: Self::default_header() }
    }
}

/// What becomes of a record that cannot be decoded or that a step fails on: repeating cannot help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDataError {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It is dropped and counted as skipped.
    Drop,
    /// Its partition stops at it until the Integration changes, or the worker is started anew; other partitions go on.
    Halt,
}

/// What becomes of a record that the sink refuses, or that the retries do not get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeliveryError {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// Its partition stops at it until the Integration changes, or the worker is started anew; other partitions go on.
    Halt,
}
