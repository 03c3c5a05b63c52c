//! One of several versions of an endpoint.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which version of an endpoint this is. Versions are served side by side, each by a Webhook of its own, with its own topic and
/// schema. Senders choose one by the first segment of the path, or by a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// What senders call it, such as `v2`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9a-zA-Z]([-._0-9a-zA-Z]*[0-9a-zA-Z])?$"))]
    pub name: String,
    /// Header by which senders choose the version: its value is the name, and the path is `route.path`. Default: no header; the
    /// name stands before the path, `/v2/orders` for the path `/orders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: Option<String>,
    /// Says in every answer that the version is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
}

/// That a version is out of date: what senders are told in the headers of every answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.sunset) || self.sunset >= self.since")
    .message("version.deprecated: sunset is before since; a version goes after it was deprecated"))]
#[serde(rename_all = "camelCase")]
pub struct Deprecation {
    /// Since when, or from when on, it is out of date, such as `2026-01-31T00:00:00Z`: the header `Deprecation` (RFC 9745).
    pub since: Time,
    /// When it will no longer be served: the header `Sunset` (RFC 8594). It only tells senders: the version goes when its Webhook is
    /// deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Time>,
    /// A page that tells senders what to do: the header `Link` with `rel="deprecation"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[-._~:/?#@!$&'()*+,;=%0-9a-zA-Z]+$"))]
    pub documentation: Option<String>,
}
