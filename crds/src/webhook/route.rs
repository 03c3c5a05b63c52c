//! Where a Webhook is reached.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aws::AwsApiGateway;

/// The gateways, host names and path of the endpoint. It becomes an HTTPRoute of the Gateway API, an Ingress, or an API of AWS API
/// Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.parentRefs), has(self.ingress), has(self.awsApiGateway)].filter(given, given).size() == 1")
    .message("route: write exactly one of parentRefs, ingress, awsApiGateway"))]
#[x_kube(validation = Rule::new("!has(self.awsApiGateway) || !(has(self.hostnames) || has(self.kong))")
    .message("route.awsApiGateway: the API has a host name of its own, and Kong is not on its way; leave hostnames and kong out"))]
#[x_kube(validation = Rule::new("!has(self.ingress) || !has(self.ingress.tlsSecretName) || has(self.hostnames)")
    .message("route.ingress: a certificate is for host names; write route.hostnames, or leave tlsSecretName out"))]
#[x_kube(validation = Rule::new(
        "!has(self.path) || !self.path.matches('//|/[.][.]?(/|$)|%2[fF]|%(.?$|[^0-9a-fA-F]|.[^0-9a-fA-F])')"
    )
    .message("route.path: gateways take no empty segment, no . or .., no escaped slash, and no % without two digits after it"))]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Gateways that serve the endpoint, by an HTTPRoute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentReference>,
    /// Serves the endpoint by an Ingress (networking.k8s.io/v1) instead, where there is no Gateway API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// Serves the endpoint by AWS API Gateway instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_api_gateway: Option<AwsApiGateway>,
    /// Host names that senders use. Default: those of the gateway's listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub hostnames: Vec<String>,
    /// Path that senders use, matched exactly. Default: `/<namespace>/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[-._~!$&'()*+,;=:@%/a-zA-Z0-9]*$"))]
    pub path: Option<String>,
    /// What Kong does before a request comes to a receiver, where it is what serves the route. It becomes KongPlugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kong: Option<Kong>,
}

/// An Ingress. It cannot choose a version by a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// Name of the IngressClass, such as `nginx`.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,
    /// Secret in the same namespace with the certificate for `route.hostnames`. Default: plain HTTP, or what the controller has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
}

/// What Kong does before a request comes to a receiver. At least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.rateLimit) || has(self.allow) || has(self.deny)")
    .message("route.kong: write at least one of rateLimit, allow, deny"))]
#[serde(rename_all = "camelCase")]
pub struct Kong {
    /// How many requests one client address may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<KongRateLimit>,
    /// Networks that may send, such as `192.0.2.0/24`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 64)))]
    pub allow: Vec<String>,
    /// Networks that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 64)))]
    pub deny: Vec<String>,
}

/// How many requests one client address may send. Each Kong counts for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.perSecond) || has(self.perMinute)")
    .message("route.kong.rateLimit: write perSecond, perMinute, or both"))]
#[serde(rename_all = "camelCase")]
pub struct KongRateLimit {
    /// In a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub per_second: Option<u32>,
    /// In a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("format" = "int32"))]
    pub per_minute: Option<u32>,
}

/// A Gateway, or one listener of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway. Default: the Webhook's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of a listener of the Gateway. Default: every listener that allows the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}
