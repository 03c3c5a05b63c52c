//! Keeps calls to the addresses that may be called. A name is resolved once and the address that was judged is the one that is
//! used, so that a name cannot mean another address a moment later.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use reqwest::{
    ClientBuilder, Url,
    dns::{self, Addrs, Resolve, Resolving},
    redirect::Policy,
};
use sluice_crds::{OutgoingCalls, Refused};
use tokio::net::lookup_host;
use tower_service::Service;

/// Keeps calls to the addresses that may be called: resolves names for clients of reqwest and for connectors of hyper. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard(Arc<OutgoingCalls>);

impl Guard {
    /// By these rules.
    pub fn new(rules: OutgoingCalls) -> Self {
        Self(Arc::new(rules))
    }

    /// A client whose names are resolved to permitted addresses only, and that follows no redirect. An address that stands in
    /// a URL is not resolved: [`Guard::check`] it.
    pub fn client(&self) -> ClientBuilder {
        reqwest::Client::builder().redirect(Policy::none()).dns_resolver(self.clone())
    }

    /// Whether a URL may be called, as far as it says itself; names are judged when they are resolved.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        literal.map_or(Ok(()), |address| self.0.check(address))
    }
}

/// Addresses that may be called.
type Permitted = vec::IntoIter<SocketAddr>;
type Unresolved = Box<dyn Error + Send + Sync>;

impl Resolve for Guard {
    fn resolve(&self, name: dns::Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move { guard.permitted(name.as_str()).await.map(|permitted| Box::new(permitted) as Addrs) })
    }
}

impl Service<Name> for Guard {
    type Response = Permitted;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Permitted, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { guard.permitted(name.as_str()).await })
    }
}

impl Guard {
    /// The addresses of a name that may be called. Errors: it has none, and why the first of them is none.
    async fn permitted(&self, name: &str) -> Result<Permitted, Unresolved> {
        let found: Vec<SocketAddr> = lookup_host((name, 0)).await?.collect();
        let allowed: Vec<_> = found.iter().copied().filter(|found| self.0.check(found.ip()).is_ok()).collect();
        match (allowed.is_empty(), found.first().map(|found| self.0.check(found.ip()))) {
            (true, Some(Err(refused))) => Err(refused.into()),
            _ => Ok(allowed.into_iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::successors;

    use tokio::net::TcpListener;

    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Guard::new(OutgoingCalls { allow, deny: Vec::new() })
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_written() {
        let refused = [
            "http://127.0.0.1/",
            "http://[::1]:80/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://[::ffff:a9fe:a9fe]/",
        ];
        for url in refused {
            assert!(guard(&[]).check(&url.parse().unwrap()).is_err(), "{url}");
        }
        for url in ["http://10.0.0.1/", "https://api.example/", "http://localhost/"] {
            assert_eq!(guard(&[]).check(&url.parse().unwrap()), Ok(()), "{url}");
        }
        assert_eq!(guard(&["127.0.0.0/8"]).check(&"http://127.0.0.1/".parse().unwrap()), Ok(()));
    }

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_not_connected_to() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let client = guard(&[]).client().no_proxy().build().unwrap();
        let error = client.get(&url).send().await.unwrap_err();
        let causes: Vec<_> =
            successors(Some(&error as &dyn Error), |&error| error.source()).map(ToString::to_string).collect();
        assert!(causes.iter().any(|cause| cause.contains("is an address of this machine")), "{causes:?}");

        let client = guard(&["127.0.0.0/8"]).client().no_proxy().build().unwrap();
        let call = tokio::spawn(client.get(&url).send());
        drop(listener.accept().await.unwrap());
        assert!(call.await.unwrap().is_err(), "the connection was closed without an answer");
    }

    #[tokio::test]
    async fn a_connector_is_given_no_other_addresses() {
        let resolved = |allow: &'static [&'static str]| guard(allow).call("localhost".parse().unwrap());
        let error = resolved(&[]).await.unwrap_err();
        assert!(error.downcast_ref::<Refused>().is_some(), "{error}");
        let permitted: Vec<_> = resolved(&["127.0.0.0/8"]).await.unwrap().map(|address| address.ip()).collect();
        assert!(!permitted.is_empty() && permitted.iter().all(|address| address.to_string() == "127.0.0.1"));
    }
}
