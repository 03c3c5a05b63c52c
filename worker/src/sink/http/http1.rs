//! A connection of HTTP/1. No task of its own reads and writes it: who waits for an answer does that meanwhile, so that a request
//! wakes nobody else.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Waker},
};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1::{self, SendRequest},
};
use tokio::{task::unconstrained, time::Instant};

use super::{
    client::Request,
    connect::{Failed, Io},
};

/// A connection of HTTP/1, for one request at a time. Dropped, it is closed.
pub(super) struct Http1 {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
    /// When it was last used.
    pub(super) used: Instant,
}

/// Reads and writes when it is polled. Dropped at its end, it gives back what it has not begun to write.
type Driver = http1::Connection<Io, Full<Bytes>>;

impl Http1 {
    pub(super) async fn over(io: Io) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(io).await?;
        Ok(Self { sender, driver: Some(driver), used: Instant::now() })
    }

    /// Gives the answer's head. Its body is read by [`Http1::frame`].
    pub(super) async fn send(&mut self, request: Request) -> Result<Response<Incoming>, Failed> {
        let Self { sender, driver, .. } = self;
        drive(driver, sender.try_send_request(request)).await.map_err(Failed::from)
    }

    /// The next part of the body of an answer that came over this connection.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        drive(&mut self.driver, body.frame()).await
    }

    /// Whether it takes another request: the last one was written and its answer read, and neither side ends it. Who waited for the answer is
    /// woken no more by what happens to it from now on, such as its next request.
    pub(super) fn rests(&mut self) -> bool {
        advance(&mut self.driver, &mut unheard());
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Reads and writes until there is what is waited for. Only that brings it about, so that nobody is woken for it: whoever drives is here. Nor may it
/// be put off then, which it would have to be woken from.
async fn drive<T>(driver: &mut Option<Driver>, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(unconstrained(wanted));
    poll_fn(|context| {
        advance(driver, context);
        wanted.as_mut().poll(&mut unheard())
    })
    .await
}

/// Reads and writes what there is.
fn advance(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(context).is_ready()) {
        // How it ended is told to who waits for the answer.
        *driver = None;
    }
}

/// Wakes nobody.
fn unheard() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
