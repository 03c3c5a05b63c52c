//! The API server, as the operator reaches it: three clients that differ in their patience and in what they may do.
//!
//! - `gate`: connections on which a replica that does not lead sends nothing.
//! - `counted`: a deadline for each request, and its place in the metrics.
//!
//! kube's own client waits for an answer as long as it takes and repeats a refused request 15 times: a pass would hang, and a
//! lease would be renewed after it was lost.

#[cfg(test)]
pub mod answers;
mod counted;
mod gate;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use http::{HeaderValue, header::USER_AGENT};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, limit::ConcurrencyLimitLayer, retry::RetryLayer};

use self::{counted::CountedLayer, gate::Gate};
use crate::{
    leader::{Leadership, MARGIN},
    metrics::Metrics,
};

/// A watch is renewed this often, in seconds: where nothing answers any more, it is noticed soon after.
const WATCH_SECONDS: u32 = 60;
/// Nor does one last longer than this.
const LONGEST_WATCH_SECONDS: u32 = 290;
/// An API server tells every minute or so that a watch still runs.
const BOOKMARK_SECONDS: u32 = 60;
/// Many watches, as over many namespaces, are renewed less often: all together five seconds apart.
const APART_SECONDS: u32 = 5;

/// How many seconds a watch lasts where there are so many.
pub fn watch_seconds(watches: usize) -> u32 {
    let all = u32::try_from(watches).unwrap_or(u32::MAX).saturating_mul(APART_SECONDS);
    all.clamp(WATCH_SECONDS, LONGEST_WATCH_SECONDS)
}

/// How many seconds such a watch may be silent. A longer one must not be taken for a dead one, because it misses a bookmark.
fn silence_seconds(watch_seconds: u32) -> u32 {
    (watch_seconds + 10).min(BOOKMARK_SECONDS * 5 / 2)
}

/// The clients.
pub struct Clients {
    /// For passes, and only while this replica leads. Asks again a few times where the API server is busy.
    pub working: Client,
    /// For watches, on all replicas.
    pub watching: Client,
    /// For the lease. Gives up soon and never asks again by itself.
    pub leasing: Client,
}

/// How a client behaves.
#[derive(Clone)]
struct Manner {
    /// Time to the head of an answer.
    answer: Duration,
    /// Time in which nothing arrives.
    silence: Duration,
    /// How often a request is repeated that the API server was too busy for.
    repeats: u32,
    /// Requests at the same time; each has a connection.
    at_once: usize,
    gate: Gate,
}

impl Clients {
    /// Makes the clients, for so many watches; nothing is connected yet. Error: the cluster's address, certificates or credentials
    /// are no good.
    pub fn new(
        mut config: Config,
        identity: &str,
        leadership: &Leadership,
        metrics: &Arc<Metrics>,
        watches: usize,
    ) -> anyhow::Result<Self> {
        ensure!(config.proxy_url.is_none(), "a proxy before the API server is not supported");
        let agent = format!("sluice-operator/{} ({identity})", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_str(&agent).context("the identity is no HTTP text")?));
        let watching = watching(watches);
        let leasing = Manner { answer: Duration::from_secs(3), at_once: 4, ..watching.clone() };
        let client = |manner| client(&config, &manner, metrics);
        Ok(Self { working: client(working(leadership))?, watching: client(watching)?, leasing: client(leasing)? })
    }
}

fn working(leadership: &Leadership) -> Manner {
    let answer = Duration::from_secs(8);
    debug_assert!(answer < MARGIN, "a request ends before another replica begins one");
    Manner { answer, silence: answer, repeats: 3, at_once: 32, gate: Gate::WhileLeading(leadership.clone()) }
}

fn watching(watches: usize) -> Manner {
    let silence = Duration::from_secs(silence_seconds(watch_seconds(watches)).into());
    Manner { answer: Duration::from_secs(15), silence, repeats: 0, at_once: 1024, gate: Gate::Open }
}

fn client(config: &Config, manner: &Manner, metrics: &Arc<Metrics>) -> anyhow::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // A machine that is gone is noticed within a minute, however long a watch lasts.
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    tcp.set_keepalive_interval(Some(Duration::from_secs(10)));
    tcp.set_keepalive_retries(Some(3));
    let tls = config.rustls_https_connector_with_connector(gate::Connector::new(tcp, manner.gate.clone()))?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(Some(manner.answer));
    connector.set_write_timeout(Some(manner.answer));
    connector.set_read_timeout(Some(manner.silence));
    connector.set_reset_reader_on_write(true);
    let repeats = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(1), manner.repeats, true)
        .expect("the shorter wait comes first");
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(manner.at_once))
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(repeats))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(CountedLayer::new(manner.answer, manner.gate.clone(), Arc::clone(metrics)))
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_over_many_namespaces_are_renewed_less_often() {
        let kinds = 13;
        let seconds = [1, 2, 3, 7, 10, 100].map(|namespaces| watch_seconds(kinds * namespaces));
        assert_eq!(seconds, [65, 130, 195, 290, 290, 290]);
        assert_eq!(seconds.map(silence_seconds), [75, 140, 150, 150, 150, 150]);
    }
}
