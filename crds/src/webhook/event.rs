//! What the id, type and key of an event are taken from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the id, type and key of an event are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The event's id: an event with an id that was seen before is acknowledged and not written again. Default: what the
    /// preset's provider uses; with `hmac` and `none` a hash of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// The event's type; it becomes the Kafka header `ce_type`.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub event_type: Option<EventField>,
    /// The Kafka key: events with the same key stay in order. Default: no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EventField>,
}

/// What the event's id is taken from. Exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.header), has(self.jsonPointer), has(self.bodyHash)].filter(given, given).size() == 1")
    .message("event.id: write exactly one of header, jsonPointer, bodyHash"))]
#[serde(rename_all = "camelCase")]
pub struct EventId {
    /// A header of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: Option<String>,
    /// A place in the JSON body (RFC 6901), such as `/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/([^~/]|~[01])*)+$"))]
    pub json_pointer: Option<String>,
    /// The SHA-256 of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<Empty>,
}

/// What a field of the event is taken from. Exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.header) != has(self.jsonPointer)")
    .message("write exactly one of header, jsonPointer"))]
#[serde(rename_all = "camelCase")]
pub struct EventField {
    /// A header of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: Option<String>,
    /// A place in the JSON body (RFC 6901), such as `/data/object/customer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/([^~/]|~[01])*)+$"))]
    pub json_pointer: Option<String>,
}

/// A choice without settings, written `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}
