//! The API server, as the operator reaches it: three clients that differ in their patience and in what they may do.
//!
//! - `gate`: connections on which a replica that does not lead sends nothing.
//! - `counted`: a deadline for each request, and its place in the metrics.
//!
//! kube's own client waits for an answer as long as it takes and repeats a refused request 15 times: a pass would hang, and a
//! lease would be renewed after it was lost.

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

/// A watch is renewed this often, in seconds: a connection that died silently is noticed soon after.
pub const WATCH_SECONDS: u32 = 60;

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
    /// Makes the clients; nothing is connected yet. Error: the cluster's address, certificates or credentials are no good.
    pub fn new(
        mut config: Config,
        identity: &str,
        leadership: &Leadership,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        ensure!(config.proxy_url.is_none(), "a proxy before the API server is not supported");
        let agent = format!("sluice-operator/{} ({identity})", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_str(&agent).context("the identity is no HTTP text")?));
        let watching = watching();
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

fn watching() -> Manner {
    let silence = Duration::from_secs(u64::from(WATCH_SECONDS) + 10);
    Manner { answer: Duration::from_secs(15), silence, repeats: 0, at_once: 1024, gate: Gate::Open }
}

fn client(config: &Config, manner: &Manner, metrics: &Arc<Metrics>) -> anyhow::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
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
        .layer(CountedLayer::new(manner.answer, Arc::clone(metrics)))
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}
