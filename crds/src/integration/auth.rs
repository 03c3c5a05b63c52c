//! How a worker proves to an API who it is, and whom it trusts. Secrets are mounted into the worker: the operator reads none.
#![allow(clippy::struct_field_names, reason = "what refers to a Secret ends in Ref, and SinkTls holds nothing else")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SecretReference;

/// How the worker proves who it is. Exactly one scheme. Secrets are mounted: a changed one is used within about 90 s, without
/// a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.oauth2), has(self.bearer), has(self.basic), has(self.apiKey)].filter(given, given).size() == 1")
    .message("auth: write exactly one of oauth2, bearer, basic, apiKey"))]
#[serde(rename_all = "camelCase")]
pub struct SinkAuth {
    /// An access token of an authorization server, by client credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// A token in `Authorization: Bearer <token>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// A user name and a password in `Authorization: Basic ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// A key in a header or in the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyAuth>,
}

/// An access token of an authorization server, by client credentials (RFC 6749, section 4.4). All requests share a token. It is
/// fetched anew before it expires and, once, when the API answers 401; a record that has to wait for a token that cannot be
/// had counts a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// Address of the token endpoint, `http://` or `https://`.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^/?#@{}\s]+"))]
    pub token_url: String,
    /// The client's name.
    pub client_id_ref: SecretReference,
    /// The client's password.
    pub client_secret_ref: SecretReference,
    /// How the client proves who it is.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256), regex(pattern = r"^[!#-\[\]-~]+$")))]
    pub scopes: Vec<String>,
    /// For whom the token is, where the authorization server wants to be told (`audience`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub audience: Option<String>,
    /// The same as an address (`resource`, RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub resource: Option<String>,
}

/// How a client proves to the token endpoint who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthentication {
    /// In `Authorization: Basic ...` (`client_secret_basic`).
    #[default]
    Basic,
    /// In the body (`client_secret_post`).
    Post,
}

/// A token in `Authorization: Bearer <token>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuth {
    /// The token. A line end after it is not part of it.
    pub token_ref: SecretReference,
}

/// A user name and a password in `Authorization: Basic ...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The user name. A line end after it is not part of it.
    pub username_ref: SecretReference,
    /// The password. A line end after it is not part of it.
    pub password_ref: SecretReference,
}

/// A key in a header or in the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.header) != has(self.query)")
    .message("apiKey: write exactly one of header, query"))]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyAuth {
    /// Header that carries the key. Example: `X-Api-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$"))]
    pub header: Option<String>,
    /// Parameter of the query that carries the key. Prefer a header: addresses are logged in many places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub query: Option<String>,
    /// The key. A line end after it is not part of it.
    pub key_ref: SecretReference,
}

/// Certificates for `https://`: of the API, of the token endpoint, and the worker's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.certificateRef) == has(self.keyRef)")
    .message("tls: certificateRef and keyRef go together"))]
#[serde(rename_all = "camelCase")]
pub struct SinkTls {
    /// PEM of the authorities that sign the API's certificate, beside those that sign the web's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretReference>,
    /// PEM of the worker's own certificate, followed by those between it and its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<SecretReference>,
    /// PEM of the key of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<SecretReference>,
}
