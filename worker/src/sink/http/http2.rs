//! A connection of HTTP/2, which all requests share. A task of its own reads and writes it.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{
    client::Request,
    connect::{Failed, Io},
};

/// A connection of HTTP/2. Clones are the same; it ends after the last one and its requests.
#[derive(Clone)]
pub(super) struct Http2(SendRequest<Full<Bytes>>);

/// How long the connection may be silent, and how long it may take to answer when it is asked: one that leads nowhere must not be
/// waited for again and again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

impl Http2 {
    pub(super) async fn over(io: Io) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let (sender, connection) = builder.handshake(io).await?;
        // How it ends is told to who waits for an answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Gives the answer's head.
    pub(super) async fn send(&mut self, request: Request) -> Result<Response<Incoming>, Failed> {
        let copy = request.clone();
        self.0.try_send_request(request).await.map_err(|error| {
            let failed = Failed::from(error);
            let is_refused = is_refused(&failed.error, &copy);
            Failed { unsent: failed.unsent.or_else(|| is_refused.then(|| Box::new(copy))), ..failed }
        })
    }

    /// Whether it takes no request any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Whether the API says that it has not begun with the request: it ends the connection in good order, or takes no more streams
/// (RFC 9113, section 8.7).
fn is_refused(error: &hyper::Error, request: &Request) -> bool {
    let Some(error) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else { return false };
    // hyper says the same of a connection that ends while it takes the head of a request, which may be sent all the same: without a body
    // that is all of it.
    let is_over = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) && !request.body().is_end_stream();
    let is_too_many = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_over || is_too_many)
}
