//! What the API server's own log tells of requests.

use std::path::Path;

use anyhow::Context;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What was asked, as RBAC calls it.
    pub verb: String,
    /// Where it was asked.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked, by the client's own words.
    #[serde(default)]
    pub user_agent: String,
    /// When the API server got it.
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    /// What it is about.
    #[serde(default)]
    pub object_ref: Object,
    /// What was written, where that is noted.
    #[serde(default)]
    pub request_object: Value,
    /// What was answered.
    #[serde(default)]
    pub response_status: Answer,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// HTTP's code.
    pub code: u16,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Object {
    /// The plural of its kind.
    pub resource: String,
    /// What of it, as `status`; empty for the object itself.
    pub subresource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Request {
    /// Whether it may have changed something.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// Whether the operator of that name asked.
    pub fn is_by(&self, identity: &str) -> bool {
        self.user_agent.contains(&format!("({identity}-"))
    }
}

/// All requests so far.
pub fn requests(log: &Path) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    // The last line may be half written.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
