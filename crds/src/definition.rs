//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{ConditionType, Integration, Reason, Topic, Webhook};

/// The three CustomResourceDefinitions. A new object carries `Ready=Unknown` from its first moment, without a write of
/// the operator: the default of its status says so.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [Topic::crd(), Webhook::crd(), Integration::crd()].map(with_first_status).to_vec()
}

fn with_first_status(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let first = json!({"conditions": [{
        "type": ConditionType::Ready.to_string(),
        "status": "Unknown",
        "reason": Reason::Pending.to_string(),
        "message": "the operator has not looked at it yet",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]});
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(first.clone()));
        }
    }
    definition
}
