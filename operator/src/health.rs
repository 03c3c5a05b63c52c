//! `/healthz`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use sluice_telemetry::metrics;
use tokio::net::TcpListener;

use crate::{context::Context, watch::Answered};

/// Serves for ever. A replica is ready once everything was listed, also while another one leads.
pub async fn serve(address: SocketAddr, context: Arc<Context>, answered: Answered) -> anyhow::Result<()> {
    let readiness = move || async move {
        if answered.is_all() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting") }
    };
    let metrics = move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], context.metrics_text()) };
    let routes = Router::new()
        .route("/healthz", get(|| async { "alive" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, routes).await.context("the status endpoint failed")
}
