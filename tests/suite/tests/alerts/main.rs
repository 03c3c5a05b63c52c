//! The alerts of `manifests/monitoring`: what they are made of, when they fire, and whether the real programs make them fire.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod runbooks;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_crds::metrics::{CHAPTERS, Kind, Metric};
use sluice_suite::{
    World, checkout,
    definitions::definitions,
    flow::Flow,
    prometheus::{Prometheus, promtool},
    shop::payment,
    until,
    world::PATIENCE,
};
use tempfile::TempDir;

/// The rules as Prometheus itself reads them, and their file beside the tests of them.
fn rules() -> (Value, TempDir) {
    let manifest = fs::read_to_string(checkout("manifests/monitoring/rules.yaml").unwrap()).unwrap();
    let mut manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    let rules = manifest["spec"].take();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yaml"), serde_saphyr::to_string(&rules).unwrap()).unwrap();
    fs::write(folder.path().join("tests.yaml"), include_str!("tests.yaml")).unwrap();
    (rules, folder)
}

fn alerts(rules: &Value) -> Vec<Value> {
    let groups = rules["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
}

fn path(folder: &Path, file: &str) -> String {
    folder.join(file).display().to_string()
}

/// Every name in a text that can be one of our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sluice_") || word.starts_with("process_")).collect()
}

/// The names that samples of our metrics have.
fn samples() -> BTreeSet<String> {
    CHAPTERS.iter().flat_map(|chapter| chapter.metrics).flat_map(samples_of).collect()
}

fn samples_of(metric: &Metric) -> Vec<String> {
    match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)).to_vec(),
        Kind::Counter | Kind::Gauge | Kind::Info => vec![metric.name.to_owned()],
    }
}

/// What Prometheus itself knows of a pod that it asks.
const LABELS_OF_TARGETS: [&str; 6] = ["container", "endpoint", "instance", "job", "namespace", "pod"];

/// The labels that a query names: those it groups by, and those it selects by.
fn labels_in(query: &str) -> BTreeSet<&str> {
    let grouped = query.split("by (").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let selected = query.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let selected = selected.flat_map(|pairs| pairs.split(',')).filter_map(|pair| pair.split(['=', '!']).next());
    grouped.flat_map(|labels| labels.split(',')).chain(selected).map(str::trim).collect()
}

/// Fails where a query names a label that none of its metrics has.
fn assert_labels_exist(whose: &str, query: &str) {
    let asked_for = metrics_in(query);
    let is_asked_for = |metric: &&Metric| samples_of(metric).iter().any(|sample| asked_for.contains(sample.as_str()));
    let metrics = CHAPTERS.iter().flat_map(|chapter| chapter.metrics).filter(is_asked_for);
    let labels = |metric: &Metric| {
        let bucket = (metric.kind == Kind::Histogram).then_some("le");
        metric.labels.iter().map(|label| label.name).chain(bucket).collect::<Vec<_>>()
    };
    let known: BTreeSet<&str> = metrics.flat_map(labels).chain(LABELS_OF_TARGETS).collect();
    for label in labels_in(query) {
        assert!(known.contains(label), "{whose} names the label {label:?}, which none of its metrics has: {query}");
    }
}

#[test]
fn labels_are_found_where_a_query_groups_and_where_it_selects() {
    let query = r#"sum by (le, kind) (rate(a_bucket{verb="get",code!~"2.."}[1m])) / max by (pod) (b{name=~".*"})"#;
    assert_eq!(labels_in(query), ["code", "kind", "le", "name", "pod", "verb"].into());
}

#[test]
fn every_alert_is_about_metrics_and_labels_that_exist_and_has_a_runbook() {
    let (rules, _folder) = rules();
    let samples = samples();
    let mut runbooks = BTreeSet::new();
    for alert in alerts(&rules) {
        let name = alert["alert"].as_str().unwrap().to_owned();
        for metric in metrics_in(alert["expr"].as_str().unwrap()) {
            assert!(samples.contains(metric), "{name} is about {metric}, which no program has");
        }
        assert_labels_exist(&name, alert["expr"].as_str().unwrap());
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/runbooks/{name}.md")), "{url}");
        assert!(matches!(alert["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
        runbooks.insert(format!("{name}.md"));
    }
    let files = fs::read_dir(checkout("docs/runbooks").unwrap()).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, runbooks);
}

/// The queries of all dashboards, with something in the place of what Grafana fills in.
fn dashboard_queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for file in fs::read_dir(checkout("manifests/monitoring/dashboards").unwrap()).unwrap() {
        let path = file.unwrap().path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter();
        for target in panels.filter_map(|panel| panel["targets"].as_array()).flatten() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            queries.push((path.display().to_string(), query.replace("$namespace", ".*").replace("$integration", "i")));
        }
    }
    queries
}

/// What can be chosen in all dashboards: each the metric and the label whose values are offered.
fn dashboard_choices() -> Vec<(String, String)> {
    let mut choices = Vec::new();
    for file in fs::read_dir(checkout("manifests/monitoring/dashboards").unwrap()).unwrap() {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        for query in variables.iter().filter_map(|variable| variable["query"]["query"].as_str()) {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (series, label) = inner.rsplit_once(", ").unwrap();
            choices.push((series.split('{').next().unwrap().to_owned(), label.to_owned()));
        }
    }
    choices
}

#[test]
fn what_a_dashboard_lets_choose_is_a_label_of_a_metric() {
    let choices = dashboard_choices();
    assert!(choices.len() > 2, "{choices:?}");
    for (metric, label) in choices {
        let found = CHAPTERS.iter().flat_map(|chapter| chapter.metrics).find(|found| found.name == metric);
        let labels = found.map(|found| found.labels).unwrap_or_default();
        assert!(labels.iter().any(|known| known.name == label), "{metric} has no label {label}");
    }
}

