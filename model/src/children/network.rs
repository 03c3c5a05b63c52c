//! Who may call the pods of a data plane, and whom they may.

use serde_json::{Value, json};
use sluice_crds::{NetworkPolicies, Settings, wire};

use super::{Child, ChildKind, Owner};

/// Label with the name of a namespace, which Kubernetes itself writes.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Port of DNS.
const DNS: u16 = 53;

impl Owner {
    /// The NetworkPolicy of a data plane, where the operator's configuration wants them: anybody may call its endpoint, where it has
    /// one, and only the operator's namespace and those that gather metrics its status.
    pub(crate) fn network_policy(&self, component: &str, endpoint: Option<u16>, settings: &Settings) -> Option<Child> {
        let policies = settings.network_policies.as_ref()?;
        let endpoint = endpoint.map(|port| json!({"ports": [{"port": port, "protocol": "TCP"}]}));
        let status = json!({
            "ports": [{"port": wire::STATUS_PORT, "protocol": "TCP"}],
            "from": askers(policies).map(namespace).collect::<Vec<_>>(),
        });
        let mut spec = json!({
            "podSelector": {"matchLabels": self.selector(component)},
            "policyTypes": ["Ingress"],
            "ingress": endpoint.into_iter().chain([status]).collect::<Vec<_>>(),
        });
        if !policies.egress.is_empty() {
            spec["policyTypes"] = json!(["Ingress", "Egress"]);
            spec["egress"] = egress(policies);
        }
        let name = self.data_plane(component);
        Some(self.child(ChildKind::NetworkPolicy, component, &name, json!({"spec": spec})))
    }
}

/// The namespaces that ask pods how they are. There is always one: an empty list would let in everybody.
fn askers(policies: &NetworkPolicies) -> impl Iterator<Item = &str> {
    let operator = policies.operator_namespace.as_deref().unwrap_or_default();
    [operator].into_iter().chain(policies.monitoring_namespaces.iter().map(String::as_str))
}

fn namespace(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}})
}

/// The networks, and DNS wherever it is: without it no name means anything.
fn egress(policies: &NetworkPolicies) -> Value {
    let networks: Vec<_> = policies.egress.iter().map(|network| json!({"ipBlock": {"cidr": network}})).collect();
    let dns = ["UDP", "TCP"].map(|protocol| json!({"port": DNS, "protocol": protocol}));
    json!([{"to": networks}, {"ports": dns}])
}

#[cfg(test)]
mod tests {
    use sluice_crds::NamespacedName;

    use super::*;

    fn spec(policies: &str, endpoint: Option<u16>) -> Option<Value> {
        let clusters = "clusters: {default: {bootstrapServers: [k]}}, images: {receiver: r, worker: w}";
        let settings: Settings = serde_saphyr::from_str(&format!("{{{clusters}{policies}}}")).unwrap();
        let name = NamespacedName { namespace: "shop".into(), name: "stripe".into() };
        let owner = Owner { kind: "Webhook", name, uid: "u".into(), generation: 1 };
        owner.network_policy("receiver", endpoint, &settings).map(|child| child.manifest["spec"].clone())
    }

    fn from(namespaces: &[&str]) -> Value {
        let one = |name: &&str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        namespaces.iter().map(one).collect()
    }

    #[test]
    fn there_is_none_unless_the_platform_team_wants_them() {
        assert_eq!(spec("", Some(8080)), None);
    }

    #[test]
    fn everybody_may_call_an_endpoint_and_few_a_status() {
        let policies = ", networkPolicies: {operatorNamespace: sluice, monitoringNamespaces: [monitoring]}";
        let found = spec(policies, Some(8080)).unwrap();
        let status = json!({"ports": [{"port": 9090, "protocol": "TCP"}], "from": from(&["sluice", "monitoring"])});
        assert_eq!(found["policyTypes"], json!(["Ingress"]));
        assert_eq!(found["ingress"], json!([{"ports": [{"port": 8080, "protocol": "TCP"}]}, status]));
        assert_eq!(found["egress"], Value::Null);
        let labels = json!({"app.kubernetes.io/name": "sluice-receiver", "sluice.dev/webhook": "stripe"});
        assert_eq!(found["podSelector"], json!({"matchLabels": labels}));
        assert_eq!(spec(policies, None).unwrap()["ingress"], json!([status]));
    }

    #[test]
    fn where_networks_are_named_pods_call_these_and_dns() {
        let policies = ", networkPolicies: {operatorNamespace: sluice, egress: [10.0.0.0/8, 192.0.2.1]}";
        let found = spec(policies, None).unwrap();
        assert_eq!(found["policyTypes"], json!(["Ingress", "Egress"]));
        let networks = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "192.0.2.1/32"}}]);
        let dns = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
        assert_eq!(found["egress"], json!([{"to": networks}, {"ports": dns}]));
    }
}
