//! Tokens of a real issuer: its keys change, it goes away and comes back.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use http::Method;
use sluice_crds::wire::{DeferredBecause, RejectedBecause, SharedWebhook, Verification};

use crate::{
    kafka::{connection, topic},
    running::{PATH, Running, SHORT, Setup, free_port},
    sender::{Sender, full},
    signers, until,
};

/// An OpenID Connect provider with one key, until it is dropped.
struct Issuer {
    process: Child,
    port: u16,
}

impl Issuer {
    async fn start(port: u16, key: &str, algorithm: &str) -> Self {
        let process = Command::new("node")
            .args(["issuer.mjs", &port.to_string(), key, algorithm])
            .current_dir(signers::programs())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let issuer = Self { process, port };
        let published = async || issuer.sender().get("/jwks").await.map(|answer| answer.status).ok();
        until(published, |status| *status == Some(200)).await;
        issuer
    }

    fn sender(&self) -> Sender {
        Sender::to(([127, 0, 0, 1], self.port).into())
    }

    async fn token(&self) -> String {
        let sender = self.sender();
        let request = sender.request(Method::POST, "/token").header("authorization", "Basic cGFydG5lcjpzZWNyZXQ=");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = sender.send(request.body(full("grant_type=client_credentials")).unwrap()).await.unwrap();
        let token: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        token["access_token"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

async fn receiver(port: u16, audience: &str) -> Setup {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.outgoing.allow = vec!["127.0.0.1".parse().unwrap()];
    setup.config.verification = Verification::Jwt {
        issuer: format!("http://127.0.0.1:{port}"),
        audience: vec![audience.to_owned()],
        subjects: vec!["partner".to_owned()],
        jwks_uri: format!("http://127.0.0.1:{port}/jwks"),
    };
    setup
}

async fn send(receiver: &Running, token: &str) -> (u16, Option<String>) {
    let sender = Sender::to(receiver.endpoint);
    let request = sender.request(Method::POST, PATH).header("authorization", format!("Bearer {token}"));
    let answer = sender.send(request.body(full(token.to_owned())).unwrap()).await.unwrap();
    (answer.status, answer.header("www-authenticate").map(str::to_owned))
}

/// Waits until the receiver says that something with this text keeps it from working.
async fn trouble(receiver: &Running, text: &str) {
    let alive = async || Sender::to(receiver.status).get("/healthz").await.map(|answer| answer.status).ok();
    until(alive, |status| *status == Some(200)).await;
    let told = async || receiver.status().await.credentials_trouble;
    until(told, |trouble| trouble.as_ref().is_some_and(|trouble| trouble.contains(text))).await;
}

#[tokio::test]
async fn a_token_is_taken_while_its_issuer_is_away_and_after_its_keys_have_changed() {
    let port = free_port();
    let issuer = Issuer::start(port, "k1", "RS256").await;
    let receiver = receiver(port, "hooks").await.ready().await;
    let token = issuer.token().await;
    assert_eq!(send(&receiver, &token).await.0, 202);
    let mut forged = token.clone().into_bytes();
    let at = forged.len() - 20;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let refused = send(&receiver, std::str::from_utf8(&forged).unwrap()).await;
    assert_eq!(refused, (401, Some("Bearer".to_owned())));

    drop(issuer);
    assert_eq!(send(&receiver, &token).await.0, 202);

    // Another key, of another kind: the first token that names it has the keys fetched.
    let issuer = Issuer::start(port, "k2", "ES256").await;
    let rotated = issuer.token().await;
    until(async || send(&receiver, &rotated).await.0, |status| *status == 202).await;
    assert_eq!(send(&receiver, &token).await.0, 401, "its key was withdrawn");
}

#[tokio::test]
async fn a_token_of_a_key_that_its_issuer_is_yet_to_tell_is_asked_for_again() {
    let port = free_port();
    let issuer = Issuer::start(port, "k1", "ES256").await;
    let another = Issuer::start(free_port(), "k2", "ES256").await;
    let mut setup = receiver(port, "hooks").await;
    // Its senders do not wait for as long as an issuer that is asked for its keys.
    setup.config.patience = SHORT;
    let receiver = setup.ready().await;
    let (token, unknown) = (issuer.token().await, another.token().await);
    assert_eq!(send(&receiver, &token).await.0, 202);
    // It was asked just now, and had no such key.
    assert_eq!(send(&receiver, &unknown).await.0, 401);

    drop(issuer);
    let _silent = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until(async || send(&receiver, &unknown).await.0, |status| *status == 503).await;
    let status = receiver.status().await;
    assert_eq!(status.credentials_trouble, None, "nobody knows yet that it does not answer");
    assert_eq!(status.deferred, [(DeferredBecause::Secret, 1)].into());
    assert_eq!(send(&receiver, &token).await.0, 202, "its key is known");
}

#[tokio::test]
async fn a_token_for_somebody_else_is_refused() {
    let port = free_port();
    let issuer = Issuer::start(port, "k1", "EdDSA").await;
    let receiver = receiver(port, "another").await.ready().await;
    assert_eq!(send(&receiver, &issuer.token().await).await.0, 401);
    assert_eq!(receiver.status().await.rejected, [(RejectedBecause::Signature, 1)].into());
}

#[tokio::test]
async fn while_no_key_was_ever_fetched_senders_are_asked_to_come_back() {
    let port = free_port();
    let receiver = receiver(port, "hooks").await.start();
    trouble(&receiver, "/jwks cannot be fetched").await;
    assert!(!receiver.is_ready().await);
    let unknown = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.e30.AAAA";
    assert_eq!(send(&receiver, unknown).await.0, 503);
    assert_eq!(receiver.status().await.deferred, [(DeferredBecause::Secret, 1)].into());

    let issuer = Issuer::start(port, "k1", "ES256").await;
    let token = issuer.token().await;
    until(async || receiver.is_ready().await, |ready| *ready).await;
    assert_eq!(send(&receiver, &token).await.0, 202);
}

#[tokio::test]
async fn another_configuration_keeps_the_keys_that_were_fetched() {
    let port = free_port();
    let issuer = Issuer::start(port, "k1", "ES256").await;
    let config = receiver(port, "hooks").await.config;
    let (revision, hostnames) = ("1".to_owned(), Vec::new());
    let mut webhook = SharedWebhook { revision, generation: 1, paused: false, hostnames, header: None, config };
    let receiver = Running::start_of_many(std::slice::from_ref(&webhook));
    until(async || receiver.is_ready().await, |ready| *ready).await;
    let token = issuer.token().await;
    until(async || send(&receiver, &token).await.0, |status| *status == 202).await;

    drop(issuer);
    webhook.config.respond = 200;
    receiver.put("github", &serde_json::to_string(&webhook).unwrap());
    let is_served = |status: &u16| {
        assert_ne!(*status, 503, "its keys are lost");
        *status == 200
    };
    until(async || send(&receiver, &token).await.0, is_served).await;
}

#[tokio::test]
async fn keys_are_not_fetched_from_this_machine_unless_it_is_allowed() {
    let mut setup = receiver(free_port(), "hooks").await;
    setup.config.outgoing.allow.clear();
    trouble(&setup.start(), "127.0.0.1 is an address of this machine").await;
}
