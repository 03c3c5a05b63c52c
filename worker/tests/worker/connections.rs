//! Connections to an API: used again, given up, shared, and made by way of a proxy.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::serve::Listener;
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Version, header::CONNECTION};
use sluice_crds::{
    Body,
    wire::{HttpSinkConfig, SinkConfig, TlsConfig, WorkerConfig},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    api::{Answer, Api, status},
    encrypted::{Authority, Encrypted, authority, issue},
    kafka::Place,
    mounted::Mounted,
    running::{Worker, config, numbered},
    until,
};

/// Answers without a body, in HTTP/1 by hand: whatever it does with its connections is the test's doing. It ends with the test.
struct ByHand {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    closing: watch::Sender<()>,
    server: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Connections so far, and those that are open.
    accepted: usize,
    open: usize,
    /// The lines before the body, of each request.
    heads: Vec<Vec<String>>,
    bodies: BTreeSet<String>,
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ByHand {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen, closing) =
            (listener.local_addr().unwrap(), Arc::<Mutex<Seen>>::default(), watch::Sender::new(()));
        let (kept, closed) = (Arc::clone(&seen), closing.clone());
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, mut closed) = (Arc::clone(&kept), closed.subscribe());
                tokio::spawn(async move {
                    {
                        let mut seen = seen.lock().unwrap();
                        seen.accepted += 1;
                        seen.open += 1;
                    }
                    tokio::select! {
                        () = serve(stream, &seen) => {}
                        _ = closed.changed() => {}
                    }
                    seen.lock().unwrap().open -= 1;
                });
            }
        });
        Self { address, seen, closing, server }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        until(what, async || self.seen(), wanted).await
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<Seen>) {
    let mut stream = BufReader::new(stream);
    while let Some(head) = head(&mut stream).await {
        let length = value(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        {
            let mut seen = seen.lock().unwrap();
            seen.heads.push(head);
            seen.bodies.insert(String::from_utf8(body).unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

/// The lines of a request before its body; `None` where the connection ends.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

fn value<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn trusting(place: &Place, url: &str, mounted: &Mounted, authority: &Authority) -> WorkerConfig {
    mounted.write("ledger", &[("ca.crt", authority.pem().as_str())]);
    let tls = TlsConfig { ca: Some(mounted.file("ledger", "ca.crt")), ..TlsConfig::default() };
    WorkerConfig { sink: SinkConfig::Http(HttpSinkConfig { tls, ..HttpSinkConfig::new(url) }), ..config(place, url) }
}

#[tokio::test]
async fn connections_that_the_api_closes_while_they_wait_cost_no_record_and_no_attempt() {
    let (place, api) = (Place::new("closed", 1).await, ByHand::start().await);
    let worker = Worker::start(&config(&place, &format!("http://{}/entries", api.address)));
    place.write(numbered(0..300)).await;
    let before = api.until("the first requests", |seen| seen.bodies.len() == 300).await;
    place.until_no_lag().await;
    assert!(before.accepted < 100, "connections are not used again: {}", before.accepted);

    api.closing.send_replace(());
    api.until("all connections closed", |seen| seen.open == 0).await;
    // What came to its connections before this question is known to the worker with it.
    worker.status().await;
    place.write(numbered(300..600)).await;
    let seen = api.until("requests over new connections", |seen| seen.bodies.len() == 600).await;
    place.until_no_lag().await;
    assert!(seen.accepted > before.accepted);
    assert_eq!(seen.heads.len(), 600);
    assert_eq!(seen.heads[0][0], "POST /entries HTTP/1.1");
    assert_eq!(value(&seen.heads[0], "host"), Some(api.address.to_string().as_str()));
    let told = worker.until_status("all are told", |told| told.delivered == 600).await;
    assert_eq!((told.retries, told.dead_lettered), (0, 0), "{told:?}");
}

#[tokio::test]
async fn an_api_that_ends_each_connection_with_its_answer_gets_all_records_once() {
    let place = Place::new("ending-each", 1).await;
    let ending = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
    let api = Api::scripted(move |_| Answer { headers: ending.clone(), body: b"taken".to_vec(), ..status(200) }).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..200)).await;
    api.until_numbers(200).await;
    place.until_no_lag().await;
    let told = worker.until_status("all are told", |told| told.delivered == 200).await;
    assert_eq!((told.retries, told.dead_lettered), (0, 0), "{told:?}");
    assert_eq!(api.requests().len(), 200);
}

#[tokio::test]
async fn a_request_that_could_have_a_body_says_that_it_has_none() {
    let (place, api) = (Place::new("bodiless", 1).await, ByHand::start().await);
    let sink = HttpSinkConfig {
        method: r#"{{ if .n == 0 { "GET" } else { "POST" } }}"#.into(),
        body: Body::None,
        ..HttpSinkConfig::new(format!("http://{}/entries", api.address))
    };
    let usual = config(&place, &sink.url);
    let worker = Worker::start(&WorkerConfig { sink: SinkConfig::Http(sink), ..usual });
    place.write(numbered(0..2)).await;
    let seen = api.until("both requests", |seen| seen.heads.len() == 2).await;
    place.until_no_lag().await;
    let lengths: BTreeSet<_> = seen.heads.iter().map(|head| (&*head[0], value(head, "content-length"))).collect();
    assert_eq!(lengths, [("GET /entries HTTP/1.1", None), ("POST /entries HTTP/1.1", Some("0"))].into());
    assert_eq!(worker.status().await.retries, 0);
}

#[tokio::test]
async fn an_answer_of_megabytes_is_not_read_to_its_end() {
    let place = Place::new("large", 1).await;
    let api = Api::scripted(|request| {
        let code = if request.body["n"] == 1 { 422 } else { 200 };
        Answer { body: vec![b'a'; 4 * 1024 * 1024], ..status(code) }
    })
    .await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..20)).await;
    let letters = place.dead_letters(1).await;
    place.until_no_lag().await;
    let (_, message) = letters[0].headers.iter().find(|(name, _)| name == "sluice-error-message").unwrap();
    let message = String::from_utf8(message.clone().unwrap()).unwrap();
    assert!(
        message.starts_with("the API answered 422 Unprocessable Entity: aaaa") && message.len() < 1024,
        "{message}"
    );
    let told = worker.until_status("all are told", |told| told.delivered + told.dead_lettered == 20).await;
    assert_eq!((told.delivered, told.retries, told.dead_lettered), (19, 0, 1), "{told:?}");
}

/// Counts connections.
struct Counted(Encrypted, Arc<AtomicUsize>);

impl Listener for Counted {
    type Io = <Encrypted as Listener>::Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let accepted = self.0.accept().await;
        self.1.fetch_add(1, Relaxed);
        accepted
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn requests_that_begin_together_share_one_connection_where_the_api_speaks_http2() {
    let (place, mounted, servers) = (Place::new("shared", 1).await, Mounted::new(), authority("servers"));
    let accepted = Arc::<AtomicUsize>::default();
    let listener = Counted(Encrypted::new(&issue(&servers, "localhost"), None).await, Arc::clone(&accepted));
    let api = Api::at(listener, |_| Answer { after: Duration::from_millis(20), ..status(200) });
    let url = api.url.replace("http://127.0.0.1", "https://localhost");
    place.write(numbered(0..500)).await;
    let worker = Worker::start(&trusting(&place, &url, &mounted, &servers));
    api.until_numbers(500).await;
    place.until_no_lag().await;
    assert_eq!(accepted.load(Relaxed), 1);
    let requests = api.requests();
    assert!(requests.iter().all(|request| request.version == Version::HTTP_2));
    // What HTTP/1 says in it is part of the address here.
    assert!(requests.iter().all(|request| !request.headers.contains_key("host")));
    assert_eq!(worker.status().await.retries, 0);
}

/// An API of HTTP/2 that begins neither with one of all requests nor with what comes after it began to end a connection, which it does
/// after each hundred. It says so and resets nothing: what it does not read any more has somewhere to go.
async fn interrupting(mut listener: Encrypted, taken: Arc<Mutex<Vec<Vec<u8>>>>, accepted: Arc<AtomicUsize>) {
    let mut sockets = Vec::new();
    loop {
        let (stream, _) = listener.accept().await;
        let is_first = accepted.fetch_add(1, Relaxed) == 0;
        let taken = Arc::clone(&taken);
        sockets.push(stream.get_ref().0.as_fd().try_clone_to_owned().unwrap());
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut number = 0;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                number += 1;
                match number {
                    10 if is_first => {
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    100 => connection.graceful_shutdown(),
                    _ => {}
                }
                tokio::spawn(take(request.into_body(), respond, Arc::clone(&taken)));
            }
        });
    }
}

