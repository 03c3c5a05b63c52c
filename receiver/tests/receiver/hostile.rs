//! Those who hold connections for nothing, and those whose requests two servers may read in two ways.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{Duration, timeout},
};

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, Running, SECRET, Setup},
    sender::{Sender, fresh_id, raw_event, sign},
};

async fn receiver() -> (String, Running) {
    let topic = topic(&connection(), &[]).await;
    let receiver = Setup::new(connection(), &topic).ready().await;
    (topic, receiver)
}

/// How often at most it is attacked.
const ATTACKS: usize = 3;

#[tokio::test]
async fn genuine_events_are_taken_while_others_hold_connections_for_nothing() {
    let (topic, receiver) = receiver().await;
    let mut taken = 0;
    for attack in 1..=ATTACKS {
        let (seen, meanwhile) = attacked(&receiver).await;
        taken += meanwhile;
        let Some(seen) = seen.iter().find(|seen| !is_available(seen)) else { break };
        // A machine that stands still may keep a connection waiting once; where there is no place for it, it waits each time.
        assert!(attack < ATTACKS, "{seen}");
    }
    assert_eq!(records(&connection(), &topic).await.len(), taken);
}

/// Whether a new connection was served within five seconds whenever one of these tools looked.
fn is_available(seen: &str) -> bool {
    let mut looks = seen.lines().filter(|line| line.contains("service available:")).peekable();
    looks.peek().is_some() && looks.all(|look| look.contains("YES"))
}

/// All four modes of `slowhttptest` at once, each with more connections than a sender has: what each of them saw, and how many genuine events
/// were taken meanwhile.
async fn attacked(receiver: &Running) -> (Vec<String>, usize) {
    let attack = async |mode: &str| {
        let url = format!("http://{}{PATH}", receiver.endpoint);
        let mut tool = Command::new("slowhttptest");
        tool.args([mode, "-c", "200", "-r", "200", "-i", "1", "-l", "12", "-p", "5", "-v", "1", "-u", &url]);
        let ended = tool.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let ended = ended.unwrap_or_else(|error| panic!("slowhttptest, a package of Debian: {error}"));
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let is_over = AtomicBool::new(false);
    let attacks = async {
        let seen = join_all(["-H", "-B", "-R", "-X"].map(attack)).await;
        is_over.store(true, Ordering::Relaxed);
        seen
    };
    let events = async {
        let sender = Sender::to(receiver.endpoint);
        let mut taken = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(sender.signed(SECRET, &fresh_id(), "{}").await.unwrap().status, 202);
            taken += 1;
        }
        taken
    };
    futures::join!(attacks, events)
}

/// Behind each of these comes a second, genuine event. A gateway that reads the first one in another way takes it for a part of it.
#[tokio::test]
async fn a_request_with_two_meanings_is_refused_and_nothing_behind_it_is_read() {
    let (topic, receiver) = receiver().await;
    let framings = [
        "content-length: 2\r\ncontent-length: 200",
        "content-length: 2, 200",
        "content-length: +2",
        "content-length: -2",
        "content-length: 0x2",
        "content-length: 99999999999999999999999",
        "content-length: 2\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 2",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding : chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\0\r\ncontent-length: 2",
        "content-length : 2",
        "content length: 2",
    ];
    let chunks = ["fffffffffffffffff\r\n{}", "-2\r\n{}", "2;\n{}", "2\r\n{}x"];
    let chunks = chunks.map(|chunks| ("transfer-encoding: chunked", format!("{chunks}\r\n0\r\n\r\n")));
    let requests = framings.map(|framing| (framing, "{}".to_owned())).into_iter().chain(chunks);
    for (framing, body) in requests {
        assert_eq!(answers(&receiver, framing, &body).await, ["400"], "{framing:?} {body:?}");
    }
    assert_eq!(records(&connection(), &topic).await, []);
    // The same way to ask, without a second meaning.
    assert_eq!(answers(&receiver, "content-length: 2\r\nconnection: close", "{}").await, ["202"]);
}

/// The statuses of all answers to a request with these headers and this body, and to the event behind it, until the receiver
/// closes the connection.
async fn answers(receiver: &Running, framing: &str, body: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(receiver.endpoint).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: receiver\r\nx-github-delivery: {}\r\n", fresh_id());
    let head = format!("{head}x-hub-signature-256: {}\r\n{framing}\r\n\r\n{body}", sign(SECRET, b"{}"));
    stream.write_all(format!("{head}{}", raw_event(&fresh_id())).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    // Where bytes were left it is closed with a reset.
    drop(timeout(Duration::from_mins(1), stream.read_to_end(&mut answers)).await.unwrap());
    let text = String::from_utf8_lossy(&answers);
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer.chars().take(3).collect()).collect()
}
