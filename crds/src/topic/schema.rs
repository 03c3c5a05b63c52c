//! What the records of a topic look like, told to a schema registry.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ConfigMapReference;

/// The schema of the records' values. Sluice registers it as the newest version of a subject, through the API that Confluent's
/// registry has and others share. It registers nothing that the registry calls incompatible, and deletes no version and no subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicSchema {
    /// Schema registry, by its name in the operator's configuration.
    #[serde(default = "default_registry")]
    #[schemars(length(min = 1, max = 63))]
    pub registry: String,
    /// Name of the subject in the registry. Default: `<topicName>-value`. A subject belongs to one Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9._:-]+$"))]
    pub subject: Option<String>,
    /// The language of the schema.
    pub format: SchemaFormat,
    /// Which changes the registry lets through. It is set before a version is registered. Where absent, it is left as found: a
    /// new subject has the registry's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<Compatibility>,
    /// The schema itself.
    pub definition: SchemaDefinition,
    /// Schemas of other subjects of the same registry that this one uses. While one of them is not registered, this one waits for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub references: Vec<SchemaReference>,
}

/// One version of another subject, under the name by which a schema uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaReference {
    /// What the schema calls it: the full name of a type in Avro, the path of an `import` in Protobuf, the address of a `$ref` in JSON
    /// Schema.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// Name of the subject.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9._:-]+$"))]
    pub subject: String,
    /// Number of the subject's version.
    #[schemars(range(min = 1))]
    pub version: i32,
}

fn default_registry() -> String {
    "default".to_owned()
}

/// Where a schema stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMapRef)")
    .message("definition: write exactly one of inline, configMapRef"))]
#[serde(rename_all = "camelCase")]
pub struct SchemaDefinition {
    /// The schema as a text: JSON for Avro and JSON Schema, a `.proto` file for Protobuf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub inline: Option<String>,
    /// A key of a ConfigMap in the same namespace that holds the text. A change of it is registered as a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapReference>,
}

/// Languages of schemas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SchemaFormat {
    /// Apache Avro.
    #[default]
    Avro,
    /// Protocol Buffers.
    Protobuf,
    /// JSON Schema.
    Json,
}

/// Which changes of a schema a registry lets through. The transitive ones are judged against all versions, the others against
/// the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Compatibility {
    /// All of them.
    None,
    /// Whoever knows the new version can read records of the newest one.
    Backward,
    /// Whoever knows the new version can read records of all versions.
    BackwardTransitive,
    /// Whoever knows the newest version can read records of the new one.
    Forward,
    /// Whoever knows any version can read records of the new one.
    ForwardTransitive,
    /// Both `Backward` and `Forward`.
    Full,
    /// Both `BackwardTransitive` and `ForwardTransitive`.
    FullTransitive,
}

/// The schema as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredSchema {
    /// Name of the subject.
    pub subject: String,
    /// The registry's id of the schema: what producers write before each value.
    pub id: i64,
    /// Which version of the subject it is.
    pub version: i32,
}

impl SchemaFormat {
    /// As the registry's API writes it.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
            Self::Json => "JSON",
        }
    }
}

impl Compatibility {
    /// As the registry's API writes it.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}
