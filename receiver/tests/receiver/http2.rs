//! Floods of HTTP/2: frames that cost their sender nothing. Each comes over several connections, again and again, and meanwhile genuine
//! events are taken over others, in bounded memory.

use std::{
    future::pending,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, LARGEST,
        LAST_REMEMBERED, NONE, PING, RST_STREAM, WINDOW_UPDATE, field, frame, preface, remembered, request, settings,
    },
    kafka::{connection, records, topic},
    running::{SECRET, Setup},
    sender::{Sender, fresh_id, sign},
    until,
};

/// What somebody says over a connection.
struct Flood {
    name: &'static str,
    /// The settings that it begins with.
    settings: &'static [(u16, u32)],
    /// What comes then, again and again, by the number of the round.
    round: fn(u32) -> Vec<u8>,
    /// Whether it reads what it is told.
    reads: bool,
}

const FLOODS: [Flood; 12] = [
    Flood { name: "streams that are reset at once", settings: &[], round: rapid_reset, reads: true },
    Flood { name: "streams that are to be reset", settings: &[], round: wrong_updates, reads: true },
    Flood { name: "a head without an end", settings: &[], round: endless_head, reads: true },
    Flood { name: "huge heads", settings: &[], round: huge_head, reads: true },
    Flood { name: "heads that are small until they are read", settings: &[], round: packed_head, reads: true },
    Flood { name: "more streams than there may be", settings: &[], round: open_streams, reads: true },
    Flood {
        name: "answers that are never let come",
        settings: &[(INITIAL_WINDOW_SIZE, 0)],
        round: forged_requests,
        reads: true,
    },
    Flood { name: "answers that are never read", settings: &[], round: forged_requests, reads: false },
    Flood { name: "pings", settings: &[], round: pings, reads: false },
    Flood { name: "settings", settings: &[], round: changing_settings, reads: false },
    Flood { name: "bodies of nothing", settings: &[], round: empty_data, reads: true },
    Flood { name: "more of a body than there may be", settings: &[], round: too_much_data, reads: true },
];

const CONNECTIONS: usize = 16;
const TIME: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);
/// What a receiver's container may take by default.
const MEMORY: u64 = 128 * 1024 * 1024;
/// What is sent at least.
const ENOUGH: usize = CONNECTIONS * LARGEST / 16;
/// Streams in a round.
const STREAMS: u32 = 50;

#[tokio::test]
async fn genuine_events_are_taken_in_bounded_memory_while_frames_flood_in() {
    let topic = topic(&connection(), &[]).await;
    let mut receiver = Setup::new(connection(), &topic).ready().await;
    let open = genuine_event(receiver.endpoint).await;
    until(async || receiver.status().await.accepted, |accepted| *accepted == 1).await;
    drop(open);

    let mut taken = 1;
    for flood in &FLOODS {
        let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let floods = async {
            let end = Instant::now() + TIME;
            join_all((0..CONNECTIONS).map(|_| pour(flood, receiver.endpoint, end, &sent))).await;
            is_over.store(true, Relaxed);
        };
        let events = async {
            let senders = [Sender::to(receiver.endpoint), Sender::http2(receiver.endpoint)];
            let mut taken = 0;
            while !is_over.load(Relaxed) {
                for sender in &senders {
                    let answer = sender.signed(SECRET, &fresh_id(), "{}").await.unwrap();
                    assert_eq!(answer.status, 202, "during {}", flood.name);
                    taken += 1;
                }
            }
            taken
        };
        let ((), meanwhile) = futures::join!(floods, events);
        let (memory, sent) = (receiver.peak_memory(), sent.load(Relaxed));
        println!("{}: {sent} B in, {meanwhile} events taken, at most {} KiB so far", flood.name, memory / 1024);
        assert!(sent > ENOUGH, "{}: only {sent} bytes", flood.name);
        assert!(memory < MEMORY, "{}: {memory} bytes", flood.name);
        taken += meanwhile;
    }
    assert_eq!(receiver.ended(), None);
    assert_eq!(records(&connection(), &topic).await.len(), taken, "and nothing else was written");
}

/// Floods until the end, over a new connection where one was closed; and for longer where that was not enough.
async fn pour(flood: &Flood, endpoint: SocketAddr, end: Instant, sent: &AtomicUsize) {
    // Slow enough that ports do not run out.
    const PACE: Duration = Duration::from_millis(50);
    let (mut pace, latest) = (interval(PACE), end + PATIENCE);
    while Instant::now() < end || (sent.load(Relaxed) <= ENOUGH && Instant::now() < latest) {
        pace.tick().await;
        let stream = TcpStream::connect(endpoint).await.unwrap();
        let left = end.saturating_duration_since(Instant::now()).max(PACE);
        // Whoever is let hold the connection holds it until then.
        drop(timeout(left, speak(flood, stream, sent)).await);
    }
}

