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
    /// The event's type; it becomes the Kafka header `ce_type`. Default: what the preset's provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub event_type: Option<EventField>,
    /// The Kafka key: events with the same key stay in order. Default: the attribute `partitionkey` of a cloud event, else no
    /// key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EventField>,
    /// Where the sender counts or dates its events; it becomes the Kafka header `ce_sequence`, by which a consumer can drop what
    /// is older than what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<EventField>,
    /// Whether requests that are CloudEvents 1.0 are taken as such: id, type and source are then the event's own, and places
    /// in the body are places in its data. Default: `Accept`; `AcceptStructured` with `hmac`, which signs the body and not the
    /// headers; `Ignore` with a preset, whose provider has its own format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_events: Option<CloudEvents>,
    /// More headers of the request that stay with the event, as Kafka headers in lower case. Those that carry credentials or
    /// signatures are not allowed, nor those whose name says so (`token`, `secret`, `password` and the like).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$")))]
    pub headers: Vec<String>,
}

/// Whether requests that are CloudEvents 1.0 are taken as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CloudEvents {
    /// No: the body is the event, whatever it is.
    Ignore,
    /// In structured mode, where the attributes stand in the body. Who replays a signed request cannot give it another id.
    AcceptStructured,
    /// In binary and in structured mode. In binary mode the attributes are headers, `ce-id` among them.
    Accept,
    /// In batches as well: each event becomes a record, and the sender is answered when all of them are safe.
    AcceptBatches,
}

impl CloudEvents {
    /// Whether headers that begin with `ce-` are taken for attributes.
    pub const fn in_headers(self) -> bool {
        match self {
            Self::Ignore | Self::AcceptStructured => false,
            Self::Accept | Self::AcceptBatches => true,
        }
    }
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
