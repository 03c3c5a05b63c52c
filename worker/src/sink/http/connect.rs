//! Makes connections to an API: straight, or by way of the proxy that the environment names.

use std::{error::Error, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Uri, header::USER_AGENT};
use hyper::{
    client::conn::TrySendError,
    rt::{Read, Write},
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::{
    legacy::connect::{Connection as Connected, HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use rustls::ClientConfig;
use sluice_outgoing::Guard;
use tower_service::Service as _;

use super::{
    client::{NoAnswer, Request, USER},
    http1::Http1,
    http2::Http2,
    origin::{ForwardProxy, Origin},
};

/// Makes connections to one API.
pub(super) struct Connector {
    /// What is connected to: the API, or the proxy that passes requests on to it.
    destination: Uri,
    way: Way,
}

enum Way {
    Straight(Https<Tcp>),
    Tunnelled(Box<Https<Tunnel<Https<Tcp>>>>),
}

/// Resolves names to permitted addresses only, also that of a proxy.
type Tcp = HttpConnector<Guard>;
/// Encrypts where the address is one of `https`.
type Https<C> = HttpsConnector<C>;

/// How an API is reached.
pub(super) enum Route {
    Straight,
    /// Through a tunnel that a proxy makes (RFC 9110, section 9.3.6).
    Tunnel(Intercept),
    /// By a proxy that passes each request on.
    Forward(Intercept),
}

/// What a connection reads from and writes to.
pub(super) type Io = Box<dyn Stream>;

pub(super) trait Stream: Read + Write + Send + Unpin {}

impl<S: Read + Write + Send + Unpin> Stream for S {}

/// A connection that was made.
pub(super) enum Connection {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// Why a connection gave no answer.
pub(super) struct Failed {
    pub(super) error: hyper::Error,
    /// The request, where the API has not begun with it.
    pub(super) unsent: Option<Box<Request>>,
}

impl From<TrySendError<Request>> for Failed {
    fn from(mut error: TrySendError<Request>) -> Self {
        let unsent = error.take_message().map(Box::new);
        Self { error: error.into_error(), unsent }
    }
}

/// When a silent connection is first asked whether its other end is still there, and how often then: one that leads nowhere is found
/// out after a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was written may stay without confirmation by the other end.
const UNCONFIRMED: Duration = Duration::from_secs(30);

impl Route {
    /// The way to this address where these proxies are.
    pub(super) fn to(destination: &Uri, proxies: &Matcher) -> Self {
        match proxies.intercept(destination) {
            None => Self::Straight,
            Some(proxy) if destination.scheme_str() == Some("https") => Self::Tunnel(proxy),
            Some(proxy) => Self::Forward(proxy),
        }
    }

    /// The proxy that requests have to be written for.
    pub(super) fn forward_proxy(&self) -> Option<ForwardProxy> {
        match self {
            Self::Straight | Self::Tunnel(_) => None,
            Self::Forward(proxy) => Some(ForwardProxy { authorization: proxy.basic_auth().cloned() }),
        }
    }
}

impl Connector {
    /// For connections to this origin by this route.
    pub(super) fn new(origin: &Origin, route: &Route, tls: &ClientConfig, tcp: Tcp) -> Self {
        let to_api = Arc::new(tls.clone());
        let way = match route {
            Route::Straight => Way::Straight(HttpsConnector::from((tcp, to_api))),
            Route::Forward(_) => Way::Straight(HttpsConnector::from((tcp, to_proxy(tls)))),
            Route::Tunnel(proxy) => {
                let tunnel = tunnel(proxy, HttpsConnector::from((tcp, to_proxy(tls))));
                Way::Tunnelled(Box::new(HttpsConnector::from((tunnel, to_api))))
            }
        };
        let destination = match route {
            Route::Straight | Route::Tunnel(_) => origin.uri(),
            Route::Forward(proxy) => proxy.uri().clone(),
        };
        Self { destination, way }
    }

    /// HTTP/2 is agreed upon in TLS only.
    pub(super) fn may_agree_on_http2(&self) -> bool {
        self.destination.scheme_str() == Some("https")
    }

    /// Makes a connection, of the version of HTTP that the other end prefers.
    pub(super) async fn connect(&self) -> Result<Connection, NoAnswer> {
        let (io, is_http2) = self.open().await.map_err(|error| NoAnswer::unconnected(&*error))?;
        let made = if is_http2 {
            Http2::over(io).await.map(Connection::Http2)
        } else {
            Http1::over(io).await.map(|connection| Connection::Http1(Box::new(connection)))
        };
        made.map_err(|error| NoAnswer::unconnected(&error))
    }

    async fn open(&self) -> Result<(Io, bool), Box<dyn Error + Send + Sync>> {
        let destination = self.destination.clone();
        match &self.way {
            Way::Straight(connector) => connector.clone().call(destination).await.map(opened),
            Way::Tunnelled(connector) => connector.clone().call(destination).await.map(opened),
        }
    }
}

/// A connection to an address that the guard permits. Where a name has several, each of them gets its part of the patience.
pub(super) fn tcp(guard: &Guard, patience: Duration) -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(guard.clone());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(patience));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(Some(UNCONFIRMED));
    tcp
}

/// A proxy is asked by HTTP/1.1.
fn to_proxy(tls: &ClientConfig) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols.clear();
    Arc::new(tls)
}

fn tunnel(proxy: &Intercept, connector: Https<Tcp>) -> Tunnel<Https<Tcp>> {
    let user = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(USER))]);
    let tunnel = Tunnel::new(proxy.uri().clone(), connector).with_headers(user);
    match proxy.basic_auth() {
        Some(authorization) => tunnel.with_auth(authorization.clone()),
        None => tunnel,
    }
}

/// The stream, and whether HTTP/2 was agreed upon.
fn opened(stream: impl Stream + Connected + 'static) -> (Io, bool) {
    let is_http2 = stream.connected().is_negotiated_h2();
    (Box::new(stream), is_http2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_which_apis_are_asked_by_way_of_a_proxy() {
        let proxies = Matcher::builder()
            .http("http://me:pa%3Ass@proxy.example:3128")
            .https("tunnels.example:3129")
            .no(".svc,10.0.0.0/8")
            .build();
        let way = |url: &str| match Route::to(&url.parse().unwrap(), &proxies) {
            Route::Straight => "straight".to_owned(),
            Route::Tunnel(proxy) => format!("tunnel by {}", proxy.uri()),
            Route::Forward(proxy) => format!("forward by {}", proxy.uri()),
        };
        for (url, expected) in [
            ("http://ledger.example/", "forward by http://proxy.example:3128/"),
            ("https://ledger.example/", "tunnel by http://tunnels.example:3129/"),
            ("https://ledger.shop.svc/", "straight"),
            ("http://10.1.2.3/", "straight"),
        ] {
            assert_eq!(way(url), expected, "{url}");
        }
        let authorization = |url: &str| {
            let proxy = Route::to(&url.parse().unwrap(), &proxies).forward_proxy();
            proxy.map(|proxy| proxy.authorization.map(|value| value.to_str().unwrap().to_owned()))
        };
        assert_eq!(authorization("http://ledger.example/"), Some(Some("Basic bWU6cGE6c3M=".to_owned())));
        assert_eq!(authorization("https://ledger.example/"), None, "it is for the tunnel");
        assert_eq!(authorization("http://10.1.2.3/"), None);
    }
}
