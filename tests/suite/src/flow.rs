//! One flow from a sender to an API without pods: the operator makes it, and receiver, worker and API run as processes of
//! this machine.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::ensure;
use serde_json::Value;
use sluice_crds::{Integration, Topic, Webhook};

use crate::{
    Stage,
    planes::Plane,
    program::{free_address, program},
    sender::{Sender, UNHURRIED},
    until,
    world::PATIENCE,
};

/// A flow that runs.
pub struct Flow {
    /// The Webhook `payments`.
    pub receiver: Plane,
    /// The Integration `to-ledger`.
    pub worker: Plane,
    /// Signs as the Webhook wants it.
    pub sender: Sender,
    /// The API.
    pub ledger: Ledger,
}

/// The ledger of the examples as a process; it is killed when this is dropped.
pub struct Ledger {
    child: Child,
    address: SocketAddr,
}

/// As Standard Webhooks writes secrets.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: payments}, spec: {partitions: 2}}";
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: payments}, spec: {\
     route: {parentRefs: [{name: edge}], path: /payments}, topicRef: {name: payments}, patience: PATIENCE, \
     verify: {preset: {name: StandardWebhooks, secretRefs: [{name: signing, key: current}]}}}}";
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-ledger}, spec: {\
     source: {topic: {name: payments}}, steps: [{name: only-payments, filter: 'exists(.amount)'}], \
     sink: {http: {url: 'http://LEDGER/entries'}}, delivery: {retry: {backoff: {initial: 50ms, max: 100ms}}}}}";

impl Flow {
    /// Has it made, and starts its programs with these environment variables.
    pub async fn open(stage: &Stage, environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let ledger = Ledger::start().await?;
        stage.apply::<Topic>(TOPIC).await?;
        stage.apply::<Webhook>(&WEBHOOK.replace("PATIENCE", UNHURRIED)).await?;
        stage.apply::<Integration>(&INTEGRATION.replace("LEDGER", &ledger.address.to_string())).await?;
        let receiver = Plane::receiver(stage, "payments", &[("signing/current", SECRET)], environment).await?;
        let worker = Plane::worker(stage, "to-ledger", environment).await?;
        let sender = Sender::new(receiver.endpoint, "hooks.shop.example", "/payments", SECRET)?;
        Ok(Self { receiver, worker, sender, ledger })
    }
}

impl Ledger {
    async fn start() -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program("ledger")?);
        let child = command.env("LEDGER_LISTEN", address.to_string()).stdin(Stdio::null()).spawn()?;
        let ledger = Self { child, address };
        until("the ledger answers", PATIENCE, || async {
            ledger.entries().await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(ledger)
    }

    /// What it has recorded.
    pub async fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let answer: Value = serde_json::from_str(&reqwest::get(self.url("entries")).await?.text().await?)?;
        Ok(answer["entries"].as_array().cloned().unwrap_or_default())
    }

    /// Tells it how to behave: `{"unavailable": true}`, `{"refuse": "<text>"}`, `{}`.
    pub async fn behave(&self, behaviour: &Value) -> anyhow::Result<()> {
        let answer = reqwest::Client::new().put(self.url("behaviour")).json(behaviour).send().await?;
        ensure!(answer.status().is_success(), "the ledger answered {}", answer.status());
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
