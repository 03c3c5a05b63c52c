//! Judges what users say about pods: what is Sluice's own, and what Kubernetes would refuse or ignore.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, TopologySpreadConstraint};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sluice_crds::{PodSettings, SharedReceivers};

use crate::{Rejection, children::differences};

/// Labels and annotations that begin so are Sluice's own.
const OWN_PREFIX: &str = "sluice.dev/";
/// The label by which pods of a component are found.
const NAME_LABEL: &str = "app.kubernetes.io/name";

/// All that is wrong with them.
pub(crate) fn complaints(pods: &PodSettings) -> Vec<Rejection> {
    let mut found = bad_entries("labels", &pods.labels, bad_label);
    found.extend(bad_entries("annotations", &pods.annotations, bad_annotation));
    found.extend(bad_entries("nodeSelector", &pods.node_selector, bad_node_label));
    found.extend(pods.env.iter().enumerate().filter_map(|(index, variable)| {
        let field = format!("spec.pods.env[{index}].name");
        reserved(&variable.name).map(|instead| Rejection::invalid(field, instead))
    }));
    found.extend(pods.affinity.iter().filter_map(|affinity| unknown::<Affinity>("spec.pods.affinity", affinity)));
    let constraints = pods.topology_spread_constraints.iter().enumerate();
    found.extend(constraints.filter_map(|(index, constraint)| bad_constraint(index, constraint)));
    found
}

/// All that is wrong with what the operator's configuration says about the receivers that Webhooks share.
pub fn shared_complaints(shared: &SharedReceivers) -> Vec<String> {
    let none = (shared.replicas < 1).then(|| "sharedReceivers.replicas: there is to be one at least".to_owned());
    let of_pods = complaints(&shared.pods).into_iter();
    let of_pods = of_pods.map(|complaint| complaint.to_string().replacen("spec.pods", "sharedReceivers.pods", 1));
    none.into_iter().chain(of_pods).collect()
}

/// The complaints about entries of which `judge` says what is wrong with name and value.
fn bad_entries(
    field: &str,
    entries: &BTreeMap<String, String>,
    judge: fn(&str, &str) -> Option<&'static str>,
) -> Vec<Rejection> {
    let field = |key: &str| format!("spec.pods.{field}[{key}]");
    let bad = |(key, value): (&String, &String)| Some(Rejection::invalid(field(key), judge(key, value)?));
    entries.iter().filter_map(bad).collect()
}

fn bad_label(name: &str, value: &str) -> Option<&'static str> {
    own(name).or_else(|| bad_node_label(name, value))
}

fn bad_annotation(name: &str, _: &str) -> Option<&'static str> {
    own(name).or_else(|| bad_name(name))
}

fn bad_node_label(name: &str, value: &str) -> Option<&'static str> {
    bad_name(name).or_else(|| (!is_label_value(value)).then_some(NO_VALUE))
}

fn own(name: &str) -> Option<&'static str> {
    (name == NAME_LABEL || name.starts_with(OWN_PREFIX)).then_some("this name is Sluice's own; remove it")
}

fn bad_name(name: &str) -> Option<&'static str> {
    (!is_name(name)).then_some(NO_NAME)
}

const NO_NAME: &str = "not a name of Kubernetes; write up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or \
                       digit, after a domain and '/' if you like";
const NO_VALUE: &str = "not a label's value; write up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

fn is_name(name: &str) -> bool {
    let (domain, name) = name.split_once('/').map_or((None, name), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        let is_part = |part: &str| is_word(part, "-") && !part.contains(|c: char| c.is_ascii_uppercase());
        domain.len() <= 253 && domain.split('.').all(is_part)
    };
    is_word(name, "-_.") && domain.is_none_or(is_domain)
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_word(value, "-_.")
}

/// Up to 63 letters and digits, between which these may be too.
fn is_word(text: &str, between: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| is_plain(c) || between.contains(c))
        && text.starts_with(is_plain)
        && text.ends_with(is_plain)
}

/// What to do instead, where an environment variable is Sluice's own.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "HOSTNAME" => Some("workers are told apart by it; remove it"),
        "SSL_CERT_DIR" | "SSL_CERT_FILE" => Some("name a ConfigMap with authorities in pods.caConfigMapRef instead"),
        _ if name.starts_with("OTEL_") => {
            Some("traces are switched on by `tracing` of the operator's configuration; remove it")
        }
        _ if name.starts_with("SLUICE_") => Some("names that begin with SLUICE_ are Sluice's own; remove it"),
        _ => None,
    }
}