/// Speaks until the receiver closes the connection.
async fn speak(flood: &Flood, stream: TcpStream, sent: &AtomicUsize) {
    let (mut reader, mut writer) = stream.into_split();
    let listen = async {
        let mut answers = vec![0; LARGEST];
        if !flood.reads {
            pending::<()>().await;
        }
        while matches!(reader.read(&mut answers).await, Ok(1..)) {}
    };
    let talk = async {
        let mut bytes = preface(flood.settings);
        for round in 0.. {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            sent.fetch_add(bytes.len(), Relaxed);
            bytes = (flood.round)(round);
        }
    };
    tokio::select! {
        () = listen => {},
        () = talk => {},
    }
}

/// Sends an event in frames of our own making: what floods are made of means what it says. Gives its connection.
async fn genuine_event(endpoint: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    let (id, signature) = (fresh_id(), sign(SECRET, b"{}"));
    let head = request(&[("x-github-delivery", id.as_str()), ("x-hub-signature-256", signature.as_str())]);
    let event = [preface(&[]), frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, b"{}")].concat();
    stream.write_all(&event).await.unwrap();
    stream
}

/// The streams of a round.
fn streams(round: u32) -> impl Iterator<Item = u32> {
    (round * STREAMS..(round + 1) * STREAMS).map(|number| 2 * number + 1)
}

fn forged() -> Vec<u8> {
    request(&[("x-github-delivery", "forged"), ("x-hub-signature-256", "sha256=00")])
}

fn forged_requests(round: u32) -> Vec<u8> {
    let head = forged();
    streams(round).flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).collect()
}

/// CVE-2023-44487.
fn rapid_reset(round: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let head = forged();
    let request = |stream| {
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [begin, frame(RST_STREAM, NONE, stream, &CANCEL)].concat()
    };
    streams(round).flat_map(request).collect()
}

/// CVE-2025-8671: what is wrong makes the other side reset the stream.
fn wrong_updates(round: u32) -> Vec<u8> {
    let head = forged();
    let request = |stream| {
        let begin = frame(HEADERS, END_HEADERS, stream, &head);
        [begin, frame(WINDOW_UPDATE, NONE, stream, &[0; 4])].concat()
    };
    streams(round).flat_map(request).collect()
}

/// Fields that fill a frame.
fn many_fields() -> Vec<u8> {
    let one = field("x-flood", &"x".repeat(200));
    one.repeat(LARGEST / one.len())
}

/// CVE-2024-27316.
fn endless_head(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, NONE, 1, &forged()),
        _ => frame(CONTINUATION, NONE, 1, &many_fields()),
    }
}

fn huge_head(round: u32) -> Vec<u8> {
    let (stream, more) = (2 * round + 1, many_fields());
    let middle = frame(CONTINUATION, NONE, stream, &more).repeat(64);
    let end = frame(CONTINUATION, END_HEADERS, stream, &more);
    [frame(HEADERS, NONE, stream, &forged()), middle, end].concat()
}

/// 16 KiB that mean 64 MiB.
fn packed_head(round: u32) -> Vec<u8> {
    let stream = 2 * round + 1;
    let head = [forged(), remembered("x-flood", &"x".repeat(4000))].concat();
    let references = [LAST_REMEMBERED; LARGEST];
    [frame(HEADERS, NONE, stream, &head), frame(CONTINUATION, END_HEADERS, stream, &references)].concat()
}

fn open_streams(round: u32) -> Vec<u8> {
    let head = forged();
    streams(round).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &head)).collect()
}

fn pings(_: u32) -> Vec<u8> {
    frame(PING, NONE, 0, b"pingpong").repeat(500)
}

fn changing_settings(_: u32) -> Vec<u8> {
    let change = |size| settings(&[(HEADER_TABLE_SIZE, size), (INITIAL_WINDOW_SIZE, size)]);
    [change(0), change(4096)].concat().repeat(250)
}

fn empty_data(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_HEADERS, 1, &forged()),
        _ => frame(DATA, NONE, 1, b"").repeat(1000),
    }
}

fn too_much_data(round: u32) -> Vec<u8> {
    let stream = 2 * round + 1;
    let begin = frame(HEADERS, END_HEADERS, stream, &forged());
    [begin, frame(DATA, NONE, stream, &[b'x'; LARGEST]).repeat(100)].concat()
}
