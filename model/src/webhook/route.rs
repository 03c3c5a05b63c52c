//! How a gateway is told where a Webhook's requests go.

use serde_json::{Value, json};

use super::{COMPONENT, Endpoint, receiver_name};
use crate::children::{Child, ChildKind};

/// The HTTPRoute: to the receivers' Service, for exactly the endpoint's path, and the version's header where it has one.
pub(super) fn route(endpoint: &Endpoint) -> Child {
    let owner = &endpoint.owner;
    let parents: Vec<Value> =
        endpoint.parents.iter().map(|parent| serde_json::to_value(parent).expect("plain data")).collect();
    let mut matched = json!({"path": {"type": "Exact", "value": endpoint.path}});
    if let Some((name, value)) = &endpoint.header {
        matched["headers"] = json!([{"type": "Exact", "name": name, "value": value}]);
    }
    let mut spec = json!({
        "parentRefs": parents,
        "rules": [{
            "matches": [matched],
            "backendRefs": [{"name": receiver_name(owner), "port": 80}],
        }],
    });
    if !endpoint.hostnames.is_empty() {
        spec["hostnames"] = json!(endpoint.hostnames);
    }
    owner.child(ChildKind::HttpRoute, COMPONENT, &receiver_name(owner), json!({"spec": spec}))
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::webhook::{References, validate};

    fn rules(spec: &str) -> Value {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: orders-v2, namespace: shop, uid: u, generation: 3}";
        let spec =
            format!("{{route: {{parentRefs: [{{name: edge}}], path: /orders}}, verify: {{none: {{}}}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let settings = serde_saphyr::from_str(settings).unwrap();
        let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
        route(&endpoint).manifest["spec"]["rules"][0]["matches"].clone()
    }

    #[test]
    fn a_version_is_matched_by_its_path_or_its_header() {
        let path = |value: &str| json!({"type": "Exact", "value": value});
        assert_eq!(rules("replicas: 1"), json!([{"path": path("/orders")}]));
        assert_eq!(rules("version: {name: v2}"), json!([{"path": path("/v2/orders")}]));
        let header = json!([{"type": "Exact", "name": "x-version", "value": "v2"}]);
        let expected = json!([{"path": path("/orders"), "headers": header}]);
        assert_eq!(rules("version: {name: v2, header: X-Version}"), expected);
    }
}
