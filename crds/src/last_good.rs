//! Where the objects of the last spec are noted that could be carried out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the objects of the last spec are noted that could be carried out: they are kept while a later one cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The ConfigMap with its configuration; the annotation `sluice.dev/objects` has the other objects.
    pub config_map: String,
    /// SHA-256 of that annotation: another one is not believed.
    pub objects_hash: String,
}
