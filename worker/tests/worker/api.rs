//! An HTTP API that records what it gets and answers by a script.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse, response::Response, serve::Listener};
use http::{HeaderMap, HeaderValue, StatusCode, Version, request::Parts};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::until;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// Method, path and query, such as `POST /entries`.
    pub(crate) line: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// Whether it has a body at all.
    pub(crate) is_empty: bool,
    pub(crate) body: serde_json::Value,
    /// The same as it came, whatever it is.
    pub(crate) bytes: Bytes,
    /// Requests with the same idempotency key that came before.
    pub(crate) before: usize,
    /// Whether it was answered with success.
    pub(crate) taken: bool,
}

/// What is answered, and after how long.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) after: Duration,
}

type Script = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    script: Script,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// Requests by idempotency key.
    attempts: HashMap<HeaderValue, usize>,
    /// How often each `n` was taken.
    numbers: BTreeMap<i64, usize>,
}

/// The API. It ends with the test.
pub(crate) struct Api {
    shared: Arc<Shared>,
    pub(crate) url: String,
    server: JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Api {
    /// Takes everything.
    pub(crate) async fn willing() -> Self {
        Self::scripted(|_| status(200)).await
    }

    /// Answers as the script says.
    pub(crate) async fn scripted(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// Answers those who get through to it.
    pub(crate) fn at<L>(listener: L, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let shared = Arc::new(Shared { script: Box::new(script), seen: Mutex::default() });
        let url = format!("http://{}/entries", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { shared, url, server }
    }

    /// All requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().requests.clone()
    }

    /// The bodies that were taken, in the order in which they came.
    pub(crate) fn taken(&self) -> Vec<serde_json::Value> {
        self.requests().into_iter().filter(|request| request.taken).map(|request| request.body).collect()
    }

    /// How often each `n` was taken.
    pub(crate) fn numbers(&self) -> BTreeMap<i64, usize> {
        self.shared.seen.lock().unwrap().numbers.clone()
    }

    /// Waits until so many different numbers were taken, as long as more of them come.
    pub(crate) async fn until_numbers(&self, different: usize) {
        let look = async || self.shared.seen.lock().unwrap().numbers.len();
        let mut taken = look().await;
        while taken < different {
            let what = format!("more than {taken} of {different} different numbers");
            taken = until(&what, look, |seen| *seen > taken).await;
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, parts: Parts, body: Bytes) -> Response {
    let Answer { status, headers, body, after } = shared.take(parts, &body);
    // An API takes its time: this is what the wait is for.
    drop(tokio::time::timeout(after, std::future::pending::<()>()).await);
    (status, headers, body).into_response()
}

impl Shared {
    fn take(&self, parts: Parts, bytes: &Bytes) -> Answer {
        let Parts { method, uri, version, headers, .. } = parts;
        let line = format!("{method} {}", uri.path_and_query().unwrap());
        let mut seen = self.seen.lock().unwrap();
        let attempts = seen.attempts.entry(headers["idempotency-key"].clone()).or_default();
        let before = *attempts;
        *attempts += 1;
        let (at, is_empty, bytes) = (Instant::now(), bytes.is_empty(), bytes.clone());
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut request = Request { at, line, version, headers, is_empty, body, bytes, before, taken: false };
        let answer = (self.script)(&request);
        request.taken = answer.status.is_success();
        if let (true, Some(number)) = (request.taken, request.body["n"].as_i64()) {
            *seen.numbers.entry(number).or_default() += 1;
        }
        seen.requests.push(request);
        answer
    }
}

/// An answer without a body, at once.
pub(crate) fn status(code: u16) -> Answer {
    let status = StatusCode::from_u16(code).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Vec::new(), after: Duration::ZERO }
}
