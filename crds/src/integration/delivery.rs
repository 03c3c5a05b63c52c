//! How an Integration delivers: order, concurrency, timeouts, retries, and what happens to what cannot be delivered.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How records are delivered. Delivery is at least once: after a crash a record may be delivered again, with the same
/// idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
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
    /// The header by which the sink can tell a repeated delivery.
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
            ordering: Ordering::default(),
            max_in_flight: Self::default_max_in_flight(),
            timeout: Self::default_timeout(),
            retry: Retry::default(),
            idempotency_key: IdempotencyKey::default(),
            on_data_error: OnDataError::default(),
            on_delivery_error: OnDeliveryError::default(),
        }
    }
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
    /// Longest time from the first failure to the last attempt. Time in which no worker has the record does not count.
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
}

/// What becomes of a record that the sink refuses, or that the retries do not get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeliveryError {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
}
