//! Sends requests to one API and gives its answers.
//!
//! Written for that alone, on hyper's connections: a client for any address judges each request anew (redirects, cookies, which pool and
//! which proxy), and that costs as much as the request itself.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use sluice_crds::Refused;
use sluice_outgoing::Guard;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    answer::Parts,
    causes,
    connect::{Connector, Failed, Route, tcp},
    http1::Http1,
    origin::Origin,
    pool::{Lease, Pool},
    with_causes,
};

/// Sends requests to one API.
pub(super) struct Client {
    origin: Origin,
    pool: Arc<Pool>,
}

/// A request: its address is what comes after the origin, the client knows the rest.
pub(super) type Request = http::Request<Full<Bytes>>;

/// What an API answered.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body<'a>,
}

/// The rest of an answer, until the attempt's deadline. Read to its end, its connection can be used again; dropped before, that is closed.
pub(super) struct Body<'a> {
    incoming: Incoming,
    has_ended: bool,
    deadline: Instant,
    /// What it comes over, where no other answer does so.
    connection: Option<Box<Http1>>,
    pool: &'a Pool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It did not come in time.
    Timeout,
    /// The API's address is not called.
    Refused(Refused),
    /// There is no connection to the API.
    Connect(String),
    /// There was one.
    Broken(String),
}

/// As what the worker makes itself known.
pub(super) const USER: &str = concat!("sluice-worker/", env!("CARGO_PKG_VERSION"));
/// How often a request is made again that an API says it has not begun with.
const REPEATS: u32 = 2;

impl Client {
    /// For the API at this address. Nothing is connected yet. No connection may take longer than the patience to be made.
    pub(super) fn new(url: &Url, tls: &ClientConfig, guard: &Guard, patience: Duration) -> anyhow::Result<Self> {
        let origin = Origin::of(url)?;
        let route = Route::to(&origin.uri(), &Matcher::from_env());
        let origin = origin.behind(route.forward_proxy());
        let connector = Connector::new(&origin, &route, tls, tcp(guard, patience));
        Ok(Self { pool: Pool::new(connector, patience), origin })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, request: Request, deadline: Instant) -> Result<Answer<'_>, NoAnswer> {
        timeout_at(deadline, self.exchange(request, deadline)).await.unwrap_or(Err(NoAnswer::Timeout))
    }

    /// A request that was not begun with is made again: an API may close connections that wait, and may have done so just now.
    async fn exchange(&self, mut request: Request, deadline: Instant) -> Result<Answer<'_>, NoAnswer> {
        let mut repeats = 0;
        loop {
            let (sent, may_repeat) = match self.pool.lease().await? {
                Lease::Http1 { mut connection, has_waited } => {
                    self.origin.say_by_http1(&mut request);
                    let sent = connection.send(request).await;
                    (sent.map(|response| self.answer(response, Some(connection), deadline)), has_waited)
                }
                Lease::Http2(mut connection) => {
                    self.origin.say_by_http2(&mut request);
                    let sent = connection.send(request).await;
                    repeats += 1;
                    (sent.map(|response| self.answer(response, None, deadline)), repeats <= REPEATS)
                }
            };
            request = match sent {
                Ok(answer) => return Ok(answer),
                Err(Failed { unsent: Some(request), .. }) if may_repeat => *request,
                Err(Failed { error, .. }) => return Err(NoAnswer::Broken(with_causes(&error))),
            };
        }
    }

    fn answer(&self, response: Response<Incoming>, connection: Option<Box<Http1>>, deadline: Instant) -> Answer<'_> {
        let (head, incoming) = response.into_parts();
        let mut body = Body { incoming, has_ended: false, deadline, connection, pool: &self.pool };
        if body.incoming.is_end_stream() {
            body.end();
        }
        Answer { status: head.status, headers: head.headers, body }
    }
}

impl Parts for Body<'_> {
    async fn next(&mut self) -> Option<Bytes> {
        let deadline = self.deadline;
        timeout_at(deadline, self.part()).await.ok().flatten()
    }
}

impl Body<'_> {
    async fn part(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            let frame = match &mut self.connection {
                Some(connection) => connection.frame(&mut self.incoming).await,
                None => self.incoming.frame().await,
            };
            match frame {
                Some(Ok(frame)) => {
                    if self.incoming.is_end_stream() {
                        self.end();
                    }
                    if let Ok(data) = frame.into_data() {
                        return Some(data);
                    }
                }
                Some(Err(_)) => {
                    self.has_ended = true;
                    self.connection = None;
                }
                None => self.end(),
            }
        }
        None
    }

    fn end(&mut self) {
        self.has_ended = true;
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl NoAnswer {
    /// Why a connection could not be made.
    pub(super) fn unconnected(error: &(dyn Error + 'static)) -> Self {
        match causes(error).find_map(|cause| cause.downcast_ref::<Refused>()) {
            Some(refused) => Self::Refused(*refused),
            None => Self::Connect(with_causes(error)),
        }
    }
}
