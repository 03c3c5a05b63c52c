//! What the Prometheus Operator makes of the PodMonitors: which pods it finds by them, and where it asks those.

use std::{collections::BTreeSet, fs};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use sluice_crds::metrics::process::BUILD;
use sluice_suite::{Shop, checkout, operator::SERVICE_ACCOUNT, until, world::PATIENCE};

/// As they stand in the manifests.
fn monitors() -> Vec<Value> {
    let text = fs::read_to_string(checkout("manifests/monitoring/podmonitors.yaml").unwrap()).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// A selector of labels as a list of pods takes it.
fn labels(selector: &Value) -> String {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let equal = equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap()));
    let within = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        assert_eq!(expression["operator"], "In");
        let values = expression["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap());
        format!("{} in ({})", expression["key"].as_str().unwrap(), values.collect::<Vec<_>>().join(","))
    });
    equal.chain(within).collect::<Vec<_>>().join(",")
}

/// The pods that a PodMonitor selects, of this shop and of the operator: those of other tests come and go.
async fn selected(shop: &Shop, monitor: &Value) -> Result<Vec<Pod>, String> {
    let spec = &monitor["spec"];
    let pods = if spec["namespaceSelector"]["any"] == true {
        Api::<Pod>::all(shop.client.clone())
    } else {
        Api::namespaced(shop.client.clone(), monitor["metadata"]["namespace"].as_str().unwrap())
    };
    let found = pods.list(&ListParams::default().labels(&labels(&spec["selector"]))).await;
    let mut found = found.map_err(|error| error.to_string())?.items;
    let ours = [shop.namespace.as_str(), SERVICE_ACCOUNT.0];
    found.retain(|pod| pod.namespace().is_some_and(|namespace| ours.contains(&namespace.as_str())));
    Ok(found)
}

/// Asks a pod as Prometheus would; gives the job that the answers belong to.
async fn scrape(shop: &Shop, monitor: &Value, pod: &Pod) -> Result<String, String> {
    let (spec, name) = (&monitor["spec"], pod.name_any());
    for endpoint in spec["podMetricsEndpoints"].as_array().unwrap() {
        let called = endpoint["port"].as_str().unwrap();
        let port = port(pod, called).ok_or_else(|| format!("{name} has no port {called:?}"))?;
        let namespace = pod.namespace().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let text = shop.client.request_text(request).await.map_err(|error| format!("{name}: {error}"))?;
        if !text.contains(BUILD.name) {
            return Err(format!("{name} answers {text}"));
        }
    }
    let label = spec["jobLabel"].as_str().unwrap();
    pod.labels().get(label).cloned().ok_or_else(|| format!("{name} has no label {label:?}"))
}

/// The port of this name.
fn port(pod: &Pod, name: &str) -> Option<i32> {
    let mut ports = pod.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
    Some(ports.find(|port| port.name.as_deref() == Some(name))?.container_port)
}

#[tokio::test]
async fn the_monitors_find_every_program_and_it_answers_at_the_port_that_they_name() {
    let shop = Shop::open("monitored", |_| ()).await.unwrap();
    let monitors = monitors();
    // By these names the alerts know the programs.
    let programs = BTreeSet::from(["sluice-operator", "sluice-receiver", "sluice-worker"].map(str::to_owned));
    until("every program is found", PATIENCE, || async {
        let mut jobs = BTreeSet::new();
        for monitor in &monitors {
            for pod in selected(&shop, monitor).await? {
                jobs.insert(scrape(&shop, monitor, &pod).await?);
            }
        }
        if jobs == programs { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await
    .unwrap();
}