#[test]
fn every_query_of_a_dashboard_is_about_metrics_and_labels_that_exist() {
    let (samples, queries) = (samples(), dashboard_queries());
    assert!(queries.len() > 20, "{queries:?}");
    for (dashboard, query) in queries {
        for metric in metrics_in(&query) {
            assert!(samples.contains(metric), "{dashboard} asks for {metric}, which no program has");
        }
        assert_labels_exist(&dashboard, &query);
        assert!(!query.contains('$'), "{dashboard} has a variable that nobody fills in: {query}");
    }
}

#[test]
fn promtool_takes_the_rules_and_they_fire_when_they_should() {
    let (_, folder) = rules();
    promtool(&["check", "rules", &path(folder.path(), "rules.yaml")]).unwrap();
    promtool(&["test", "rules", &path(folder.path(), "tests.yaml")]).unwrap();
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let (rules, _folder) = rules();
    let alerts: BTreeSet<_> = alerts(&rules).iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect();
    let tests: Value = serde_saphyr::from_str(include_str!("tests.yaml")).unwrap();
    let tests = tests["tests"].as_array().unwrap().iter().filter_map(|test| test["alert_rule_test"].as_array());
    let fires = |test: &&Value| test["exp_alerts"].as_array().is_some_and(|expected| !expected.is_empty());
    let firing = tests.flatten().filter(fires).map(|test| test["alertname"].as_str().unwrap().to_owned());
    assert_eq!(firing.collect::<BTreeSet<_>>(), alerts);
}

/// The definitions of the Prometheus Operator's kinds.
fn monitoring_definitions() -> PathBuf {
    let versions = [include_str!("prometheus-operator/go.mod"), include_str!("prometheus-operator/go.sum")];
    let module = "github.com/prometheus-operator/prometheus-operator";
    let files = "example/prometheus-operator-crd/*_{podmonitors,prometheusrules}.yaml";
    definitions("prometheus-operator", versions, module, files).unwrap()
}

#[tokio::test]
async fn the_api_server_takes_the_manifests() {
    let world = World::begin("monitoring").await.unwrap();
    let definitions = monitoring_definitions();
    for kind in ["podmonitors", "prometheusrules"] {
        let file = path(&definitions, &format!("monitoring.coreos.com_{kind}.yaml"));
        world.kubectl(&["apply", "--server-side", "-f", &file]).unwrap();
        let definition = format!("crd/{kind}.monitoring.coreos.com");
        world.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &definition]).unwrap();
    }
    let folder = checkout("manifests/monitoring").unwrap().display().to_string();
    let applied = until("the API server takes them", PATIENCE, || async {
        // kubectl may ask before the API server serves the new kinds.
        world
            .kubectl(&["apply", "--server-side", "--validate=strict", "-k", &folder])
            .map_err(|error| format!("{error:#}"))
    });
    let applied = applied.await.unwrap();
    for object in ["configmap/sluice-dashboards", "podmonitor", "prometheusrule.monitoring.coreos.com/sluice"] {
        assert!(applied.contains(object), "{applied}");
    }
}

#[tokio::test]
async fn prometheus_scrapes_the_programs_and_the_alerts_fire() {
    let world = World::begin("alerts").await.unwrap();
    let flow = Flow::open(&world, &[]).await.unwrap();
    let (rules, folder) = rules();
    let jobs = [
        ("sluice-operator", world.operator.status),
        ("sluice-receiver", flow.receiver.status),
        ("sluice-worker", flow.worker.status),
    ];
    let prometheus = Prometheus::start(&jobs, &[&folder.path().join("rules.yaml")]).await.unwrap();
    let scraped = || async {
        let found = prometheus.get("query", &[("query", "count(up == 1)")]).await.map_err(|error| error.to_string())?;
        if found["result"][0]["value"][1] == "3" { Ok(()) } else { Err(found.to_string()) }
    };
    until("Prometheus has scraped all three", PATIENCE, scraped).await.unwrap();

    flow.ledger.behave(&json!({"refuse": "customer-3"})).await.unwrap();
    assert_eq!(flow.sender.send("evt-3", &payment(3)).await.unwrap(), StatusCode::ACCEPTED);
    let integration = json!({"namespace": world.namespace, "integration": "to-ledger"});
    let fires = || async {
        let found = prometheus.get("alerts", &[]).await.map_err(|error| error.to_string())?;
        let is_ours = |alert: &Value| {
            let labels = &alert["labels"];
            labels["alertname"] == "SluiceDeadLetters"
                && alert["state"] == "firing"
                && labels["namespace"] == integration["namespace"]
                && labels["integration"] == integration["integration"]
        };
        if found["alerts"].as_array().is_some_and(|alerts| alerts.iter().any(is_ours)) {
            Ok(())
        } else {
            Err(found.to_string())
        }
    };
    until("SluiceDeadLetters fires", PATIENCE * 2, fires).await.unwrap();

    for (dashboard, query) in dashboard_queries() {
        let parsed = prometheus.get("query", &[("query", &query)]).await;
        assert!(parsed.is_ok(), "{dashboard}: {parsed:?}");
    }
    let evaluated = || async {
        let found = prometheus.get("rules", &[]).await.map_err(|error| error.to_string())?;
        let unhealthy: Vec<_> = alerts(&found).into_iter().filter(|rule| rule["health"] != "ok").collect();
        if unhealthy.is_empty() { Ok(alerts(&found).len()) } else { Err(format!("{unhealthy:?}")) }
    };
    let evaluated = until("every rule was evaluated", PATIENCE, evaluated).await.unwrap();
    assert_eq!(evaluated, alerts(&rules).len());
}
