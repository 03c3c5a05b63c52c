//! What a request may use, and how many requests there may be.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Size;

/// What a request may use, and how many requests there may be. One too many is answered 429 with Retry-After. Rates and bursts are
/// those of the whole Webhook: each of its receivers takes its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.burst) || has(self.requestsPerSecond)")
    .message("limits: burst goes with requestsPerSecond; write both"))]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest body; a larger one is answered 413.
    #[serde(default = "Limits::default_body")]
    pub body: Size,
    /// Genuine requests a second, counted after they are verified. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub requests_per_second: Option<u32>,
    /// Genuine requests at once, after a pause. Default: `requestsPerSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub burst: Option<u32>,
    /// Requests of all senders together, genuine or not, counted before they are verified. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<RequestRate>,
    /// Requests of one source, genuine or not, counted before they are verified: an IPv4 address, or an IPv6 network of 64 bits.
    /// What one source has too many of counts for no other limit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRate>,
}

/// How many requests there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRate {
    /// Requests a second.
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub requests_per_second: u32,
    /// Requests at once, after a pause. Default: `requestsPerSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub burst: Option<u32>,
}

/// How many requests of one source there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRate {
    /// Requests a second.
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub requests_per_second: u32,
    /// Requests at once, after a pause. Default: `requestsPerSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub burst: Option<u32>,
    /// Proxies on the way that add the address that they see to `X-Forwarded-For`: the gateway, and what stands before it. The source is
    /// what the outermost of them saw; entries before it may be anybody's words. 0: the address that the receiver itself sees.
    #[serde(default = "SourceRate::default_hops")]
    #[schemars(range(min = 0, max = 16), extend("format" = "int32"))]
    pub trusted_hops: u8,
}

impl Limits {
    const fn default_body() -> Size {
        Size::from_mebibytes(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: Self::default_body(), requests_per_second: None, burst: None, total: None, source: None }
    }
}

impl SourceRate {
    const fn default_hops() -> u8 {
        1
    }
}
