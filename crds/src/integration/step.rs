//! What happens to a record between its source and its sink.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConfigMapReference, Size};

/// How the bytes of a record become a value. A record is decoded where a step or the sink needs its value, and only then; one
/// that no step changes is delivered byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decode {
    /// The format of the records' values.
    #[serde(default)]
    pub format: Format,
    /// Largest value that is decoded, at most `16Mi`. A larger one is a data error. Decoding and the steps may use 100 ms of
    /// CPU for a record, whatever its size.
    #[serde(default = "Decode::default_max_size")]
    pub max_size: Size,
}

impl Decode {
    const fn default_max_size() -> Size {
        Size::from_mebibytes(1)
    }
}

impl Default for Decode {
    fn default() -> Self {
        Self { format: Format::default(), max_size: Self::default_max_size() }
    }
}

/// Formats of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// JSON (RFC 8259): in steps, `.` is the value. What steps make of it is delivered as JSON.
    #[default]
    Json,
    /// UTF-8: in steps, `.` is the text. If it is still a text after the steps, it is delivered as it is, else as JSON.
    Text,
    /// Any bytes: in steps, `.` is a string of them. If it is still one after the steps, it is delivered as it is, else as JSON.
    Bytes,
}

/// One step: exactly one of `filter`, `map` and `validate`. Programs are in the Vector Remap Language: `.` is the record's
/// value, `%key` its key, `%headers` its headers, `%topic`, `%partition`, `%offset` and `%timestamp` where and when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.filter), has(self.map), has(self.validate)].filter(given, given).size() == 1")
    .message("a step is exactly one of filter, map, validate"))]
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
    /// What the record must look like; one that does not is a data error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<Validation>,
}

/// What a record must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// A JSON Schema, of the draft that its `$schema` names; 2020-12 without one.
    pub json_schema: SchemaSource,
}

/// A JSON Schema. It must be whole: a `$ref` reaches into the schema itself, never over a network or into a file. Patterns
/// have no look-around and no back-references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMapRef)")
    .message("jsonSchema: write exactly one of inline, configMapRef"))]
#[serde(rename_all = "camelCase")]
pub struct SchemaSource {
    /// The schema itself. Example: `{type: object, required: [id]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub inline: Option<serde_json::Value>,
    /// A key of a ConfigMap in the same namespace that holds the schema as JSON. A change of it is a new configuration, and a
    /// rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapReference>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