async fn take(mut body: RecvStream, mut respond: SendResponse<Bytes>, taken: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut record = Vec::new();
    while let Some(part) = body.data().await {
        record.extend(part.unwrap());
    }
    taken.lock().unwrap().push(record);
    respond.send_response(http::Response::new(()), true).unwrap();
}

#[tokio::test]
async fn requests_that_an_api_has_not_begun_with_are_made_again_and_cost_no_attempt() {
    let (place, mounted, servers) = (Place::new("interrupted", 1).await, Mounted::new(), authority("servers"));
    let listener = Encrypted::new(&issue(&servers, "localhost"), None).await;
    let url = format!("https://localhost:{}/entries", listener.local_addr().unwrap().port());
    let (taken, accepted) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicUsize>::default());
    let api = tokio::spawn(interrupting(listener, Arc::clone(&taken), Arc::clone(&accepted)));
    let mut config = trusting(&place, &url, &mounted, &servers);
    // Each request is among the first hundred of the connection over which it is made again.
    config.delivery.max_in_flight = 32;
    place.write(numbered(0..500)).await;
    let worker = Worker::start(&config);
    let told = worker.until_status("all records delivered", |told| told.delivered == 500).await;
    place.until_no_lag().await;
    assert_eq!((told.retries, told.dead_lettered), (0, 0), "{told:?}");
    assert!(accepted.load(Relaxed) > 1);
    let taken = taken.lock().unwrap().clone();
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (500, 500));
    api.abort();
}

