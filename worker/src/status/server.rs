//! `/healthz`, `/readyz`, `/status` and `/metrics`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use sluice_telemetry::metrics as exposition;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use super::{Status, metrics};

/// A client that sends its request head more slowly is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>) {
    let routes = routes(&status);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(stream, routes.clone()))),
            // Out of file descriptors, or a client that went away: the next one may do better.
            Err(error) => {
                debug!("Status connection not accepted: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

fn routes(status: &Arc<Status>) -> Router {
    let registry = Arc::new(metrics::registry(status));
    let [alive, ready, report] = [status; 3].map(Arc::clone);
    Router::new()
        .route(
            "/healthz",
            get(move || async move { healthy(alive.is_alive(), "alive", "the source gives no sign of life") }),
        )
        .route("/readyz", get(move || async move { healthy(ready.is_ready(), "ready", "the source is not reached") }))
        .route("/status", get(move || async move { Json(report.report()) }))
        .route(
            "/metrics",
            get(move || async move { ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::text(&registry)) }),
        )
}

fn healthy(is: bool, yes: &'static str, no: &'static str) -> (StatusCode, &'static str) {
    if is { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

/// axum's own server sets no timer, so that slow heads would hold connections for ever.
async fn answer(stream: TcpStream, routes: Router) {
    let mut connections = Builder::new(TokioExecutor::new());
    connections.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let served = connections.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
    if let Err(error) = served {
        debug!("Status connection broke: {error}");
    }
}
