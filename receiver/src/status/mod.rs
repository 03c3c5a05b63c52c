//! What the receiver says about itself: `/healthz`, `/readyz`, `/status`, `/metrics`.
//!
//! - `counters`: what is counted.
//! - `metrics`: the counts and the moment's numbers as Prometheus reads them.
//! - `many`: the same where a process serves many Webhooks.

mod counters;
pub(crate) mod many;
mod metrics;

use std::{path::PathBuf, sync::Arc, time};

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use sluice_crds::{Duration, wire::ReceiverStatus};

pub(crate) use self::counters::{Counters, Families};
use self::metrics::Metrics;
use crate::{link::Link, process::Process, receive::Receiver, secrets::KeyRing, server::Ending, shared::Shared};

/// What the answers are made of.
struct Observed {
    receiver: Arc<Receiver>,
    metrics: Metrics,
    ending: Ending,
}

/// The status endpoints of a receiver.
pub(crate) fn router(process: &Process, receiver: &Arc<Receiver>, ending: &Ending) -> Router {
    let observed = Observed { metrics: Metrics::of(process), receiver: Arc::clone(receiver), ending: ending.clone() };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        // So a person asks receivers of one Webhook as those of many.
        .route("/status/{webhook}", get(status))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(observed))
}

async fn ready(State(observed): State<Arc<Observed>>) -> (StatusCode, String) {
    let ring = observed.receiver.keys.current();
    let mut obstacles = obstacles(&ring, &observed.receiver.link.borrow());
    if observed.ending.announced.is_cancelled() {
        obstacles.push("the receiver is ending".to_owned());
    }
    match obstacles.as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        obstacles => (StatusCode::SERVICE_UNAVAILABLE, obstacles.join("\n") + "\n"),
    }
}

/// What keeps a receiver from taking any event. One secret of two is enough; Kafka has been met once.
fn obstacles(ring: &KeyRing, link: &Link) -> Vec<String> {
    let mut obstacles = Vec::new();
    if !ring.is_usable() {
        obstacles.extend(ring.unusable.iter().map(|unusable| unusable.reason.clone()));
    }
    if !link.topic_seen {
        obstacles.push(link.troubles().next().unwrap_or("Kafka has not answered yet").to_owned());
    }
    obstacles
}

async fn status(State(observed): State<Arc<Observed>>) -> Json<ReceiverStatus> {
    Json(of_receiver(&observed.receiver))
}

fn of_receiver(receiver: &Receiver) -> ReceiverStatus {
    let ring = receiver.keys.current();
    let signing = ring.unusable.iter().filter_map(|unusable| unusable.file.clone());
    let of_redis = receiver.shared.as_ref().and_then(Shared::unusable_file);
    let unusable_secrets: Vec<PathBuf> = signing.chain(of_redis).collect();
    let redis_trouble = receiver.shared.as_ref().and_then(Shared::trouble);
    let mut link = receiver.link.borrow().clone();
    // While Kafka cannot be written to at all, that is to be mended first.
    link.trouble = link.trouble.or_else(|| receiver.last_refusal.told(time::Instant::now()));
    ReceiverStatus {
        generation: receiver.endpoint.generation,
        paused: receiver.controls.borrow().paused,
        deduplication_window: duration(receiver.window()),
        unusable_secrets,
        trouble: trouble(&ring, &link, redis_trouble.as_deref()),
        credentials_trouble: credentials_trouble(&ring, &link),
        kafka_trouble: link.trouble,
        redis_trouble,
        ..receiver.counters.status()
    }
}

fn duration(time: time::Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// All that a person should look at, in one sentence each.
fn trouble(ring: &KeyRing, link: &Link, of_redis: Option<&str>) -> Option<String> {
    let secrets = ring.unusable.iter().map(|unusable| unusable.reason.as_str());
    joined(secrets.chain(link.troubles()).chain(of_redis))
}

/// What is wrong with credentials that are no files of Secrets that the Webhook names.
fn credentials_trouble(ring: &KeyRing, link: &Link) -> Option<String> {
    let published = ring.unusable.iter().filter(|unusable| unusable.file.is_none());
    joined(published.map(|unusable| unusable.reason.as_str()).chain(link.unusable_credentials.as_deref()))
}

fn joined<'a>(troubles: impl Iterator<Item = &'a str>) -> Option<String> {
    let troubles: Vec<_> = troubles.collect();
    (!troubles.is_empty()).then(|| troubles.join("; "))
}

async fn metrics(State(observed): State<Arc<Observed>>) -> ([(&'static str, &'static str); 1], String) {
    answer_metrics(observed.metrics.text([observed.receiver.as_ref()].into_iter()))
}

fn answer_metrics(text: String) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", sluice_telemetry::metrics::CONTENT_TYPE)], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secrets::Unusable, verify::Scheme};

    fn link(topic_seen: bool, trouble: Option<&str>) -> Link {
        Link { topic_seen, trouble: trouble.map(str::to_owned), ..Link::default() }
    }

    fn ring(usable: usize, unusable: usize) -> KeyRing {
        KeyRing {
            keys: (0..usable).map(|_| Scheme::GitHub.key(b"secret").unwrap()).collect(),
            unusable: vec![Unusable { file: Some("key".into()), reason: "key cannot be read".into() }; unusable],
        }
    }

    #[test]
    fn a_receiver_is_ready_when_it_has_met_kafka_and_has_a_secret() {
        let cases = [
            (ring(1, 0), link(true, None), vec![]),
            (ring(1, 1), link(true, Some("no answer")), vec![]),
            (ring(0, 0), link(true, None), vec![]),
            (ring(0, 1), link(true, None), vec!["key cannot be read"]),
            (ring(1, 0), link(false, None), vec!["Kafka has not answered yet"]),
            (ring(0, 1), link(false, Some("no answer")), vec!["key cannot be read", "no answer"]),
        ];
        for (ring, link, expected) in cases {
            assert_eq!(obstacles(&ring, &link), expected);
        }
    }

    #[test]
    fn trouble_is_told_even_where_it_is_no_obstacle() {
        assert_eq!(trouble(&ring(1, 0), &link(true, None), None), None);
        let told = trouble(&ring(1, 1), &link(true, Some("no answer")), Some("no Redis"));
        assert_eq!(told.as_deref(), Some("key cannot be read; no answer; no Redis"));
    }

    #[test]
    fn of_credentials_only_those_are_told_apart_that_are_no_secrets_of_the_webhook() {
        let unusable =
            |file: Option<&str>, reason: &str| Unusable { file: file.map(Into::into), reason: reason.into() };
        let ring =
            KeyRing { unusable: vec![unusable(Some("key"), "no key"), unusable(None, "no issuer")], ..ring(1, 0) };
        let told =
            credentials_trouble(&ring, &Link { unusable_credentials: Some("no login".into()), ..link(true, None) });
        assert_eq!(told.as_deref(), Some("no issuer; no login"));
        assert_eq!(credentials_trouble(&KeyRing::default(), &link(true, Some("no answer"))), None);
    }
}
