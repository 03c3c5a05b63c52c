//! What happens to a record between its source and its sink.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the bytes of a record become a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decode {
    /// The format of the records' values.
    #[serde(default)]
    pub format: Format,
}

/// Formats of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// JSON (RFC 8259): in steps, `.` is the value.
    #[default]
    Json,
}

/// One step: exactly one of `filter` and `map`, both in the Vector Remap Language. In it `.` is the record's value, `%key`
/// its key, `%headers` its headers, `%topic`, `%partition`, `%offset` and `%timestamp` where and when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.filter) != has(self.map)").message("a step is exactly one of filter, map"))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step; dead letters tell the step by it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A condition: only records for which it is true go on. Example: `.type == "payment_intent.succeeded"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub filter: Option<String>,
    /// A program that changes the record. Example: `. = {"id": .id, "currency": upcase(string!(.currency))}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub map: Option<String>,
}
