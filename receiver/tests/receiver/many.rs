//! Many Webhooks in one receiver.

use std::{collections::BTreeSet, fs};

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use sluice_crds::{
    KafkaConnection, NamespacedName,
    wire::{DeferredBecause, RateConfig, RateLimits, ReceiverStatus, SharedWebhook},
};
use tempfile::TempDir;

use crate::{
    faults::{Paused, patient_cluster},
    kafka::{connection, connection_to, records, topic},
    running::{Running, SHORT, Setup},
    sender::{Answer, Sender, fresh_id, full, sign},
    until,
};

/// A Webhook at `/shop/<name>` with a secret of that name in a folder, and a topic of its own.
async fn webhook(secrets: &TempDir, name: &str) -> SharedWebhook {
    webhook_at(&connection(), secrets, name).await
}

/// The same with its topic in any Kafka.
async fn webhook_at(kafka: &KafkaConnection, secrets: &TempDir, name: &str) -> SharedWebhook {
    let topic = topic(kafka, &[]).await;
    let mut setup = Setup::new(kafka.clone(), &topic);
    setup.secrets(&[]);
    let secret = secrets.path().join(name);
    fs::write(&secret, name).unwrap();
    let sluice_crds::wire::Verification::Preset { secrets, .. } = &mut setup.config.verification else { panic!() };
    secrets.push(secret);
    setup.config.webhook = NamespacedName { namespace: "shop".into(), name: name.into() };
    setup.config.path = format!("/shop/{name}");
    SharedWebhook {
        revision: "1".into(),
        generation: 1,
        paused: false,
        hostnames: Vec::new(),
        header: None,
        config: setup.config,
    }
}

fn text(webhook: &SharedWebhook) -> String {
    serde_json::to_string(webhook).unwrap()
}

impl Running {
    async fn post_to(&self, path: &str, secret: &str, id: &str) -> Answer {
        let sender = Sender::to(self.endpoint);
        let request = sender.request(Method::POST, path).header("x-github-delivery", id);
        let request = request.header("x-hub-signature-256", sign(secret.as_bytes(), b"{}")).body(full("{}")).unwrap();
        sender.send(request).await.unwrap()
    }

    /// Sends a new event to the Webhook of that name, with its secret.
    async fn post_for(&self, name: &str) -> u16 {
        self.post_to(&format!("/shop/{name}"), name, &fresh_id()).await.status
    }

    /// Sends a new event with this body to the Webhook of that name. None: the answer came before the body was sent, and was lost.
    async fn post_large_for(&self, sender: &Sender, name: &str, body: Bytes) -> Option<u16> {
        let request = sender.request(Method::POST, &format!("/shop/{name}")).header("x-github-delivery", fresh_id());
        let request = request.header("x-hub-signature-256", sign(name.as_bytes(), &body)).body(full(body)).unwrap();
        sender.send(request).await.ok().map(|answer| answer.status)
    }

