//! `/healthz`, `/readyz` and `/metrics`.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;

use crate::context::Context;

/// Serves until `shutdown` is done. It is ready once every kind in `ready` was listed.
pub async fn serve(
    address: SocketAddr,
    context: Arc<Context>,
    ready: [Arc<AtomicBool>; 3],
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let readiness = move || async move {
        if ready.iter().all(|listed| listed.load(Ordering::Acquire)) {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting")
        }
    };
    let metrics = move || async move {
        ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], context.metrics.text())
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "alive" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await.context("the status endpoint failed")
}
