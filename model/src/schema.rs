//! The JSON Schema that a resource writes, or that a ConfigMap holds which it names.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_crds::{ConfigMapReference, SchemaSource};

use crate::Rejection;

/// The data of ConfigMaps, by name.
pub(crate) type ConfigMaps = BTreeMap<String, BTreeMap<String, String>>;

/// The schema that stands at `field`, or why there is none.
pub(crate) fn schema(field: &str, source: &SchemaSource, config_maps: &ConfigMaps) -> Result<Value, Rejection> {
    match (&source.inline, &source.config_map_ref) {
        (Some(schema), None) => Ok(schema.clone()),
        (None, Some(reference)) => {
            let field = format!("{field}.configMapRef");
            let text = text(&field, reference, config_maps)?;
            let ConfigMapReference { name, key } = reference;
            serde_json::from_str(text).map_err(|error| {
                Rejection::invalid(&field, format!("key {key:?} of the ConfigMap {name:?} is no JSON: {error}"))
            })
        }
        _ => Err(Rejection::invalid(field, "write exactly one of inline, configMapRef")),
    }
}

fn text<'a>(field: &str, reference: &ConfigMapReference, config_maps: &'a ConfigMaps) -> Result<&'a str, Rejection> {
    let ConfigMapReference { name, key } = reference;
    let Some(data) = config_maps.get(name) else {
        let message = format!("there is no ConfigMap {name:?} in this namespace; create it");
        return Err(Rejection::not_found(format!("{field}.name"), message));
    };
    data.get(key).map(String::as_str).ok_or_else(|| {
        let keys = data.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Rejection::not_found(
            format!("{field}.key"),
            format!("the ConfigMap {name:?} has no key {key:?}; it has: {keys}"),
        )
    })
}

/// The field that a complaint about the schema itself is about.
pub(crate) fn written_at(field: &str, source: &SchemaSource) -> String {
    format!("{field}.{}", if source.inline.is_some() { "inline" } else { "configMapRef" })
}
