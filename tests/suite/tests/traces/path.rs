//! The way of the events in these tests: a Webhook, its topic, a copy of it, an API; receiver and workers run as processes.

use std::path;

use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::{
    Stage,
    catcher::{Catcher, Caught},
    collector::{Collector, Seen, TOKEN},
    planes::Plane,
    sender::{Sender, UNHURRIED},
    until,
    world::PATIENCE,
};

/// An environment variable of a program, or a header.
pub type Named = (&'static str, String);

/// All that runs.
pub struct Path {
    /// The Webhook `payments`.
    pub receiver: Plane,
    /// The Integration `to-api`.
    pub worker: Plane,
    /// The Integration `to-copies`.
    pub between: Plane,
    /// Signs as the Webhook wants it.
    pub sender: Sender,
    pub api: Catcher,
    /// The names of the topics.
    pub payments: String,
    pub copies: String,
}

/// As Standard Webhooks writes secrets.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: NAME}, spec: {partitions: 1}}";
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: payments}, spec: {\
     route: {parentRefs: [{name: edge}], path: /payments}, topicRef: {name: payments}, patience: PATIENCE, \
     verify: {preset: {name: StandardWebhooks, secretRefs: [{name: signing, key: current}]}}}}";
const TO_COPIES: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-copies}, spec: {\
     source: {topic: {name: payments}}, sink: {kafka: {topic: {name: copies}}}}}";
const TO_API: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, spec: {\
     source: {topic: {name: copies}}, sink: {http: {url: 'http://API/entries?key=secret'}}, \
     delivery: {retry: {backoff: {initial: 50ms, max: 100ms}}}}}";

/// Spans are sent to the Collector by gRPC, soon.
pub fn by_grpc(collector: &Collector) -> Vec<Named> {
    environment(format!("{}://{}", scheme(collector), collector.grpc), "grpc")
}

/// Spans are sent to the Collector by HTTP, soon.
pub fn by_http(collector: &Collector) -> Vec<Named> {
    environment(format!("{}://{}", scheme(collector), collector.http), "http/protobuf")
}

/// What a guarded Collector wants beside: certificates, which are in this folder, the token, and all of it compressed.
pub fn known(folder: &path::Path) -> Vec<Named> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", file("ca.crt")),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file("tls.crt")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", file("tls.key")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{TOKEN}")),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
    ]
}

fn scheme(collector: &Collector) -> &'static str {
    if collector.guard.is_some() { "https" } else { "http" }
}

fn environment(endpoint: String, protocol: &str) -> Vec<Named> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000".to_owned()),
    ]
}

impl Path {
    /// Has it made, and starts its programs with these environment variables.
    pub async fn open(stage: &Stage, receiver: &[Named], worker: &[Named]) -> anyhow::Result<Self> {
        let api = Catcher::start().await?;
        for name in ["payments", "copies"] {
            stage.apply::<Topic>(&TOPIC.replace("NAME", name)).await?;
        }
        stage.apply::<Webhook>(&WEBHOOK.replace("PATIENCE", UNHURRIED)).await?;
        stage.apply::<Integration>(TO_COPIES).await?;
        stage.apply::<Integration>(&TO_API.replace("API", &api.address.to_string())).await?;
        let [of_receiver, of_worker] = [receiver, worker].map(borrowed);
        let receiver = Plane::receiver(stage, "payments", &[("signing/current", SECRET)], &of_receiver).await?;
        let between = Plane::worker(stage, "to-copies", &of_worker).await?;
        let worker = Plane::worker(stage, "to-api", &of_worker).await?;
        let sender = Sender::new(receiver.endpoint, "hooks.shop.example", "/payments", SECRET)?;
        let [payments, copies] = ["payments", "copies"].map(|name| format!("{}.{name}", stage.namespace));
        Ok(Self { receiver, worker, between, sender, api, payments, copies })
    }

    /// A sender that says this too.
    pub fn sender_with(&self, headers: &[Named]) -> anyhow::Result<Sender> {
        let sender = Sender::new(self.receiver.endpoint, "hooks.shop.example", "/payments", SECRET)?;
        headers.iter().try_fold(sender, |sender, &(name, ref value)| sender.with_header(name, value))
    }

    /// Waits for so many requests to the API.
    pub async fn caught_until(&self, count: usize) -> anyhow::Result<Vec<Caught>> {
        until("the API is called", PATIENCE, || async {
            let caught = self.api.caught();
            if caught.len() >= count { Ok(caught) } else { Err(format!("{} requests", caught.len())) }
        })
        .await
    }

    /// Waits for so many spans; gives them in the order of an event's way. Of the attempts the one that failed comes first.
    pub async fn spans_until(&self, collector: &Collector, count: usize) -> anyhow::Result<Vec<Seen>> {
        let mut spans = until("the Collector has all spans", PATIENCE, || async {
            let spans = collector.spans();
            if spans.len() >= count { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await?;
        let names = [&self.payments, &self.copies].map(|topic| (format!("send {topic}"), format!("process {topic}")));
        let place = |span: &Seen| match span.kind {
            "server" => 0,
            "client" => 5,
            _ if span.name == names[0].0 => 1,
            _ if span.name == names[0].1 => 2,
            _ if span.name == names[1].0 => 3,
            _ => 4,
        };
        spans.sort_by_key(|span| (place(span), !span.failed));
        Ok(spans)
    }
}

fn borrowed(environment: &[Named]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
