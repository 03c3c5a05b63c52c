//! Secrets change while the receiver runs.

use std::fs;

use sluice_crds::wire::DeferredBecause;

use crate::{
    kafka::{connection, records, topic},
    running::{Running, SECRET, Setup},
    sender::{Sender, fresh_id},
    until,
};

async fn status_of(receiver: &Running, secret: &[u8]) -> u16 {
    Sender::to(receiver.endpoint).signed(secret, &fresh_id(), "{}").await.unwrap().status
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_restart() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.secrets(&["current", "next"]);
    let [current, next] = ["current", "next"].map(|name| setup.secret(name));
    fs::write(&next, "new secret").unwrap();
    let receiver = setup.ready().await;
    assert_eq!((status_of(&receiver, SECRET).await, status_of(&receiver, b"new secret").await), (202, 202));

    // As the kubelet does it: another file in the place of the old one.
    fs::write(current.with_extension("new"), "newest secret").unwrap();
    fs::rename(current.with_extension("new"), &current).unwrap();
    until(async || status_of(&receiver, b"newest secret").await, |status| *status == 202).await;
    assert_eq!((status_of(&receiver, SECRET).await, status_of(&receiver, b"new secret").await), (401, 202));
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nobody_is_refused_for_it() {
    let topic = topic(&connection(), &[]).await;
    let setup = Setup::new(connection(), &topic);
    let secret = setup.secret("current");
    fs::remove_file(&secret).unwrap();
    let receiver = setup.start();
    let alive = async || Sender::to(receiver.status).get("/healthz").await.map(|answer| answer.status).ok();
    until(alive, |status| *status == Some(200)).await;
    let answer = receiver.post("{}").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
    let ready = Sender::to(receiver.status).get("/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(std::str::from_utf8(&ready.body).unwrap().contains(secret.to_str().unwrap()), "{ready:?}");
    let status = receiver.status().await;
    assert_eq!(status.unusable_secrets, std::slice::from_ref(&secret));
    assert!(status.trouble.unwrap().contains(secret.to_str().unwrap()));
    assert_eq!(status.deferred, [(DeferredBecause::Secret, 1)].into());

    fs::write(&secret, SECRET).unwrap();
    until(async || receiver.is_ready().await, |ready| *ready).await;
    assert_eq!(receiver.post("{}").await.status, 202);
    assert_eq!(receiver.status().await.unusable_secrets, Vec::<std::path::PathBuf>::new());
    assert_eq!(records(&connection(), &topic).await.len(), 1);
}

#[tokio::test]
async fn while_one_secret_of_two_is_missing_the_other_is_enough() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.secrets(&["current", "next"]);
    let receiver = setup.ready().await;
    // What the present secret did not sign, the missing one may have signed.
    assert_eq!((status_of(&receiver, SECRET).await, status_of(&receiver, b"new secret").await), (202, 503));
}
