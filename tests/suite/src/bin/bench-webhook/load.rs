//! Senders: connections that are kept, each with one request at a time. Requests differ in their id only, and in
//! the Webhook that they are for where many share a receiver.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::hmac;
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval},
};

use crate::subject::Subject;

pub(crate) const PATH: &str = "/shop/github";
/// Name of the Webhook that has a receiver of its own; its path ends with it.
pub(crate) const WEBHOOK: &str = "github";
/// So many Webhooks share one.
pub(crate) const SHARING: u64 = 10_000;
pub(crate) const SECRET: &str = "It's a Secret to Everybody";
const BODY: usize = 2048;
/// How often requests that are due are handed to connections: what tokio's clock can tell apart.
const TICK: Duration = Duration::from_millis(1);

/// What was answered in some time.
pub(crate) struct Traffic {
    /// Answers in a second.
    pub(crate) rate: f64,
    /// How long each took, in order.
    pub(crate) latencies: Vec<Duration>,
}

/// A connection, and the request that it sends.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    id: Range<usize>,
    /// Where the name of one of many Webhooks stands: each request is for the next one.
    webhook: Option<Range<usize>>,
    answer: Vec<u8>,
    acknowledged: Arc<AtomicU64>,
}

/// Name of one of the Webhooks that share a receiver, as long as [`WEBHOOK`].
pub(crate) fn sharing(number: u64) -> String {
    format!("gh{number:04}")
}

/// Each connection sends its next request when it has the answer to the one before.
pub(crate) async fn as_fast_as_possible(
    subject: &Subject,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Traffic> {
    let open = open(subject, connections).await?;
    let end = Instant::now() + time;
    let senders = open.into_iter().map(|mut connection| {
        spawned(async move {
            let mut latencies = Vec::new();
            let mut begin = Instant::now();
            while begin < end {
                connection.post().await?;
                let now = Instant::now();
                latencies.push(now - begin);
                begin = now;
            }
            Ok(latencies)
        })
    });
    Ok(Traffic::of(&try_join_all(senders).await?, time))
}

/// So many requests become due in a second, whatever comes back. Each takes the next connection that is free, and its time counts
/// from when it was due.
pub(crate) async fn at_rate(
    subject: &Subject,
    connections: usize,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Traffic> {
    let (due, next) = mpsc::unbounded_channel::<Instant>();
    let next = Arc::new(Mutex::new(next));
    let senders: Vec<_> = open(subject, connections)
        .await?
        .into_iter()
        .map(|mut connection| {
            let next = Arc::clone(&next);
            spawned(async move {
                let mut latencies = Vec::new();
                loop {
                    let Some(due) = next.lock().await.recv().await else { return Ok(latencies) };
                    connection.post().await?;
                    latencies.push(due.elapsed());
                }
            })
        })
        .collect();
    let clock = spawned(async move {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let begin = Instant::now();
        let mut sent = 0.0;
        while begin.elapsed() < time {
            let now = ticks.tick().await.into_std();
            let wanted = (now.saturating_duration_since(begin).as_secs_f64() * rate).floor();
            while sent < wanted {
                due.send(now).context("all connections are lost")?;
                sent += 1.0;
            }
        }
        Ok(())
    });
    let (latencies, ()) = futures::try_join!(try_join_all(senders), clock)?;
    Ok(Traffic::of(&latencies, time))
}

/// On any thread: one alone would be what is measured.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::spawn(work).await.context("it does not panic")?
}

async fn open(subject: &Subject, connections: usize) -> anyhow::Result<Vec<Connection>> {
    try_join_all((0..connections).map(|_| Connection::open(subject))).await
}

impl Traffic {
    fn of(latencies: &[Vec<Duration>], time: Duration) -> Self {
        let mut latencies = latencies.concat();
        latencies.sort_unstable();
        let count = u32::try_from(latencies.len()).map_or(f64::INFINITY, f64::from);
        Self { rate: count / time.as_secs_f64(), latencies }
    }
}

impl Connection {
    pub(crate) async fn open(subject: &Subject) -> anyhow::Result<Self> {
        let address = subject.endpoint;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (request, id) = request();
        let end = "POST ".len() + PATH.len();
        let webhook = subject.kind.is_shared().then_some(end - WEBHOOK.len()..end);
        let acknowledged = Arc::clone(&subject.acknowledged);
        Ok(Self { stream, request, id, webhook, answer: Vec::with_capacity(1024), acknowledged })
    }

    /// Sends an event that nobody has sent, and waits until it is taken.
    pub(crate) async fn post(&mut self) -> anyhow::Result<()> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let number = IDS.fetch_add(1, Ordering::Relaxed);
        self.request[self.id.clone()].copy_from_slice(format!("{number:016x}").as_bytes());
        if let Some(webhook) = self.webhook.clone() {
            self.request[webhook].copy_from_slice(sharing(number % SHARING).as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection was closed");
            if is_whole(&self.answer)? {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
    }
}

/// An event of GitHub's, and where its id stands.
fn request() -> (Vec<u8>, Range<usize>) {
    let open = r#"{"type":"invoice.paid","text":""#;
    let body = format!("{open}{}\"}}", "x".repeat(BODY - open.len() - 2));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hex::encode(hmac::sign(&key, body.as_bytes()));
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: hooks.example\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n"
    );
    let before =
        format!("{head}x-hub-signature-256: sha256={signature}\r\nx-github-event: push\r\nx-github-delivery: ");
    let id = before.len()..before.len() + 16;
    (format!("{before}{}\r\n\r\n{body}", "0".repeat(16)).into_bytes(), id)
}

/// Whether an answer is there as a whole. Error: it does not say that the event was taken.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(false) };
    let (head, body) = (std::str::from_utf8(&answer[..head])?, answer.len() - head - 4);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 2") {
        bail!("an event was not taken: {}", String::from_utf8_lossy(answer));
    }
    let lengths =
        lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.map(|(_, value)| value.trim()).next();
    let length: usize = length.with_context(|| format!("an answer without a length: {head}"))?.parse()?;
    Ok(body >= length)
}
