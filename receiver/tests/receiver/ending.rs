//! A receiver ends without failing a request.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use sluice_crds::Duration;

use crate::{
    kafka::{connection, connection_to, records, topic},
    running::{Running, SECRET, Setup},
    sender::{Sender, fresh_id},
    until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_told_to_end_under_load_fails_no_request() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    // Longer than all that follows takes.
    setup.drain_delay = Duration::from_secs(300);
    let mut receiver = setup.ready().await;
    let gone = AtomicBool::new(false);
    let senders = join_all((0..32).map(|_| send_until(&receiver, &gone)));
    let end = async {
        until(async || receiver.status().await.accepted, |accepted| *accepted > 500).await;
        receiver.terminate();
        // A gateway sends to receivers that are ready.
        until(async || receiver.is_ready().await, |ready| !ready).await;
        let so_far = receiver.status().await.accepted;
        until(async || receiver.status().await.accepted, |accepted| *accepted > so_far + 100).await;
        gone.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = futures::join!(senders, end);

    let accepted: usize = answers.into_iter().sum();
    // Nobody sends any more: a second signal cuts the wait short.
    receiver.terminate();
    let ended = until_ended(&mut receiver).await;
    assert!(ended.success(), "{ended}");
    assert_eq!(records(&connection(), &topic).await.len(), accepted);
    assert!(receiver.log().contains("Receiver ended"), "{}", receiver.log());
}

/// Sends until the receiver is gone; every event is accepted, and the last answer says that the connection ends.
async fn send_until(receiver: &Running, gone: &AtomicBool) -> usize {
    let sender = Sender::to(receiver.endpoint);
    let mut accepted = 0;
    let mut connection = None;
    while !gone.load(Ordering::Relaxed) {
        let answer = sender.signed(SECRET, &fresh_id(), "{}").await.unwrap();
        assert_eq!(answer.status, 202);
        accepted += 1;
        connection = answer.header("connection").map(str::to_owned);
    }
    assert_eq!(connection.as_deref(), Some("close"));
    accepted
}

pub(crate) async fn until_ended(receiver: &mut Running) -> std::process::ExitStatus {
    let receiver = std::sync::Mutex::new(receiver);
    until(async || receiver.lock().unwrap().ended(), Option::is_some).await.unwrap()
}

#[tokio::test]
async fn the_longest_request_is_answered_before_the_receiver_ends() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::new(connection_to(nobody.local_addr().unwrap().to_string()), "shop.github");
    setup.config.patience = Duration::from_secs(25);
    let mut receiver = setup.start();
    // Before, it would refuse the event at once.
    until(async || receiver.log().contains("Kafka clients started"), |started| *started).await;
    let end = async {
        // The event is known, so the request is on its way: Kafka is waited for.
        until(
            async || receiver.metrics().await.contains("events_remembered{namespace=\"shop\",webhook=\"github\"} 1"),
            |taken| *taken,
        )
        .await;
        receiver.terminate();
    };
    let (answer, ()) = futures::join!(receiver.post("{}"), end);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(until_ended(&mut receiver).await.success());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_served_ends_the_receiver_with_the_reason() {
    let mut setup = Setup::new(connection(), "shop.github");
    setup.config.respond = 500;
    let mut receiver = setup.start();
    let ended = until_ended(&mut receiver).await;
    assert!(!ended.success());
    assert!(receiver.log().contains("respond: 500 does not say"), "{}", receiver.log());
}
