//! What a request may be, and how long it may take.

use std::{
    convert::Infallible,
    io::ErrorKind,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream;
use http::{HeaderName, Method};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

use sluice_crds::wire::ReceiverControls;

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, Running, SECRET, Setup},
    sender::{Sender, fresh_id, full, raw_event, sign},
    until,
};

async fn receiver(body_limit: &str) -> (String, Running) {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.body_limit = body_limit.parse().unwrap();
    let receiver = setup.ready().await;
    (topic, receiver)
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let (topic, receiver) = receiver("1Ki").await;
    let sender = Sender::to(receiver.endpoint);
    assert_eq!(receiver.post(vec![b'x'; 1024]).await.status, 202);
    assert_eq!(receiver.post(vec![b'x'; 1025]).await.status, 413);
    let chunks = [[b'x'; 512]; 3].map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(&chunk))));
    let request = sender.request(Method::POST, PATH).header("x-hub-signature-256", sign(SECRET, &[b'x'; 1536]));
    let request = request.header("x-github-delivery", "chunked");
    let answer = sender.send(request.body(StreamBody::new(stream::iter(chunks)).boxed()).unwrap()).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(records(&connection(), &topic).await.len(), 1);
}

#[tokio::test]
async fn a_head_is_answered_for_what_is_wrong_with_it() {
    let (topic, receiver) = receiver("1Mi").await;
    let sender = Sender::to(receiver.endpoint);
    let mut compressed = sender.event(SECRET, "compressed", "{}");
    compressed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(sender.send(compressed).await.unwrap().status, 415);
    let elsewhere = sender.request(Method::POST, "/shop/github/").body(full("{}")).unwrap();
    assert_eq!(sender.send(elsewhere).await.unwrap().status, 404);
    let put = sender.send(sender.request(Method::PUT, PATH).body(full("{}")).unwrap()).await.unwrap();
    assert_eq!((put.status, put.header("allow")), (405, Some("POST")));
    for sender in [sender, Sender::http2(receiver.endpoint)] {
        let mut crowd = sender.event(SECRET, "crowd", "{}");
        for number in 0..101 {
            crowd.headers_mut().insert(format!("x-{number}").parse::<HeaderName>().unwrap(), "1".parse().unwrap());
        }
        assert_eq!(sender.send(crowd).await.unwrap().status, 431);
        let mut long = sender.event(SECRET, "long", "{}");
        long.headers_mut().insert("x-long", "x".repeat(20_000).parse().unwrap());
        assert!(sender.send(long).await.map_or(true, |answer| answer.status == 431));
    }
    assert_eq!(records(&connection(), &topic).await, []);
}

#[tokio::test]
async fn a_paused_endpoint_asks_to_come_back_and_goes_on_without_a_restart() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.controls = ReceiverControls { paused: true, replicas: 1 };
    let receiver = setup.ready().await;
    let answer = receiver.post("{}").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("60")));
    assert_eq!(records(&connection(), &topic).await, []);

    let paused = async || receiver.status().await.paused;
    receiver.control(ReceiverControls { paused: false, replicas: 1 });
    until(paused, |paused| !paused).await;
    assert_eq!(receiver.post("{}").await.status, 202);
    // What is no longer readable changes nothing.
    receiver.write_controls("{");
    until(async || receiver.log(), |log| log.contains("Controls stay as they are")).await;
    assert_eq!(receiver.post("{}").await.status, 202);
    receiver.control(ReceiverControls { paused: true, replicas: 1 });
    until(paused, |paused| *paused).await;
    assert_eq!(receiver.post("{}").await.status, 503);
    assert_eq!(records(&connection(), &topic).await.len(), 2);
}

#[tokio::test]
async fn http2_without_tls_is_spoken_on_the_same_port() {
    let (topic, receiver) = receiver("1Mi").await;
    let sender = Sender::http2(receiver.endpoint);
    for id in ["e-1", "e-2"] {
        assert_eq!(sender.signed(SECRET, id, "{}").await.unwrap().status, 202);
    }
    assert_eq!(records(&connection(), &topic).await.len(), 2);
}

#[tokio::test]
async fn a_head_that_comes_in_drops_is_not_waited_for() {
    let (_, receiver) = receiver("1Mi").await;
    let mut idle = TcpStream::connect(receiver.endpoint).await.unwrap();
    assert_eq!(accepted_over(&mut idle, "before").await, 202);
    // Each of them would hold its connection for ever: nothing, the beginning of HTTP/2's preface, a head byte by byte.
    for begin in ["", "PRI * HTT", "POST / HTTP/1.1\r\nx-slow: "] {
        let mut took = Vec::new();
        // A machine that stands still for a moment adds to it.
        while !took.iter().any(|took: &Duration| (4..9).contains(&took.as_secs())) {
            assert!(took.len() < 3, "{begin:?}: {took:?}");
            let mut stream = TcpStream::connect(receiver.endpoint).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            took.push(closed_after(stream, begin.starts_with("POST")).await);
        }
    }
    // Fifteen seconds later the connection of the first event is still good.
    assert_eq!(accepted_over(&mut idle, "after").await, 202);
}

/// More are opened than a receiver serves at once.
#[tokio::test]
async fn connections_that_find_no_place_wait_and_are_served_when_others_end() {
    const PLACES: usize = 1024;
    const WAITING: usize = 76;
    let descriptors = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: descriptors.maximum, maximum: descriptors.maximum }).unwrap();
    let (topic, receiver) = receiver("1Mi").await;
    let connect = async || {
        let mut stream = TcpStream::connect(receiver.endpoint).await.unwrap();
        // At once: a connection over which nothing is said for some seconds loses its place.
        stream.write_all(raw_event(&fresh_id()).as_bytes()).await.unwrap();
        stream
    };
    let (mut served, mut waiting) = (Vec::new(), Vec::new());
    for number in 0..PLACES + WAITING {
        let side = if number < PLACES { &mut served } else { &mut waiting };
        side.push(connect().await);
    }
    for stream in &mut served {
        assert_eq!(answer_on(stream).await, 202);
    }
    assert_eq!(accepted_over(&mut served[0], &fresh_id()).await, 202);
    assert_eq!(receiver.status().await.accepted, u64::try_from(PLACES + 1).unwrap());
    assert!(receiver.is_ready().await);
    for stream in &waiting {
        let read = stream.try_read(&mut [0]);
        assert!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{read:?}");
    }

    served.truncate(PLACES - WAITING);
    for stream in &mut waiting {
        assert_eq!(timeout(Duration::from_mins(1), answer_on(stream)).await.unwrap(), 202);
    }
    assert_eq!(records(&connection(), &topic).await.len(), PLACES + 1 + WAITING);
}

/// Sends an event over a connection that stays open; the status of the answer, 0 where the connection was closed.
async fn accepted_over(stream: &mut TcpStream, id: &str) -> u16 {
    stream.write_all(raw_event(id).as_bytes()).await.unwrap();
    answer_on(stream).await
}

async fn answer_on(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = std::str::from_utf8(&answer[..length]).unwrap();
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// How long the receiver keeps a connection, byte by byte where it drips.
async fn closed_after(stream: TcpStream, drips: bool) -> Duration {
    let start = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    let mut pace = interval(Duration::from_millis(500));
    let mut byte = [0];
    let drip = async {
        loop {
            pace.tick().await;
            if drips && writer.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let closed = async { while matches!(reader.read(&mut byte).await, Ok(1)) {} };
    timeout(Duration::from_mins(1), async {
        tokio::select! { () = drip => {}, () = closed => {} }
    })
    .await
    .unwrap();
    start.elapsed()
}
