//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{ConditionType, Integration, Reason, Topic, Webhook};

/// The three CustomResourceDefinitions. A new object carries `Ready=Unknown` from its first moment, without a write of
/// the operator: the default of its status says so.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [Topic::crd(), Webhook::crd(), Integration::crd()].map(with_null_for_no_choice).map(with_first_status).to_vec()
}

/// Helm and other tools write `null` for what is to have its default. The API server compares a `null` with a list of values as well,
/// where the field is `nullable`, and finds it different from all of them, even from a null; not so with a list within `allOf`.
fn with_null_for_no_choice(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(set_choices_apart);
    definition
}

fn set_choices_apart(schema: &mut JSONSchemaProps) {
    if schema.nullable == Some(true)
        && let Some(choices) = schema.enum_.take()
    {
        let choices = JSONSchemaProps { enum_: Some(choices), ..JSONSchemaProps::default() };
        schema.all_of.get_or_insert_default().push(choices);
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(set_choices_apart);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        set_choices_apart(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        set_choices_apart(values);
    }
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
