//! The API of the examples: it records what it is sent, each entry once, and can be told to misbehave.
//!
//! - `POST /entries` records an entry; a repeated `Idempotency-Key` is acknowledged and not recorded again.
//! - `GET /entries` shows the record.
//! - `PUT /behaviour` takes `{"unavailable": true}` (503 to everything) and `{"refuse": "<text>"}` (422 to what contains it).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{post, put},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Where it listens unless `LEDGER_LISTEN` says otherwise.
const LISTEN: &str = "0.0.0.0:8080";

/// What the API has been told and sent.
#[derive(Default)]
struct Ledger {
    behaviour: Behaviour,
    seen: HashSet<String>,
    record: Record,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Behaviour {
    unavailable: bool,
    refuse: Option<String>,
}

/// What `GET /entries` shows.
#[derive(Clone, Default, Serialize)]
struct Record {
    entries: Vec<Value>,
    repeated: u64,
}

type Shared = Arc<Mutex<Ledger>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let routes = Router::new()
        .route("/entries", post(record).get(show))
        .route("/behaviour", put(behave))
        .with_state(Shared::default());
    let listen = std::env::var("LEDGER_LISTEN").unwrap_or_else(|_| LISTEN.to_owned());
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        terminate.recv().await;
    };
    axum::serve(TcpListener::bind(listen).await?, routes).with_graceful_shutdown(stopped).await
}

async fn record(State(ledger): State<Shared>, headers: HeaderMap, Json(entry): Json<Value>) -> StatusCode {
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    if ledger.behaviour.unavailable {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if ledger.behaviour.refuse.as_ref().is_some_and(|text| entry.to_string().contains(text)) {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    let key = headers.get("Idempotency-Key").and_then(|key| key.to_str().ok());
    if key.is_some_and(|key| !ledger.seen.insert(key.to_owned())) {
        ledger.record.repeated += 1;
        return StatusCode::OK;
    }
    ledger.record.entries.push(entry);
    StatusCode::CREATED
}

async fn show(State(ledger): State<Shared>) -> Json<Record> {
    Json(ledger.lock().unwrap_or_else(PoisonError::into_inner).record.clone())
}

async fn behave(State(ledger): State<Shared>, Json(behaviour): Json<Behaviour>) -> StatusCode {
    ledger.lock().unwrap_or_else(PoisonError::into_inner).behaviour = behaviour;
    StatusCode::NO_CONTENT
}
