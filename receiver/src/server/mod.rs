//! Serves HTTP/1 and HTTP/2 without letting anybody hold a connection for nothing, and ends without failing a request.
//!
//! - `clock`: how long a connection may wait, and for what.
//! - `clocked`: a connection that tells its clock when bytes come in.
//! - `overseer`: has those closed that have waited for too long.

mod clock;
mod clocked;
mod overseer;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Method, Request, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

use self::{clock::SharedClock, clocked::Clocked, overseer::Overseer};

/// How a server ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// The end is near: clients are asked to send their next request elsewhere.
    pub(crate) announced: CancellationToken,
    /// No connection is taken any more; those that are open end after the request that they are at.
    pub(crate) begun: CancellationToken,
}

/// What answers requests. Clones answer the same.
pub(crate) trait Endpoints: Clone + Send + Sync + 'static {
    /// The answer to a request that `peer` sent over its connection: the last proxy on the way.
    fn answer(self, request: Request<Incoming>, peer: IpAddr) -> impl Future<Output = Response> + Send + 'static;
}

/// A gateway keeps a few dozen connections; more than this many wait until one ends.
const CONNECTIONS: usize = 1024;
pub(crate) const HEADERS: usize = 100;
const HEADER_BYTES: u32 = 16 * 1024;
/// HTTP/2: how many requests one connection may have at once.
const STREAMS: u32 = 128;
/// HTTP/2: how much of bodies a connection, and one of its requests, may have on their way to whoever reads them. hyper's default is 1 MiB for each
/// connection, which all together could take a gigabyte.
const CONNECTION_WINDOW: u32 = 128 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
/// HTTP/2: how often a silent client is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// No file descriptor is left: one gets free when a connection ends.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// Listens. As many connections may wait to be taken as may be open: of a burst larger than the 128 that Rust's default lets wait, the rest would
/// be tried again only after a second.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As long as connections of the one before are not quite over, its address counts as taken.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(CONNECTIONS).expect("a small number"))
}

/// Serves until the end has begun and all connections have ended, or that much later.
pub(crate) async fn serve(listener: TcpListener, endpoints: impl Endpoints, ending: Ending, last_requests: Duration) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (open, overseer) = (GracefulShutdown::new(), Overseer::start());
    while let Some((stream, place)) = next(&listener, &places, &ending).await {
        let connection = Connection::new(&stream, endpoints.clone(), ending.clone());
        overseer.oversee(connection.clock.clone());
        tokio::spawn(connection.run(stream, open.watcher(), place));
    }
    drop(listener);
    if timeout(last_requests, open.shutdown()).await.is_err() {
        warn!("Connections were still open after {last_requests:?}; ending without them");
    }
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    ending: &Ending,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    ending.begun.run_until_cancelled(accept(listener, places)).await
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if is_of_the_client(&error) => debug!("Connection lost before it was taken: {error}"),
            Err(error) => {
                warn!("No connection can be taken: {error}");
                #[allow(clippy::disallowed_methods, reason = "the system does not say when a descriptor is free")]
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One connection, as its requests share it.
struct Connection<E> {
    endpoints: E,
    ending: Ending,
    peer: IpAddr,
    clock: SharedClock,
}

impl<E: Endpoints> Connection<E> {
    fn new(stream: &TcpStream, endpoints: E, ending: Ending) -> Arc<Self> {
        // A connection that is closed already has no address, and no request either.
        let peer = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        Arc::new(Self { endpoints, ending, peer, clock: SharedClock::start() })
    }

    /// Serves it to its end, and keeps its place until then.
    async fn run(self: Arc<Self>, stream: TcpStream, watcher: Watcher, _place: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!("Connection without TCP_NODELAY: {error}");
        }
        let service = service_fn(|request| Arc::clone(&self).answer(request));
        let builder = builder();
        let served = builder.serve_connection(TokioIo::new(Clocked::new(stream, self.clock.clone())), service);
        tokio::select! {
            biased;
            end = watcher.watch(served) => if let Err(error) = end { debug!("Connection ended: {error}") },
            overdue = self.clock.overdue() => debug!("Connection closed: {overdue}"),
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        let (version, is_head) = (request.version(), request.method() == Method::HEAD);
        let _serving = self.clock.serving(version);
        let mut response = self.endpoints.clone().answer(request, self.peer).await;
        if is_head {
            // Over HTTP/2 hyper would send it.
            *response.body_mut() = Body::empty();
        }
        // A client that is told so opens its next connection to another receiver. HTTP/2 has GOAWAY for it.
        if self.ending.announced.is_cancelled() && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

impl Endpoints for Router {
    async fn answer(mut self, request: Request<Incoming>, _: IpAddr) -> Response {
        let Ok(response) = self.call(request).await;
        response
    }
}

/// The header timeout of hyper would also end idle connections, which a gateway keeps for longer: `clock` tells the two
/// apart. The timer is what pings need.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let header_bytes = usize::try_from(HEADER_BYTES).expect("a small number");
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(header_bytes)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

#[cfg(test)]
mod tests {
    use futures::future::try_join_all;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_connections_waits_to_be_taken() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let burst = try_join_all((0..300).map(|_| TcpStream::connect(address)));
        // Those that find no place are tried again, and find none for ever: nobody takes any.
        assert_eq!(timeout(Duration::from_secs(30), burst).await.expect("all find a place").unwrap().len(), 300);
    }
}
