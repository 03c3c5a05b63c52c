//! Asks receivers and workers about themselves: `GET /status`, or a path below it, at a pod's own address.

use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use sluice_crds::wire;
use tokio::time::timeout;
use tracing::debug;

/// Where a pod tells of itself.
pub const STATUS: &str = "/status";
/// A pod next door answers within milliseconds; one that is busy or gone must not hold up a pass.
const PATIENCE: Duration = Duration::from_secs(2);
/// No status is longer, also where a worker tells of hundreds of partitions that have halted.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Asks pods. Connections are kept open for the next time.
#[derive(Clone, Debug)]
pub struct Asker {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Asker {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(1)
            .build(connector);
        Self { client }
    }
}

impl Asker {
    /// What the pod at this address says at a path about itself; `None` where it does not answer in time, or not in words that are understood.
    pub async fn ask<T: DeserializeOwned>(&self, address: &str, path: &str) -> Option<T> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let uri: Uri = format!("http://{host}:{}{path}", wire::STATUS_PORT).parse().ok()?;
        match timeout(PATIENCE, self.get(uri)).await {
            Ok(Ok(answer)) => serde_json::from_slice(&answer).ok(),
            Ok(Err(error)) => {
                debug!(address, %error, "A pod does not say how it is");
                None
            }
            Err(_) => {
                debug!(address, "A pod does not say in time how it is");
                None
            }
        }
    }

    async fn get(&self, uri: Uri) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let answer = self.client.get(uri).await?;
        if !answer.status().is_success() {
            return Err(answer.status().to_string().into());
        }
        Ok(Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await?.to_bytes())
    }
}
