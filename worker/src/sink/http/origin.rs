//! Says in a request whom it is for, as each version of HTTP wants it said. Pure.

use std::mem;

use anyhow::Context as _;
use http::{
    HeaderValue, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
    uri::{Authority, PathAndQuery, Scheme},
};
use url::{Position, Url};

use super::client::Request;

/// Scheme, host and port of an API.
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    proxy: Option<ForwardProxy>,
}

/// A proxy that is given requests to pass on, and wants to be told whom each is for (RFC 9112, section 3.2.2).
pub(super) struct ForwardProxy {
    pub(super) authorization: Option<HeaderValue>,
}

impl Origin {
    /// The origin of an address.
    pub(super) fn of(url: &Url) -> anyhow::Result<Self> {
        let no_origin = || format!("{url} is no address of an API");
        let host = url.host_str().with_context(no_origin)?;
        // A port that goes without saying is not said.
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self {
            scheme: url.scheme().parse().with_context(no_origin)?,
            authority: host.parse().with_context(no_origin)?,
            host: HeaderValue::from_str(&host).with_context(no_origin)?,
            proxy: None,
        })
    }

    /// Asked for through this proxy, if any.
    pub(super) fn behind(self, proxy: Option<ForwardProxy>) -> Self {
        Self { proxy, ..self }
    }

    /// The origin as an address.
    pub(super) fn uri(&self) -> Uri {
        let mut uri = Uri::default();
        self.put_before(&mut uri);
        uri
    }

    /// HTTP/1.1 has a header for it, and nothing before the path except for a proxy.
    pub(super) fn say_by_http1(&self, request: &mut Request) {
        match &self.proxy {
            None => take_from(request.uri_mut()),
            Some(proxy) => {
                self.put_before(request.uri_mut());
                if let Some(authorization) = &proxy.authorization {
                    let said = request.headers_mut().entry(PROXY_AUTHORIZATION);
                    said.or_insert_with(|| authorization.clone());
                }
            }
        }
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
    }

    /// HTTP/2 makes pseudo-headers of the whole address, and needs no other.
    pub(super) fn say_by_http2(&self, request: &mut Request) {
        if request.headers().get(HOST) == Some(&self.host) {
            request.headers_mut().remove(HOST);
        }
        self.put_before(request.uri_mut());
    }

    fn put_before(&self, uri: &mut Uri) {
        if uri.scheme().is_none() {
            let mut parts = mem::take(uri).into_parts();
            parts.scheme = Some(self.scheme.clone());
            parts.authority = Some(self.authority.clone());
            *uri = Uri::from_parts(parts).expect("scheme, authority and path make an address");
        }
    }
}

/// What of an address comes after its origin. Errors: it is too long, which the pipeline looks after, or holds what no request may hold
/// there, which the parser of addresses encodes.
pub(super) fn target(url: &Url) -> Result<Uri, http::uri::InvalidUri> {
    PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery]).map(Uri::from)
}

fn take_from(uri: &mut Uri) {
    if uri.scheme().is_some() {
        let mut parts = mem::take(uri).into_parts();
        (parts.scheme, parts.authority) = (None, None);
        *uri = Uri::from_parts(parts).expect("a path alone is an address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    fn request(url: &str) -> Request {
        let mut request = Request::default();
        *request.uri_mut() = target(&url.parse().unwrap()).unwrap();
        request
    }

    fn said(request: &Request) -> (String, Option<&str>) {
        (request.uri().to_string(), request.headers().get(HOST).map(|host| host.to_str().unwrap()))
    }

    #[test]
    fn the_origin_is_said_once_and_where_the_version_has_it() {
        for (url, target, authority) in [
            ("https://ledger.example", "/", "ledger.example"),
            ("https://ledger.example:443/a%2Fb?x=1#f", "/a%2Fb?x=1", "ledger.example"),
            ("http://ledger.example:8080/?k=ä", "/?k=%C3%A4", "ledger.example:8080"),
            ("http://[::1]:80/e", "/e", "[::1]"),
            ("https://[::1]:8443/e", "/e", "[::1]:8443"),
        ] {
            let (origin, mut request) = (origin(url), request(url));
            let absolute = format!("{}://{authority}{target}", origin.scheme);
            // A request may meet both, one after the other.
            for _ in 0..2 {
                origin.say_by_http1(&mut request);
                assert_eq!(said(&request), (target.to_owned(), Some(authority)), "{url}");
                origin.say_by_http2(&mut request);
                assert_eq!(said(&request), (absolute.clone(), None), "{url}");
            }
            assert_eq!(origin.uri().to_string(), format!("{}://{authority}/", origin.scheme));
        }
    }

    #[test]
    fn a_host_that_was_chosen_stays() {
        let (origin, mut request) = (origin("https://10.0.0.1/e"), request("https://10.0.0.1/e"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("ledger.example"));
        origin.say_by_http1(&mut request);
        assert_eq!(said(&request), ("/e".to_owned(), Some("ledger.example")));
        origin.say_by_http2(&mut request);
        assert_eq!(said(&request), ("https://10.0.0.1/e".to_owned(), Some("ledger.example")));
    }

    #[test]
    fn a_proxy_is_told_the_whole_address_and_who_asks() {
        let url = "http://ledger.example/e?x=1";
        let proxy = ForwardProxy { authorization: Some(HeaderValue::from_static("Basic bWU6cGE=")) };
        let (origin, mut request) = (origin(url).behind(Some(proxy)), request(url));
        origin.say_by_http1(&mut request);
        assert_eq!(said(&request), (url.to_owned(), Some("ledger.example")));
        assert_eq!(request.headers()[PROXY_AUTHORIZATION], "Basic bWU6cGE=");
    }
}