fn bad_constraint(index: usize, constraint: &Value) -> Option<Rejection> {
    let field = format!("spec.pods.topologySpreadConstraints[{index}]");
    unknown::<TopologySpreadConstraint>(&field, constraint).or_else(|| {
        let message = "write maxSkew, topologyKey and whenUnsatisfiable (DoNotSchedule or ScheduleAnyway)";
        let is_whole = constraint["maxSkew"].as_i64().is_some_and(|skew| skew > 0)
            && constraint["topologyKey"].as_str().is_some_and(is_name)
            && matches!(constraint["whenUnsatisfiable"].as_str(), Some("DoNotSchedule" | "ScheduleAnyway"));
        (!is_whole).then(|| Rejection::invalid(field, message))
    })
}

/// What Kubernetes cannot read, or does not know and would pass over: a field that is misspelt.
fn unknown<T: Serialize + DeserializeOwned>(field: &str, given: &Value) -> Option<Rejection> {
    let decoded = match serde_json::from_value::<T>(given.clone()) {
        Ok(decoded) => serde_json::to_value(decoded).expect("it was decoded from plain data"),
        Err(error) => return Some(Rejection::invalid(field, format!("Kubernetes cannot read it: {error}"))),
    };
    let lost = differences(given, &decoded).into_iter().next()?;
    Some(Rejection::invalid(
        format!("{field}.{}", lost.path),
        "Kubernetes knows no such field; look for its right name",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(pods: &str) -> Vec<String> {
        let pods: PodSettings = serde_saphyr::from_str(&format!("{{{pods}}}")).unwrap();
        complaints(&pods).into_iter().map(|complaint| complaint.field.replace("spec.pods.", "")).collect()
    }

    #[test]
    fn what_is_sluices_own_is_refused_by_its_field() {
        for (pods, field) in [
            ("labels: {app.kubernetes.io/name: mine}", "labels[app.kubernetes.io/name]"),
            ("labels: {sluice.dev/integration: other}", "labels[sluice.dev/integration]"),
            ("annotations: {sluice.dev/applied: x}", "annotations[sluice.dev/applied]"),
            ("env: [{name: HTTPS_PROXY, value: p}, {name: SLUICE_CONFIG, value: x}]", "env[1].name"),
            ("env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: x}]", "env[0].name"),
            ("env: [{name: HOSTNAME, value: x}]", "env[0].name"),
            ("env: [{name: SSL_CERT_FILE, value: x}]", "env[0].name"),
        ] {
            assert_eq!(judge(pods), [field], "{pods}");
        }
    }

    #[test]
    fn what_kubernetes_would_refuse_or_pass_over_is_refused_by_its_field() {
        for (pods, field) in [
            ("labels: {'a b': x}", "labels[a b]"),
            ("labels: {team: 'a b'}", "labels[team]"),
            ("annotations: {'x/y/z': a}", "annotations[x/y/z]"),
            ("nodeSelector: {'Example.com/zone': a}", "nodeSelector[Example.com/zone]"),
            ("affinity: {nodeAfinity: {a: 1}}", "affinity.nodeAfinity"),
            ("affinity: {nodeAffinity: 1}", "affinity"),
            (
                "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, term: {a: 1}}]}}",
                "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].term",
            ),
            ("topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone}]", "topologySpreadConstraints[0]"),
            (
                "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, skew: 1}]",
                "topologySpreadConstraints[0].skew",
            ),
        ] {
            assert_eq!(judge(pods), [field], "{pods}");
        }
    }

    #[test]
    fn what_is_said_about_shared_receivers_is_judged_alike() {
        let judge = |shared: &str| shared_complaints(&serde_saphyr::from_str(shared).unwrap());
        assert_eq!(judge("{replicas: 3, pods: {labels: {team: shop}}}"), Vec::<String>::new());
        let found = judge("{replicas: 0, pods: {env: [{name: HOSTNAME, value: x}]}}");
        assert!(found[0].starts_with("sharedReceivers.replicas"), "{found:?}");
        assert!(found[1].contains("sharedReceivers.pods.env[0].name"), "{found:?}");
    }

    #[test]
    fn what_users_expect_is_taken() {
        let pods = "labels: {app.kubernetes.io/instance: shop, team: ''}, annotations: {example.com/a: 'any text'}, \
                    nodeSelector: {kubernetes.io/arch: arm64}, tolerations: [{key: a, operator: Exists}], \
                    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: \
                    [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}, \
                    topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: \
                    DoNotSchedule}], env: [{name: NO_PROXY, value: .svc}]";
        assert_eq!(judge(pods), [""; 0]);
    }
}
