//! An API server that gives the answers that a test has written down, one after the other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

/// What was sent with each request; `null` where nothing was.
pub type Asked = Arc<Mutex<Vec<Value>>>;

/// A client of an API server that gives these answers, each with its code; who asks more gets none. Gives what is asked, too.
pub fn answers(answers: impl IntoIterator<Item = (u16, Value)>) -> (Client, Asked) {
    let left: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let answer = move |request: Request<Body>| {
        let (left, noted) = (Arc::clone(&left), Arc::clone(&noted));
        async move {
            let sent = request.into_body().collect().await?.to_bytes();
            noted.lock().expect("no test panics with it").push(serde_json::from_slice(&sent).unwrap_or_default());
            let next = left.lock().expect("no test panics with it").pop_front();
            let (code, body) = next.ok_or("no further answer is written down")?;
            Ok::<_, BoxError>(Response::builder().status(code).body(Full::new(Bytes::from(body.to_string())))?)
        }
    };
    (Client::new(service_fn(answer), "default"), asked)
}

/// The answer to a write over a version that is not the newest.
pub fn conflict() -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict", "message": "no",
    });
    (409, status)
}
