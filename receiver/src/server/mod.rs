//! Serves HTTP/1 and HTTP/2 without letting anybody hold a connection for nothing, and ends without failing a request.
//!
//! - `clock`: how long a connection may wait, and for what.
//! - `clocked`: a connection that tells its clock when bytes come in.

mod clock;
mod clocked;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use http::{HeaderValue, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

use self::{clock::SharedClock, clocked::Clocked};

/// How a server ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// The end is near: clients are asked to send their next request elsewhere.
    pub(crate) announced: CancellationToken,
    /// No connection is taken any more; those that are open end after the request that they are at.
    pub(crate) begun: CancellationToken,
}

/// Who sent a request over its connection, as an extension of it: the last proxy on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

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

/// Serves until the end has begun and all connections have ended, or that much later.
pub(crate) async fn serve(listener: TcpListener, router: Router, ending: Ending, last_requests: Duration) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    while let Some((stream, place)) = next(&listener, &places, &ending).await {
        let connection = Connection { router: router.clone(), ending: ending.clone(), _place: place };
        tokio::spawn(connection.run(stream, open.watcher()));
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

/// One connection and what it holds.
struct Connection {
    router: Router,
    ending: Ending,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!("Connection without TCP_NODELAY: {error}");
        }
        // A connection that is closed already has no address, and no request either.
        let peer = Peer(stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address: SocketAddr| address.ip()));
        let clock = SharedClock::start();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            answer(self.router.clone(), clock.clone(), self.ending.clone(), request)
        });
        let builder = builder();
        let served = builder.serve_connection(TokioIo::new(Clocked::new(stream, clock.clone())), service);
        tokio::select! {
            end = watcher.watch(served) => if let Err(error) = end { debug!("Connection ended: {error}") },
            overdue = clock.overdue() => debug!("Connection closed: {overdue}"),
        }
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

async fn answer(
    mut router: Router,
    clock: SharedClock,
    ending: Ending,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let version = request.version();
    let _serving = clock.serving(version);
    let mut response = router.call(request).await?;
    // A client that is told so opens its next connection to another receiver. HTTP/2 has GOAWAY for it.
    if ending.announced.is_cancelled() && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
