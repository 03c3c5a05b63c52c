//! What receivers of many Webhooks say about themselves, and of each of these: `/status/<name>`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use http::StatusCode;
use serde_json::{Value, json};
use sluice_crds::wire::ReceiverStatus;

use super::{answer_metrics, metrics::Metrics, of_receiver};
use crate::{
    link::Link,
    many::{Many, Served},
    server::Ending,
};

/// What the answers are made of.
struct Observed {
    many: Arc<Many>,
    metrics: Metrics,
    ending: Ending,
    /// Whether it was ready once. From then on each Webhook answers for itself, with 503 where it must.
    was_ready: AtomicBool,
}

/// The status endpoints.
pub(crate) fn router(many: &Arc<Many>, ending: &Ending) -> Router {
    let observed = Observed {
        metrics: Metrics::of(many.process()),
        many: Arc::clone(many),
        ending: ending.clone(),
        was_ready: AtomicBool::new(false),
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/status/{webhook}", get(status_of))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(observed))
}

impl Observed {
    fn obstacle(&self) -> Option<String> {
        if self.was_ready.load(Ordering::Relaxed) {
            return None;
        }
        let links: Vec<Link> = self.many.served().receivers().map(|receiver| receiver.link.borrow().clone()).collect();
        let obstacle = obstacle(&links);
        self.was_ready.store(obstacle.is_none(), Ordering::Relaxed);
        obstacle
    }
}

/// What keeps a process from taking events that has just begun: that it has not heard of Kafka for each of its Webhooks, or that Kafka knows
/// the topics of none. What is wrong with one of several keeps nobody else from theirs.
fn obstacle(links: &[Link]) -> Option<String> {
    let is_asked = |link: &Link| !link.topic_seen && link.troubles().next().is_none();
    if links.iter().any(is_asked) {
        return Some("Kafka has not answered yet".to_owned());
    }
    if links.iter().any(|link| link.topic_seen) {
        return None;
    }
    links.iter().find_map(|link| link.troubles().next()).map(str::to_owned)
}

async fn ready(State(observed): State<Arc<Observed>>) -> (StatusCode, String) {
    let ending = observed.ending.announced.is_cancelled().then(|| "the receiver is ending".to_owned());
    match ending.or_else(|| observed.obstacle()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, obstacle + "\n"),
    }
}

async fn status(State(observed): State<Arc<Observed>>) -> Json<Value> {
    Json(json!({"webhooks": observed.many.served().count(), "trouble": observed.obstacle()}))
}

async fn status_of(State(observed): State<Arc<Observed>>, Path(webhook): Path<String>) -> Json<ReceiverStatus> {
    // Without an instance, where nothing is known of it: its configuration may be on the way.
    Json(of_webhook(&observed.many.served(), &webhook).unwrap_or_default())
}

fn of_webhook(served: &Served, webhook: &str) -> Option<ReceiverStatus> {
    let shown = served.webhook(webhook)?;
    let status = shown.receiver.as_ref().map(|receiver| of_receiver(receiver)).unwrap_or_default();
    Some(ReceiverStatus {
        revision: shown.revision.clone(),
        configuration_trouble: shown.trouble.clone(),
        trouble: shown.trouble.clone().or(status.trouble),
        ..status
    })
}

async fn metrics(State(observed): State<Arc<Observed>>) -> ([(&'static str, &'static str); 1], String) {
    answer_metrics(observed.metrics.text(observed.many.served().receivers().map(Arc::as_ref)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(topic_seen: bool, trouble: Option<&str>) -> Link {
        Link { topic_seen, trouble: trouble.map(str::to_owned), ..Link::default() }
    }

    #[test]
    fn what_is_wrong_with_one_webhook_keeps_no_other_one_from_its_events() {
        let asked = "Kafka has not answered yet";
        for (links, expected) in [
            (vec![], None),
            (vec![link(true, None), link(false, Some("no topic"))], None),
            (vec![link(true, None), link(false, None)], Some(asked)),
            (vec![link(false, Some("no topic")), link(false, Some("no answer"))], Some("no topic")),
            (vec![link(true, Some("no answer"))], None),
        ] {
            assert_eq!(obstacle(&links).as_deref(), expected, "{links:?}");
        }
    }
}
