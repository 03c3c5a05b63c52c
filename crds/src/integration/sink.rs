//! What an Integration delivers to.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What records are delivered to. Exactly one kind of sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.http)").message("sink: write http"))]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// An HTTP API: one request for each record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSink>,
}

/// An HTTP API: one request for each record, the record's value as its JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSink {
    /// Address of the API, `http://` or `https://`.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^/?#@\s]+"))]
    pub url: String,
    /// Method of the request.
    #[serde(default)]
    pub method: HttpMethod,
    /// Headers of the request, beside `Content-Type: application/json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
}

/// Methods of a request with a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Create, or hand over.
    #[default]
    Post,
    /// Create or replace.
    Put,
    /// Change.
    Patch,
}

impl HttpMethod {
    /// The method as it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}