    /// What it tells of a Webhook.
    async fn status_of(&self, webhook: &str) -> ReceiverStatus {
        let answer = Sender::to(self.status).get(&format!("/status/{webhook}")).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn serves(&self, webhook: &str, revision: &str) {
        until(async || self.status_of(webhook).await, |status| status.revision == revision).await;
    }
}

pub(crate) async fn ready(webhooks: &[SharedWebhook]) -> Running {
    let receiver = Running::start_of_many(webhooks);
    until(async || receiver.is_ready().await, |ready| *ready).await;
    receiver
}

#[tokio::test]
async fn each_webhook_has_its_own_secret_topic_and_counts() {
    let secrets = tempfile::tempdir().unwrap();
    let [a, b] = [webhook(&secrets, "a").await, webhook(&secrets, "b").await];
    let receiver = ready(&[a.clone(), b.clone()]).await;
    for (name, secret, expected) in [("a", "a", 202), ("a", "b", 401), ("b", "b", 202), ("b", "b", 202)] {
        assert_eq!(receiver.post_to(&format!("/shop/{name}"), secret, &fresh_id()).await.status, expected, "{name}");
    }
    assert_eq!(records(&connection(), &a.config.topic).await.len(), 1);
    assert_eq!(records(&connection(), &b.config.topic).await.len(), 2);
    let [of_a, of_b] = [receiver.status_of("a").await, receiver.status_of("b").await];
    assert_eq!((of_a.accepted, of_b.accepted, of_a.rejected.len(), of_b.rejected.len()), (1, 2, 1, 0));
    let metrics = receiver.metrics().await;
    for line in [
        r#"sluice_receiver_events_accepted_total{namespace="shop",webhook="a"} 1"#,
        r#"sluice_receiver_events_accepted_total{namespace="shop",webhook="b"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert_eq!(metrics.matches("# TYPE sluice_receiver_events_accepted counter").count(), 1);
}

#[tokio::test]
async fn what_changes_for_one_webhook_changes_nothing_for_the_others() {
    let secrets = tempfile::tempdir().unwrap();
    let mut a = webhook(&secrets, "a").await;
    let receiver = ready(std::slice::from_ref(&a)).await;
    assert_eq!(receiver.post_to("/shop/a", "a", "evt-1").await.status, 202);
    let before = receiver.status_of("a").await;

    let b = webhook(&secrets, "b").await;
    assert_eq!(receiver.post_for("b").await, 503, "it is not known yet");
    receiver.put("b", &text(&b));
    until(async || receiver.post_for("b").await, |status| *status == 202).await;
    assert_eq!(receiver.post_to("/shop/a", "a", "evt-1").await.status, 202);
    let after = receiver.status_of("a").await;
    assert_eq!((after.accepted, after.duplicates, after.instance), (1, 1, before.instance));

    // Its own change takes neither its counts nor what it remembers.
    a.revision = "2".into();
    a.config.rate_limits =
        RateLimits { genuine: Some(RateConfig { requests_per_second: 1, burst: 1_000 }), ..RateLimits::default() };
    receiver.put("a", &text(&a));
    receiver.serves("a", "2").await;
    until(async || receiver.post_to("/shop/a", "a", "evt-1").await.status, |status| *status == 202).await;
    let after = receiver.status_of("a").await;
    assert_eq!((after.accepted, after.duplicates), (1, 2));

    a.paused = true;
    receiver.put("a", &text(&a));
    until(async || receiver.post_for("a").await, |status| *status == 503).await;
    assert_eq!(receiver.post_for("b").await, 202);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_served_stops_nobody_and_leaves_what_was_served_before() {
    let secrets = tempfile::tempdir().unwrap();
    let mut a = webhook(&secrets, "a").await;
    let receiver = ready(std::slice::from_ref(&a)).await;
    receiver.put("broken", "{");
    let has_trouble = |status: &ReceiverStatus| status.configuration_trouble.is_some();
    let told = until(async || receiver.status_of("broken").await, has_trouble).await;
    assert!(told.configuration_trouble.unwrap().contains("is not what this receiver reads"));
    let answer = receiver.post_to("/shop/broken", "broken", "evt-1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));

    a.revision = "2".into();
    a.config.respond = 500;
    receiver.put("a", &text(&a));
    let told = until(async || receiver.status_of("a").await, has_trouble).await;
    assert!(told.configuration_trouble.unwrap().contains("respond"));
    assert_eq!((told.revision.as_str(), receiver.post_for("a").await), ("1", 202));
    assert!(receiver.is_ready().await);
}

#[tokio::test]
async fn a_word_of_a_newer_operator_is_told_of_and_leaves_what_was_served_before() {
    let secrets = tempfile::tempdir().unwrap();
    let a = webhook(&secrets, "a").await;
    let receiver = ready(std::slice::from_ref(&a)).await;
    let mut newer = serde_json::to_value(&a).unwrap();
    newer["revision"] = "2".into();
    newer["config"]["event"]["cloudEvents"] = "AcceptWhatComes".into();
    receiver.put("a", &newer.to_string());
    let told = until(async || receiver.status_of("a").await, |status| status.configuration_trouble.is_some()).await;
    let trouble = told.configuration_trouble.unwrap();
    assert!(trouble.contains("AcceptWhatComes") && trouble.contains("have the same version?"), "{trouble}");
    assert_eq!((told.revision.as_str(), receiver.post_for("a").await), ("1", 202));
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_forgotten() {
    let secrets = tempfile::tempdir().unwrap();
    let [a, b] = [webhook(&secrets, "a").await, webhook(&secrets, "b").await];
    let receiver = ready(&[a, b]).await;
    assert_eq!((receiver.post_for("a").await, receiver.post_for("b").await), (202, 202));
    receiver.take_away("a");
    until(async || receiver.status_of("a").await, |status| status.instance.is_empty()).await;
    assert_eq!((receiver.post_for("a").await, receiver.post_for("b").await), (503, 202));
    let metrics = receiver.metrics().await;
    assert!(!metrics.contains(r#"webhook="a""#) && metrics.contains(r#"webhook="b""#), "{metrics}");
    assert!(metrics.contains("sluice_receiver_requests_unknown_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn of_webhooks_with_one_path_the_host_name_decides() {
    let secrets = tempfile::tempdir().unwrap();
    let [mut a, mut b] = [webhook(&secrets, "a").await, webhook(&secrets, "b").await];
    for webhook in [&mut a, &mut b] {
        webhook.config.path = "/hooks".into();
        webhook.hostnames = vec![format!("{}.example", webhook.config.webhook.name)];
    }
    let receiver = ready(&[a.clone(), b]).await;
    let sender = Sender::to(receiver.endpoint);
    for (host, secret, expected) in [("a.example", "a", 202), ("b.example:80", "a", 401), ("c.example", "a", 503)] {
        let request = sender.request(Method::POST, "/hooks").header("host", host);
        let request = request.header("x-github-delivery", fresh_id());
        let signed = request.header("x-hub-signature-256", sign(secret.as_bytes(), b"{}")).body(full("{}")).unwrap();
        assert_eq!(sender.send(signed).await.unwrap().status, expected, "{host}");
    }
    assert_eq!(records(&connection(), &a.config.topic).await.len(), 1);
}

/// What is sent to those that stand still is more than a receiver holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_whose_kafka_stands_still_leave_memory_to_the_others() {
    const STILL: usize = 5;
    const EVENTS: usize = 80;
    const BODY: usize = 256 * 1024;
    let cluster = patient_cluster("receiver-many-still");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let secrets = tempfile::tempdir().unwrap();
    let mut webhooks = vec![webhook(&secrets, "well").await];
    let names: Vec<String> = (0..STILL).map(|number| format!("still-{number}")).collect();
    for name in &names {
        let mut webhook = webhook_at(&kafka, &secrets, name).await;
        webhook.config.patience = SHORT;
        webhooks.push(webhook);
    }
    let receiver = ready(&webhooks).await;
    for webhook in &webhooks {
        let name = &webhook.config.webhook.name;
        until(async || receiver.post_for(name).await, |status| *status == 202).await;
    }

    let paused = Paused::broker(&cluster);
    let body = Bytes::from(vec![b'x'; BODY]);
    let post_all = async |name: &str| {
        let sender = Sender::http2(receiver.endpoint);
        join_all((0..EVENTS).map(|_| receiver.post_large_for(&sender, name, body.clone()))).await
    };
    let answers = join_all(names.iter().map(|name| post_all(name))).await;
    let answers: BTreeSet<_> = answers.into_iter().flatten().flatten().collect();
    assert_eq!(answers, [503].into());
    for name in &names {
        let deferred = receiver.status_of(name).await.deferred;
        let occurred =
            [DeferredBecause::Unconfirmed, DeferredBecause::Busy].map(|because| deferred.contains_key(&because));
        assert_eq!(occurred, [true, true], "{name}: {deferred:?}");
    }
    // All of these wait for their Kafka, and will for some time.
    let sender = Sender::to(receiver.endpoint);
    for size in [2, 2 * BODY] {
        let answer = receiver.post_large_for(&sender, "well", Bytes::from(vec![b'x'; size])).await;
        assert_eq!(answer, Some(202), "{size} bytes");
    }
    drop(paused);
    until(async || receiver.post_for("still-0").await, |status| *status == 202).await;
}
