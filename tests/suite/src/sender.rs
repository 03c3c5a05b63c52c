//! A sender of webhooks that signs as the Standard Webhooks specification says.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::jiff::Timestamp;
use reqwest::{Client, Response, StatusCode, header::HeaderMap};
use serde_json::Value;

/// The `patience` of Webhooks whose events are all to be taken. By default a sender hears soon that Kafka is slow, as it is on a busy machine.
pub const UNHURRIED: &str = "20s";
/// Longer than any gateway waits for an answer.
const ANSWER: Duration = Duration::from_mins(1);

/// Sends signed events to one endpoint, through a gateway.
pub struct Sender {
    client: Client,
    url: String,
    key: hmac::Key,
    headers: HeaderMap,
}

impl Sender {
    /// `host` and `path` as senders know them; they are sent to the gateway at `gateway`. `secret` is `whsec_<base64>`.
    pub fn new(gateway: SocketAddr, host: &str, path: &str, secret: &str) -> anyhow::Result<Self> {
        let key = secret.strip_prefix("whsec_").context("the secret must begin with whsec_")?;
        let key = BASE64_STANDARD.decode(key).context("the secret is not base64")?;
        let client = Client::builder().resolve(host, gateway).timeout(ANSWER).build()?;
        Ok(Self {
            client,
            url: format!("http://{host}:{}{path}", gateway.port()),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            headers: HeaderMap::new(),
        })
    }

    /// The same with a header that every request has.
    pub fn with_header(mut self, name: &'static str, value: &str) -> anyhow::Result<Self> {
        self.headers.insert(name, value.parse()?);
        Ok(self)
    }

    /// Sends an event, correctly signed.
    pub async fn send(&self, id: &str, event: &Value) -> anyhow::Result<StatusCode> {
        Ok(self.ask(id, event).await?.status())
    }

    /// Sends an event, correctly signed, and gives the whole answer.
    pub async fn ask(&self, id: &str, event: &Value) -> anyhow::Result<Response> {
        let timestamp = Timestamp::now().as_second();
        let body = event.to_string();
        let signature = hmac::sign(&self.key, format!("{id}.{timestamp}.{body}").as_bytes());
        self.post(id, timestamp, &format!("v1,{}", BASE64_STANDARD.encode(signature)), body).await
    }

    /// Sends an event with a signature that somebody made up.
    pub async fn forge(&self, id: &str, event: &Value) -> anyhow::Result<StatusCode> {
        let signature = format!("v1,{}", BASE64_STANDARD.encode([7; 32]));
        Ok(self.post(id, Timestamp::now().as_second(), &signature, event.to_string()).await?.status())
    }

    async fn post(&self, id: &str, timestamp: i64, signature: &str, body: String) -> anyhow::Result<Response> {
        let request = self
            .client
            .post(&self.url)
            .headers(self.headers.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        request.send().await.with_context(|| format!("cannot send to {}", self.url))
    }
}
