//! Exemplars: the traces that the histograms of durations name.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_crds::metrics::{Metric, receiver::CONFIRMATION_DURATION, worker::DELIVERY_DURATION};
use sluice_suite::{
    collector::Seen,
    exposition::{Exemplar, Exposition},
    planes::Plane,
    prometheus::Prometheus,
    until,
    world::PATIENCE,
};

use super::path::Path;

/// Each program names its own of these spans of an event's way, which are in order, and nothing else.
pub async fn are_of(path: &Path, seen: &[Seen]) {
    for (job, plane, metric, place) in programs(path) {
        let expected = Exemplar { trace: seen[place].trace.clone(), span: seen[place].id.clone() };
        let named = exemplars(plane, &metric).await;
        assert!(
            !named.is_empty() && named.iter().all(|named| *named == expected),
            "{job}: {named:?}, not {expected:?}"
        );
    }
}

/// Prometheus keeps what the programs name, and finds it by the queries of a dashboard.
pub async fn are_kept(path: &Path, trace: &str) {
    let jobs = programs(path).map(|(job, plane, ..)| (job, plane.status));
    let prometheus = Prometheus::start(&jobs, &[]).await.unwrap();
    for (job, _, metric, _) in programs(path) {
        let query = format!("histogram_quantile(0.95, rate({}_bucket{{job=\"{job}\"}}[1m]))", metric.name);
        until("Prometheus has the exemplar", PATIENCE, || async {
            let found = prometheus.get("query_exemplars", &[("query", &query)]).await;
            let found = found.map_err(|error| error.to_string())?;
            if traces(&found).contains(trace) { Ok(()) } else { Err(found.to_string()) }
        })
        .await
        .unwrap();
    }
}

/// No program names anything.
pub async fn are_none(path: &Path) {
    for (job, plane, metric, _) in programs(path) {
        let named = exemplars(plane, &metric).await;
        assert!(named.is_empty(), "{job}: {named:?}");
    }
}

/// Those that an event passes, in order, each with its histogram and the place of its span on the event's way.
fn programs(path: &Path) -> [(&'static str, &Plane, Metric, usize); 3] {
    [
        ("receiver", &path.receiver, CONFIRMATION_DURATION, 0),
        ("between", &path.between, DELIVERY_DURATION, 2),
        ("worker", &path.worker, DELIVERY_DURATION, 4),
    ]
}

async fn exemplars(plane: &Plane, metric: &Metric) -> Vec<Exemplar> {
    let answer = reqwest::get(format!("http://{}/metrics", plane.status)).await.unwrap();
    Exposition::read(&answer.text().await.unwrap()).exemplars(metric)
}

/// Those in an answer of Prometheus.
fn traces(found: &Value) -> BTreeSet<&str> {
    let series = found.as_array().into_iter().flatten();
    let exemplars = series.filter_map(|series| series["exemplars"].as_array()).flatten();
    exemplars.filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str()).collect()
}