#[tokio::test]
async fn a_proxy_is_given_requests_for_an_api_without_tls() {
    let (place, proxy) = (Place::new("forwarded", 1).await, ByHand::start().await);
    let address = format!("http://me:pa%3Ass@{}", proxy.address);
    let config = config(&place, "http://ledger.example/entries");
    let worker = Worker::start_behind(&[("HTTP_PROXY", address.as_str()), ("NO_PROXY", ".svc")], &config);
    place.write(numbered(0..20)).await;
    let seen = proxy.until("all requests", |seen| seen.bodies.len() == 20).await;
    place.until_no_lag().await;
    for head in &seen.heads {
        assert_eq!(head[0], "POST http://ledger.example/entries HTTP/1.1");
        assert_eq!(value(head, "host"), Some("ledger.example"));
        assert_eq!(value(head, "proxy-authorization"), Some("Basic bWU6cGE6c3M="));
    }
    assert_eq!(worker.status().await.retries, 0);
}

#[tokio::test]
async fn a_proxy_makes_a_tunnel_to_an_api_with_tls_and_sees_nothing_else() {
    let (place, mounted, servers) = (Place::new("tunnelled", 1).await, Mounted::new(), authority("servers"));
    let api = Api::at(Encrypted::new(&issue(&servers, "ledger.example"), None).await, |_| status(200));
    // Only the proxy knows where the name leads.
    let url = api.url.replace("http://127.0.0.1", "https://ledger.example");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://me:pa%3Ass@{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<Vec<String>>>>::default();
    let proxy = tokio::spawn(tunnels(listener, Arc::clone(&asked)));
    let worker =
        Worker::start_behind(&[("HTTPS_PROXY", address.as_str())], &trusting(&place, &url, &mounted, &servers));
    place.write(numbered(0..100)).await;
    api.until_numbers(100).await;
    place.until_no_lag().await;
    assert!(api.requests().iter().all(|request| request.version == Version::HTTP_2));
    assert!(api.requests().iter().all(|request| !request.headers.contains_key("proxy-authorization")));
    let asked = asked.lock().unwrap().clone();
    let host = url.trim_start_matches("https://").trim_end_matches("/entries");
    assert_eq!(asked.iter().map(|head| head[0].clone()).collect::<Vec<_>>(), [format!("CONNECT {host} HTTP/1.1")]);
    let authorization = asked[0].iter().find(|line| line.to_ascii_lowercase().starts_with("proxy-authorization: "));
    assert!(authorization.unwrap().ends_with("Basic bWU6cGE6c3M="));
    assert_eq!(worker.status().await.retries, 0);
    proxy.abort();
}

/// A proxy that takes every name for this machine.
async fn tunnels(listener: TcpListener, asked: Arc<Mutex<Vec<Vec<String>>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let head = head(&mut stream).await.unwrap();
            let (_, port) = head[0].split(' ').nth(1).unwrap().rsplit_once(':').unwrap();
            let mut target = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
            asked.lock().unwrap().push(head);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            // How a tunnel ends is nobody's business.
            drop(copy_bidirectional(&mut stream.into_inner(), &mut target).await);
        });
    }
}
