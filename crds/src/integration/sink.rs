//! What an Integration delivers to.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SinkAuth, SinkTls};
use crate::TopicReference;

/// What records are delivered to. Exactly one kind of sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.http), has(self.kafka)].filter(given, given).size() == 1")
    .message("sink: write exactly one of http, kafka"))]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// An HTTP API: one request for each record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSink>,
    /// A Kafka topic: one record for each record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSink>,
}

/// A Kafka topic on the source's Kafka cluster. A record is written with its own key, headers and timestamp, and with its value as
/// the steps left it; one without a value (a tombstone) is written without one. `key`, `partition` and what stands between `{{` and
/// `}}` in `headers` are programs in the Vector Remap Language, which see the record as the steps left it. A record for which a
/// program fails is a data error; one that the topic does not take, as it is too large, has a delivery error. Records are written in
/// batches, in order, and again until Kafka takes them, so that of `delivery` only `guarantee`, `retry.backoff`, `onDataError` and
/// `onDeliveryError` say something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.topic) != has(self.topicName)").message("kafka: write exactly one of topic, topicName"))]
#[serde(rename_all = "camelCase")]
pub struct KafkaSink {
    /// A Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicReference>,
    /// Name in Kafka of a topic that no Topic resource declares. The operator's configuration may limit which ones a namespace may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub topic_name: Option<String>,
    /// A program that gives the key: a text, a number, a boolean, a time, or null for none. Default: the record's own key.
    /// Example: `.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub key: Option<String>,
    /// A program that gives the number of the partition. Default: that of the key, as Kafka's Java clients choose it (murmur2); a record
    /// without a key goes to any. Example: `%partition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub partition: Option<String>,
    /// Headers beside the record's own, or in place of those with the same name. One whose program gives null is left out.
    /// Example: `{tenant: "{{ .tenant }}"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
}

/// An HTTP API: one request for each record. Method, path, query and headers may hold programs in the Vector Remap Language
/// between `{{` and `}}`, which see the record as the steps left it. A record for which a program fails, or that gives no
/// valid request, is a data error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.tls) || self.url.startsWith('https://')").message("tls: only an https:// address uses certificates"))]
#[serde(rename_all = "camelCase")]
pub struct HttpSink {
    /// Address of the API, `http://` or `https://`. Path and query may hold programs, whose values are percent-encoded: one
    /// value is one path segment, or a part of one. Example: `https://ledger.example/accounts/{{ .account }}/entries`.
    #[schemars(length(min = 8, max = 8192), regex(pattern = r"^https?://[^/?#@{}\s]+"))]
    pub url: String,
    /// Method of the request: `POST`, `PUT`, `PATCH`, `DELETE`, `GET`, or a program that gives one. Default: `POST`.
    /// Example: `{{ if .deleted == true { "DELETE" } else { "PUT" } }}`.
    #[serde(default = "post")]
    #[schemars(length(max = 4096), regex(pattern = r"^(POST|PUT|PATCH|DELETE|GET)$|\{\{"))]
    pub method: String,
    /// Parameters of the query, beside those in the address. A null value leaves its parameter out.
    /// Example: `{currency: "{{ .currency }}"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub query: BTreeMap<String, String>,
    /// Headers of the request, beside `Content-Type`, which tells what the body is. A null value leaves its header out.
    /// Example: `{X-Tenant: "{{ %headers.tenant }}"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// What the body holds. `DELETE` and `GET` have none.
    #[serde(default)]
    pub body: Body,
    /// Statuses that mean success beside 2xx. Example: `[404, 410]` where a record that is gone may be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 300, max = 599)))]
    pub success_codes: Vec<u16>,
    /// How the worker proves who it is. Default: not at all, or by `tls.certificateRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SinkAuth>,
    /// Certificates for `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SinkTls>,
}

fn post() -> String {
    HttpMethod::Post.as_str().to_owned()
}

/// What the body of a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Body {
    /// The record's value as the steps left it: JSON, or what `decode.format` says.
    #[default]
    Value,
    /// Nothing: method, path, query and headers say it all. A record without a value can be delivered too.
    None,
}

/// Methods of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// Create, or hand over.
    Post,
    /// Create or replace.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
    /// Ask.
    Get,
}

impl HttpMethod {
    /// All methods.
    pub const ALL: [Self; 5] = [Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Get];

    /// The method as it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Get => "GET",
        }
    }

    /// Whether a request of this method has a body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}
