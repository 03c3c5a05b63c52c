//! An HTTP server that keeps what it is sent.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

/// A server that runs; it ends when this is dropped.
pub struct Catcher {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Arc<Kept>,
    server: JoinHandle<()>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

#[derive(Default)]
struct Kept {
    caught: Mutex<Vec<Caught>>,
    /// What the next requests are answered with, before all are answered with 200.
    answers: Mutex<VecDeque<StatusCode>>,
    /// The text for which a request is refused, whatever the next answer is, and the answer that it gets instead.
    refused: Mutex<Option<(String, StatusCode)>>,
}

impl Catcher {
    /// Listens at an address of this machine.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, kept) = (listener.local_addr()?, Arc::<Kept>::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&kept)));
        Ok(Self { address, kept, server })
    }

    /// The next requests are answered with these; those after them with 200.
    pub fn answer(&self, answers: impl IntoIterator<Item = StatusCode>) {
        self.kept.answers.lock().unwrap_or_else(PoisonError::into_inner).extend(answers);
    }

    /// From now on every request whose body holds this text is answered with that; the empty one is in every body.
    pub fn refuse(&self, text: &str, answer: StatusCode) {
        *self.kept.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((text.to_owned(), answer));
    }

    /// No request is refused any more for what it holds.
    pub fn refuse_none(&self) {
        *self.kept.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// All that came so far, in order.
    pub fn caught(&self) -> Vec<Caught> {
        self.kept.caught.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Caught {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Kept {
    /// What a request with this body is answered with.
    fn answer(&self, body: &[u8]) -> StatusCode {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refused {
            Some((text, answer)) if String::from_utf8_lossy(body).contains(text.as_str()) => *answer,
            _ => self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(StatusCode::OK),
        }
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, kept: Arc<Kept>) {
    while let Ok((stream, _)) = listener.accept().await {
        let kept = Arc::clone(&kept);
        let service = service_fn(move |request| answer(request, Arc::clone(&kept)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, kept: Arc<Kept>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Full::default());
    match body.collect().await {
        Ok(body) => {
            let caught = Caught { headers: head.headers, body: body.to_bytes() };
            *response.status_mut() = kept.answer(&caught.body);
            kept.caught.lock().unwrap_or_else(PoisonError::into_inner).push(caught);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}
