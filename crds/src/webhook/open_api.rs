//! A Webhook's description for gateways that are set up from one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An OpenAPI 3.0 document of the endpoint, as `openapi.json` in the ConfigMap `<name>-openapi`: path, verification, body and answers.
/// Apigee makes a proxy from it; Google's API Gateway reads its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenApi {
    /// Scheme, host and port at which the gateway reaches the receivers, such as `https://receivers.example`. Default: the receivers'
    /// Service, which is reached from within the cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^/?#\s]+$"))]
    pub target: Option<String>,
}
