//! Where the objects of the last spec are noted that could be carried out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::NamespacedName;

/// Where the objects of the last spec are noted that could be carried out: they are kept while a later one cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The ConfigMap with its configuration; the annotation `sluice.dev/objects` has the other objects.
    pub config_map: String,
    /// SHA-256 of that annotation: another one is not believed. Absent where the objects are too large to be noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_hash: Option<String>,
    /// The Topics of other namespaces that it uses: where one of them may no longer be used, it is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<NamespacedName>,
}
