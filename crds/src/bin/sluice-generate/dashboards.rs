//! Dashboards for Grafana. Their queries are made of the definitions of the metrics, so none asks for what no program has.

use serde_json::{Value, json};
use sluice_crds::metrics::{Label, Metric, labels, operator, process, receiver, resource, worker};

/// A dashboard, by the name of its file.
struct Dashboard {
    file: &'static str,
    title: &'static str,
    /// What can be chosen.
    choices: Vec<Choice>,
    rows: Vec<Row>,
}

/// What can be chosen: the values of a label of the resources that exist, whether anything runs for them or not.
struct Choice {
    name: &'static str,
    label: Label,
    /// Which resources.
    of: &'static str,
}

/// Panels side by side under a heading.
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

struct Panel {
    title: &'static str,
    /// In Grafana's words.
    unit: &'static str,
    /// Each with its legend.
    queries: Vec<(String, &'static str)>,
}

/// Histograms whose buckets name traces, where tracing is on.
const TRACED: [Metric; 2] = [receiver::CONFIRMATION_DURATION, worker::DELIVERY_DURATION];

const WIDTH: usize = 24;
const HEIGHT: usize = 8;

/// The dashboards as JSON, by path in the repository.
pub(crate) fn files() -> Vec<(String, String)> {
    let dashboards = [overview(), integration(), operator()];
    let file = |dashboard: &Dashboard| {
        let text = serde_json::to_string_pretty(&json(dashboard)).expect("a dashboard is plain data");
        (format!("manifests/monitoring/dashboards/{}.json", dashboard.file), text + "\n")
    };
    dashboards.iter().map(file).collect()
}

fn overview() -> Dashboard {
    let webhook = "namespace, webhook";
    let integration = "namespace, integration";
    Dashboard {
        file: "overview",
        title: "Sluice: overview",
        choices: vec![Choice { name: "namespace", label: labels::NAMESPACE, of: "" }],
        rows: vec![
            Row {
                title: "Webhooks",
                panels: vec![
                    rates("Events accepted", webhook, receiver::EVENTS_ACCEPTED, IN_NAMESPACE),
                    rates("Requests refused", "namespace, webhook, reason", receiver::REQUESTS_REJECTED, IN_NAMESPACE),
                    rates("Events deferred", "namespace, webhook, reason", receiver::REQUESTS_DEFERRED, IN_NAMESPACE),
                    quantiles(
                        "Time until Kafka confirmed (p95)",
                        webhook,
                        receiver::CONFIRMATION_DURATION,
                        IN_NAMESPACE,
                    ),
                ],
            },
            Row {
                title: "Integrations",
                panels: vec![
                    highest("Records that wait", integration, resource::LAG, "short", IN_NAMESPACE),
                    highest("The oldest has waited for", integration, resource::OLDEST_WAITING, "s", IN_NAMESPACE),
                    rates("Records delivered", integration, worker::RECORDS_DELIVERED, IN_NAMESPACE),
                    rates("Records dead-lettered", integration, worker::RECORDS_DEAD_LETTERED, IN_NAMESPACE),
                    gauges("Records not settled", integration, worker::RECORDS_UNSETTLED, "short", IN_NAMESPACE),
                    quantiles("Time of a delivery (p95)", integration, worker::DELIVERY_DURATION, IN_NAMESPACE),
                    highest("Circuit is open", integration, worker::CIRCUIT_OPEN, "short", IN_NAMESPACE),
                    gauges(
                        "Partitions that have stopped",
                        integration,
                        worker::PARTITIONS_HALTED,
                        "short",
                        IN_NAMESPACE,
                    ),
                ],
            },
            Row {
                title: "Resources",
                panels: vec![lowest("Ready", "kind, namespace, name", resource::READY, IN_NAMESPACE)],
            },
        ],
    }
}

fn integration() -> Dashboard {
    const OF: &str = "namespace=\"$namespace\",integration=\"$integration\"";
    let fates = [
        (worker::RECORDS_DELIVERED, "delivered"),
        (worker::RECORDS_SKIPPED, "skipped"),
        (worker::RECORDS_DEAD_LETTERED, "dead-lettered"),
        (worker::RECORDS_RETURNED, "returned"),
    ];
    Dashboard {
        file: "integration",
        title: "Sluice: one Integration",
        choices: vec![
            Choice { name: "namespace", label: labels::NAMESPACE, of: "kind=\"Integration\"" },
            Choice { name: "integration", label: labels::NAME, of: "kind=\"Integration\",namespace=\"$namespace\"" },
        ],
        rows: vec![
            Row {
                title: "How far behind",
                panels: vec![
                    highest("Records that wait", "integration", resource::LAG, "short", OF),
                    highest("The oldest has waited for", "integration", resource::OLDEST_WAITING, "s", OF),
                    highest("Dead letters that are kept", "integration", resource::DEAD_LETTERS, "short", OF),
                    rates("Records that Kafka deleted unread", "integration", worker::RECORDS_GONE, OF),
                ],
            },
            Row {
                title: "Records",
                panels: vec![
                    rates("Read", "integration", worker::RECORDS_RECEIVED, OF),
                    Panel {
                        title: "What became of them",
                        unit: "cps",
                        queries: fates.map(|(metric, legend)| (rate("integration", metric, OF), legend)).to_vec(),
                    },
                    gauges("Not settled", "pod", worker::RECORDS_UNSETTLED, "short", OF),
                    gauges("Partitions", "pod", worker::PARTITIONS, "short", OF),
                ],
            },
            Row {
                title: "Deliveries",
                panels: vec![
                    Panel {
                        title: "Time of an attempt",
                        unit: "s",
                        queries: [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")]
                            .map(|(share, legend)| {
                                (quantile(share, "integration", worker::DELIVERY_DURATION, OF), legend)
                            })
                            .to_vec(),
                    },
                    rates("Attempts that are repeated", "integration", worker::DELIVERY_RETRIES, OF),
                    highest("Circuit is open", "pod", worker::CIRCUIT_OPEN, "short", OF),
                    gauges("Partitions that have stopped", "pod", worker::PARTITIONS_HALTED, "short", OF),
                ],
            },
        ],
    }
}

fn operator() -> Dashboard {
    const OF: &str = "job=\"sluice-operator\"";
    Dashboard {
        file: "operator",
        title: "Sluice: operator",
        choices: Vec::new(),
        rows: vec![
            Row {
                title: "Passes",
                panels: vec![
                    gauges("Leads", "pod", operator::LEADER, "short", ""),
                    rates("Passes", "kind, outcome", operator::RECONCILES, ""),
                    quantiles("Time of a pass (p95)", "kind", operator::RECONCILE_DURATION, ""),
                    gauges("Waiting", "kind", operator::QUEUE_DEPTH, "short", ""),
                    gauges("Oldest pass under way", "kind", operator::RECONCILE_OLDEST, "s", ""),
                    gauges("Resources", "kind", operator::RESOURCES, "short", ""),
                ],
            },
            Row {
                title: "Requests",
                panels: vec![
                    rates("To the API server", "verb, code", operator::API_REQUESTS, ""),
                    rates("To Kafka", "cluster, request", operator::KAFKA_REQUESTS, ""),
                    rates("To schema registries", "registry, code", operator::REGISTRY_REQUESTS, ""),
                    rates("Events that were lost", "pod", operator::EVENTS_LOST, ""),
                ],
            },
            Row {
                title: "Process",
                panels: vec![
                    rates("CPU", "pod", process::CPU, OF),
                    gauges("Memory", "pod", process::MEMORY, "bytes", OF),
                ],
            },
        ],
    }
}

const IN_NAMESPACE: &str = "namespace=~\"$namespace\"";

/// How often something happens; of seconds, which share of the time.
fn rates(title: &'static str, by: &str, metric: Metric, of: &str) -> Panel {
    let unit = if metric.unit() == Some("seconds") { "percentunit" } else { "cps" };
    Panel { title, unit, queries: vec![(rate(by, metric, of), "")] }
}

fn rate(by: &str, metric: Metric, of: &str) -> String {
    format!("sum by ({by}) (rate({}{}[$__rate_interval]))", metric.name, selector(of))
}

/// How it stands, of all together.
fn gauges(title: &'static str, by: &str, metric: Metric, unit: &'static str, of: &str) -> Panel {
    Panel { title, unit, queries: vec![(gauge("sum", by, metric, of), "")] }
}

/// How it stands where it is highest: what several tell of one thing is no sum.
fn highest(title: &'static str, by: &str, metric: Metric, unit: &'static str, of: &str) -> Panel {
    Panel { title, unit, queries: vec![(gauge("max", by, metric, of), "")] }
}

/// How it stands where it is lowest.
fn lowest(title: &'static str, by: &str, metric: Metric, of: &str) -> Panel {
    Panel { title, unit: "short", queries: vec![(gauge("min", by, metric, of), "")] }
}

fn gauge(joined: &str, by: &str, metric: Metric, of: &str) -> String {
    format!("{joined} by ({by}) ({}{})", metric.name, selector(of))
}

/// What 95 % stay below.
fn quantiles(title: &'static str, by: &str, metric: Metric, of: &str) -> Panel {
    Panel { title, unit: "s", queries: vec![(quantile("0.95", by, metric, of), "")] }
}

fn quantile(share: &str, by: &str, metric: Metric, of: &str) -> String {
    let counted = format!("rate({}_bucket{}[$__rate_interval])", metric.name, selector(of));
    format!("histogram_quantile({share}, sum by (le, {by}) ({counted}))")
}

fn selector(of: &str) -> String {
    if of.is_empty() { String::new() } else { format!("{{{of}}}") }
}

fn json(dashboard: &Dashboard) -> Value {
    let source = json!({"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"});
    let choices = dashboard.choices.iter().map(|Choice { name, label, of }| {
        let all = dashboard.file == "overview";
        let query = format!("label_values({}{}, {})", resource::READY.name, selector(of), label.name);
        json!({
            "name": name, "type": "query", "datasource": prometheus(), "refresh": 2, "sort": 1,
            "includeAll": all, "multi": all, "allValue": ".*",
            "query": {"query": query, "refId": name},
        })
    });
    let variables: Vec<_> = [source].into_iter().chain(choices).collect();
    json!({
        "uid": format!("sluice-{}", dashboard.file),
        "title": dashboard.title,
        "tags": ["sluice"],
        "schemaVersion": 39,
        "editable": false,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels(&dashboard.rows),
    })
}

fn prometheus() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// All panels at their places, two in a line.
fn panels(rows: &[Row]) -> Vec<Value> {
    let (mut panels, mut y) = (Vec::new(), 0);
    for row in rows {
        let id = panels.len() + 1;
        panels.push(json!({"id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}));
        y += 1;
        for pair in row.panels.chunks(2) {
            for (column, panel) in pair.iter().enumerate() {
                let id = panels.len() + 1;
                panels.push(self::panel(
                    panel,
                    id,
                    &json!({"x": column * WIDTH / 2, "y": y, "w": WIDTH / 2, "h": HEIGHT}),
                ));
            }
            y += HEIGHT;
        }
    }
    panels
}

fn panel(panel: &Panel, id: usize, place: &Value) -> Value {
    let target = |(number, (query, legend)): (usize, &(String, &str))| {
        let legend = if legend.is_empty() { "__auto" } else { legend };
        let traced = TRACED.iter().any(|metric| query.contains(metric.name));
        json!({
            "refId": format!("Q{number}"), "datasource": prometheus(), "expr": query, "legendFormat": legend,
            "exemplar": traced,
        })
    };
    json!({
        "id": id, "type": "timeseries", "title": panel.title, "datasource": prometheus(), "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": panel.queries.iter().enumerate().map(target).collect::<Vec<_>>(),
    })
}
