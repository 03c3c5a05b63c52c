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

    /// Lets it come to rest after an answer that was read to its end: who waited for that is woken no more by what happens to it from now on,
    /// such as its next request. Says whether it takes another one: the last one was written, and neither side ends it.
    pub(super) fn comes_to_rest(&mut self) -> bool {
        advance(&mut self.driver, &mut unheard());
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Reads and writes until what is wanted is there. Nothing else brings it about, so it is polled with a waker that wakes nobody: whoever drives is
/// here. And without tokio's budget, which would put it off and rely on that waker.
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn connection() -> (Http1, DuplexStream) {
        let (own, api) = duplex(1024);
        (Http1::over(Box::new(TokioIo::new(own))).await.unwrap(), api)
    }

    fn request() -> Request {
        http::Request::get("/").header("host", "api").body(Full::default()).unwrap()
    }

    /// Takes a request and answers it.
    async fn answer(api: &mut DuplexStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(api.read_buf(&mut request).await.unwrap() > 0);
        }
        api.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Who waited for the answer to a request: he was woken once, when it came.
    async fn exchange(connection: &mut Http1, api: &mut DuplexStream) -> Arc<Woken> {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut sent = pin!(connection.send(request()));
        assert!(sent.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.times(), 0, "he sends it himself");
        answer(api).await;
        assert_eq!(woken.times(), 1);
        assert!(sent.as_mut().poll(&mut context).is_ready());
        assert_eq!(woken.times(), 1, "he reads it himself");
        woken
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_his_answer_and_by_nothing_else() {
        let (mut connection, mut api) = connection().await;
        let first = exchange(&mut connection, &mut api).await;
        assert!(connection.comes_to_rest());
        exchange(&mut connection, &mut api).await;
        assert_eq!(first.times(), 1, "the next request is another one's");
    }
}
