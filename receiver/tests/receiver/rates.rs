//! How many requests are taken. Limits are shared by a hundred receivers, so that counts are exact: another request comes once in 100 s.

use http::Request;
use sluice_crds::wire::{RateConfig, RateLimits, ReceiverControls, RejectedBecause, SourceLimit};

use crate::{
    kafka::{connection, records, topic},
    running::{Running, SECRET, Setup},
    sender::{Answer, Body, Sender, fresh_id},
    until,
};

/// A burst of the whole Webhook, and one request a second.
fn burst(burst: u32) -> RateConfig {
    RateConfig { requests_per_second: 1, burst }
}

async fn receiver(limits: RateLimits) -> (String, Running) {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.rate_limits = limits;
    // This one takes a hundredth.
    setup.controls = ReceiverControls { paused: false, replicas: 100 };
    (topic, setup.ready().await)
}

fn event(sender: &Sender, forwarded: &str) -> Request<Body> {
    let mut request = sender.event(SECRET, &fresh_id(), "{}");
    request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
    request
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[tokio::test]
async fn genuine_requests_are_counted_after_they_are_verified() {
    let (topic, receiver) = receiver(RateLimits { genuine: Some(burst(300)), ..RateLimits::default() }).await;
    let sender = Sender::to(receiver.endpoint);
    for _ in 0..10 {
        assert_eq!(sender.signed(b"another secret", &fresh_id(), "{}").await.unwrap().status, 401);
    }
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(receiver.post("{}").await);
    }
    assert_eq!(statuses(&answers), [202, 202, 202, 429, 429]);
    let wait: u64 = answers[3].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=100).contains(&wait), "{wait} s");
    assert_eq!(records(&connection(), &topic).await.len(), 3);
    let status = receiver.status().await;
    assert_eq!(status.rejected, [(RejectedBecause::Signature, 10), (RejectedBecause::Rate, 2)].into());

    // The limit is divided anew when there are fewer receivers: from now on another request comes each second.
    receiver.control(ReceiverControls { paused: false, replicas: 1 });
    until(async || receiver.post("{}").await.status, |status| *status == 202).await;
}

#[tokio::test]
async fn a_source_that_sends_too_much_is_refused_and_the_others_are_not() {
    let source = SourceLimit { rate: burst(200), trusted_hops: 1 };
    let (topic, receiver) = receiver(RateLimits { source: Some(source), ..RateLimits::default() }).await;
    let sender = Sender::to(receiver.endpoint);
    let mut answers = Vec::new();
    // What stands before the gateway's own entry is the sender's invention.
    for forwarded in ["192.0.2.1", "8.8.8.8, 192.0.2.1", "9.9.9.9, 192.0.2.1", "192.0.2.2"] {
        answers.push(sender.send(event(&sender, forwarded)).await.unwrap());
    }
    assert_eq!(statuses(&answers), [202, 202, 429, 202]);
    assert!(answers[2].header("retry-after").is_some());
    assert_eq!(records(&connection(), &topic).await.len(), 3);
}

#[tokio::test]
async fn without_a_trusted_proxy_a_source_is_who_is_connected() {
    let source = SourceLimit { rate: burst(200), trusted_hops: 0 };
    let (_, receiver) = receiver(RateLimits { source: Some(source), ..RateLimits::default() }).await;
    let sender = Sender::to(receiver.endpoint);
    let mut answers = Vec::new();
    for forwarded in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        answers.push(sender.send(event(&sender, forwarded)).await.unwrap());
    }
    assert_eq!(statuses(&answers), [202, 202, 429]);
}

#[tokio::test]
async fn all_requests_together_are_counted_before_they_are_verified() {
    let (_, receiver) = receiver(RateLimits { total: Some(burst(300)), ..RateLimits::default() }).await;
    let sender = Sender::to(receiver.endpoint);
    let mut answers = Vec::new();
    for secret in [SECRET, b"another secret", b"another secret", SECRET] {
        answers.push(sender.signed(secret, &fresh_id(), "{}").await.unwrap());
    }
    assert_eq!(statuses(&answers), [202, 401, 401, 429]);
}
