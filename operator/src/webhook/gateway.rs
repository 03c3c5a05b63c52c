//! What a Gateway says of the addresses of endpoints.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::{Selector, SelectorExt},
};
use serde_json::Value;
use sluice_crds::NamespacedName;
use sluice_model::webhook::{Allowed, Listener};

/// What of a Gateway decides on the addresses of endpoints. Its status says much more, and changes with each route.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    listeners: Value,
    addresses: Value,
}

impl Gateway {
    /// How the API server calls the kind.
    pub fn api_resource() -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway"))
    }

    /// What one says.
    pub fn of(object: &DynamicObject) -> Self {
        let part = |place: &str| object.data.pointer(place).cloned().unwrap_or_default();
        Self { listeners: part("/spec/listeners"), addresses: part("/status/addresses") }
    }

    /// Whether the labels of a namespace decide on its routes.
    pub fn selects_namespaces(&self) -> bool {
        self.each_listener().any(|listener| namespaces(listener)["from"] == "Selector")
    }

    /// Its listeners, for a namespace with these labels, where they could be read.
    pub fn listeners(&self, name: &NamespacedName, labels: Option<&BTreeMap<String, String>>) -> Vec<Listener> {
        let address = self.addresses[0]["value"].as_str().map(str::to_owned);
        let listener = |listener: &Value| {
            let text = |key: &str| listener[key].as_str().map(str::to_owned);
            Some(Listener {
                namespace: name.namespace.clone(),
                gateway: name.name.clone(),
                name: text("name")?,
                protocol: text("protocol")?,
                port: listener["port"].as_u64()?.try_into().ok()?,
                hostname: text("hostname"),
                address: address.clone(),
                allowed: allowed(namespaces(listener), labels),
            })
        };
        self.each_listener().filter_map(listener).collect()
    }

    fn each_listener(&self) -> impl Iterator<Item = &Value> {
        self.listeners.as_array().into_iter().flatten()
    }
}

fn namespaces(listener: &Value) -> &Value {
    &listener["allowedRoutes"]["namespaces"]
}

fn allowed(namespaces: &Value, labels: Option<&BTreeMap<String, String>>) -> Allowed {
    match namespaces["from"].as_str() {
        Some("All") => Allowed::All,
        Some("Selector") if selects(&namespaces["selector"], labels) => Allowed::Selected,
        Some("Selector") => Allowed::NotSelected,
        _ => Allowed::OwnNamespace,
    }
}

/// Whether a selector takes these labels; where either is not known, nobody is blamed.
fn selects(selector: &Value, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = serde_json::from_value::<LabelSelector>(selector.clone()).ok();
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector.zip(labels).is_none_or(|(selector, labels)| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(listeners: &Value) -> Gateway {
        let mut object = DynamicObject::new("edge", &Gateway::api_resource());
        object.data = json!({
            "spec": {"gatewayClassName": "contour", "listeners": listeners},
            "status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]},
        });
        Gateway::of(&object)
    }

    #[test]
    fn what_routes_change_in_a_gateway_does_not_decide_on_addresses() {
        let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        let mut object = DynamicObject::new("edge", &Gateway::api_resource());
        object.data = json!({"spec": {"listeners": listeners}, "status": {"listeners": [{"attachedRoutes": 7}]}});
        let before = Gateway::of(&object);
        object.data["status"]["listeners"][0]["attachedRoutes"] = json!(8);
        assert_eq!(Gateway::of(&object), before);
        object.data["status"]["addresses"] = json!([{"value": "192.0.2.1"}]);
        assert_ne!(Gateway::of(&object), before);
    }

    #[test]
    fn a_listener_takes_routes_from_namespaces_by_their_labels() {
        let selecting = |selector: Value| {
            let namespaces = json!({"from": "Selector", "selector": selector});
            gateway(
                &json!([{"name": "a", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": namespaces}}]),
            )
        };
        let name = NamespacedName { namespace: "gateways".into(), name: "edge".into() };
        let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
        let by_expression = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]});
        for (selector, expected) in [
            (json!({"matchLabels": {"team": "shop"}}), Allowed::Selected),
            (json!({"matchLabels": {"team": "bank"}}), Allowed::NotSelected),
            (by_expression, Allowed::NotSelected),
            (json!({}), Allowed::Selected),
        ] {
            let gateway = selecting(selector.clone());
            assert!(gateway.selects_namespaces());
            assert_eq!(gateway.listeners(&name, Some(&labels))[0].allowed, expected, "{selector}");
            assert_eq!(gateway.listeners(&name, None)[0].allowed, Allowed::Selected, "{selector}");
        }
    }

    #[test]
    fn a_listener_is_read_with_the_first_address() {
        let gateway = gateway(&json!([
            {"name": "http", "port": 80, "protocol": "HTTP"},
            {
                "name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example",
                "allowedRoutes": {"namespaces": {"from": "All"}},
            },
        ]));
        assert!(!gateway.selects_namespaces());
        let name = NamespacedName { namespace: "gateways".into(), name: "edge".into() };
        let [http, https] = gateway.listeners(&name, None).try_into().unwrap();
        assert_eq!(
            (http.hostname, http.address.as_deref(), http.allowed),
            (None, Some("192.0.2.1"), Allowed::OwnNamespace)
        );
        assert_eq!((https.hostname.as_deref(), https.port, https.allowed), (Some("*.example"), 443, Allowed::All));
    }
}
