//! What the body of an event must look like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SchemaSource;

/// What the body of an event must look like; of a cloud event its data. It is checked after the signature, at the latest within
/// 100 ms of CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventValidation {
    /// A JSON Schema, of the draft that its `$schema` names; 2020-12 without one.
    pub json_schema: SchemaSource,
    /// What becomes of an event whose body is not JSON, or not as the schema says.
    #[serde(default)]
    pub on_invalid: OnInvalidEvent,
}

/// What becomes of an event whose body is not as it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInvalidEvent {
    /// It is written to the dead letters and acknowledged: a sender that tries again would not make it better.
    #[default]
    DeadLetter,
    /// The sender is answered 422 with what is wrong. Nothing is written, of a batch no event.
    Refuse,
}
