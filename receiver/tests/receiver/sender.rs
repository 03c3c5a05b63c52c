//! An HTTP client that signs as GitHub does.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::running::{PATH, Running, SECRET};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A sender and its connections.
#[derive(Clone)]
pub(crate) struct Sender {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
}

/// What a sender was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Sender {
    /// Keeps its connections as a gateway does.
    pub(crate) fn to(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        Self { client, address }
    }

    /// Speaks HTTP/2 from the first byte.
    pub(crate) fn http2(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).http2_only(true).build_http(), address }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Error> {
        self.send(self.request(Method::GET, path).body(full("")).unwrap()).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    /// Sends an event with an id, signed with a secret.
    pub(crate) async fn signed(&self, secret: &[u8], id: &str, body: impl Into<Bytes>) -> Result<Answer, Error> {
        self.send(self.event(secret, id, body)).await
    }

    /// A request of GitHub's.
    pub(crate) fn event(&self, secret: &[u8], id: &str, body: impl Into<Bytes>) -> Request<Body> {
        let body: Bytes = body.into();
        let request = self.request(Method::POST, PATH).header("x-github-delivery", id).header("x-github-event", "push");
        request.header("x-hub-signature-256", sign(secret, &body)).body(full(body)).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Answer, Error> {
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await.expect("a receiver's answers are short").to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Running {
    /// Sends an event with a new id, signed with the usual secret.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        Sender::to(self.endpoint).signed(SECRET, &fresh_id(), body).await.unwrap()
    }
}

/// An id that no other event of this run has.
pub(crate) fn fresh_id() -> String {
    static EVENTS: AtomicUsize = AtomicUsize::new(0);
    format!("event-{}", EVENTS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn sign(secret: &[u8], body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

/// The bytes of a request of GitHub's whose body is `{}`.
pub(crate) fn raw_event(id: &str) -> String {
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: receiver\r\ncontent-length: 2\r\nx-github-delivery: {id}\r\n");
    format!("{head}x-hub-signature-256: {}\r\n\r\n{{}}", sign(SECRET, b"{}"))
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}
