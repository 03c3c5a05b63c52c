//! AWS API Gateway as what brings requests to a Webhook.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An HTTP API of AWS API Gateway, one for each Webhook. It becomes resources of the ACK controller for API Gateway v2
/// (apigatewayv2.services.k8s.aws/v1alpha1). API Gateway is outside of the cluster: it calls a load balancer or a Cloud Map service
/// through a VPC link, or a public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.vpcLink) == has(self.targetArn) && has(self.vpcLink) != has(self.url)")
    .message("route.awsApiGateway: write vpcLink and targetArn, or url"))]
#[serde(rename_all = "camelCase")]
pub struct AwsApiGateway {
    /// The VPC link through which API Gateway reaches `targetArn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_link: Option<VpcLink>,
    /// The listener of a load balancer, or the Cloud Map service, that leads to the receivers' Service `<name>-receiver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 2048),
        regex(pattern = r"^arn:[-a-z]+:(elasticloadbalancing|servicediscovery):[^\s]+$")
    )]
    pub target_arn: Option<String>,
    /// Scheme, host and port of a public address that leads to the receivers' Service, such as `https://receivers.example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^/?#\s]+$"))]
    pub url: Option<String>,
    /// Stage of the API. `$default` is the one whose name does not stand in the endpoint's address.
    #[serde(default = "AwsApiGateway::default_stage")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^([$]default|[-_a-zA-Z0-9]+)$"))]
    pub stage: String,
}

impl AwsApiGateway {
    fn default_stage() -> String {
        "$default".to_owned()
    }
}

/// A VPC link of AWS API Gateway: one that exists, or one that Sluice makes for the Webhook alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.id), has(self.name), has(self.subnetIds)].filter(given, given).size() == 1")
    .message("route.awsApiGateway.vpcLink: write exactly one of id, name, subnetIds"))]
#[x_kube(validation = Rule::new("!has(self.securityGroupIds) || has(self.subnetIds)")
    .message("route.awsApiGateway.vpcLink: securityGroupIds are for a link that Sluice makes; write subnetIds, or leave them out"))]
#[serde(rename_all = "camelCase")]
pub struct VpcLink {
    /// Id of a link that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub id: Option<String>,
    /// Name of a VPCLink (apigatewayv2.services.k8s.aws) in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Subnets of the link that Sluice makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 64)))]
    pub subnet_ids: Vec<String>,
    /// Its security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 5), inner(length(min = 1, max = 64)))]
    pub security_group_ids: Vec<String>,
}
