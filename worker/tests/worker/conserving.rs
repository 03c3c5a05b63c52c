//! The law on real Kafka: whatever becomes of workers and API, every record is delivered or a dead letter, and the order of a key
//! is kept. `SLUICE_RECORDS` says with how many records.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse};
use http::{StatusCode, header::RETRY_AFTER};
use sluice_crds::{Backoff, Delivery, Duration as Text, Retry, wire::WorkerConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    kafka::Place,
    running::{Worker, config, numbered},
};

const RECORDS: usize = 10_000;
const PARTITIONS: i32 = 6;
/// Progress of the longest pause: a killed member is missed after 10 s.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_rebalances_and_a_bad_api_lose_nothing_and_keep_the_order_of_keys() {
    let records =
        env::var("SLUICE_RECORDS").map_or(RECORDS, |number| number.parse().expect("SLUICE_RECORDS is a number"));
    let place = Place::new("conserved", PARTITIONS).await;
    let ledger = Arc::<Ledger>::default();
    let url = faulty(serve(Arc::clone(&ledger)).await).await;
    let usual = config(&place, &url);
    let backoff = Backoff { initial: Text::from_millis(20), max: Text::from_millis(200), ..Backoff::default() };
    let retry = Retry { backoff, ..usual.delivery.retry.clone() };
    let delivery = Delivery { retry, timeout: Text::from_millis(500), ..usual.delivery.clone() };
    let config = WorkerConfig { delivery, log_level: sluice_crds::LogLevel::Info, ..usual };
    for first in (0..records).step_by(10_000) {
        place.write(numbered(first..records.min(first + 10_000))).await;
    }
    let refused = (0..records).filter(|n| is_refused(*n)).count();

    let mut workers = vec![Worker::start(&config), Worker::start(&config)];
    let steps = (records / 50_000).max(6);
    for step in 1..steps {
        ledger.until_taken(step * (records - refused) / steps).await;
        match step % 3 {
            1 => workers.push(Worker::start(&config)),
            2 => workers.remove(0).kill(),
            _ => {
                let leaving = workers.remove(0);
                leaving.terminate();
                assert!(leaving.ended().await.success());
                workers.push(Worker::start(&config));
            }
        }
    }
    ledger.until_taken(records - refused).await;
    place.until_no_lag().await;

    let letters = place.dead_letters(place.dead_letter_count().await).await;
    let buried: BTreeSet<i64> = letters.iter().map(|letter| number(letter.value.as_ref().unwrap())).collect();
    assert!(buried.iter().all(|n| is_refused(usize::try_from(*n).unwrap())), "{buried:?}");
    assert_eq!(buried.len(), refused, "every refused record is a dead letter");
    let seen = ledger.0.lock().unwrap();
    assert_eq!((seen.taken.len(), seen.disorder.as_slice()), (records - refused, [].as_slice()));
    eprintln!("{records} records: {} requests, {} dead letters for {refused} refused", seen.requests, letters.len());
}

/// An API that remembers little, so that a million records fit.
#[derive(Default)]
struct Ledger(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    requests: usize,
    taken: BTreeSet<i64>,
    /// The highest number that each key has had taken.
    last: HashMap<i64, i64>,
    /// Numbers that were taken for the first time after a higher one of their key.
    disorder: Vec<i64>,
}

impl Ledger {
    /// Waits, as long as there is progress.
    async fn until_taken(&self, number: usize) {
        let look = || self.0.lock().unwrap().taken.len();
        let mut before = look();
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        let mut since = tokio::time::Instant::now();
        while before < number {
            pace.tick().await;
            let now = look();
            if now > before {
                since = tokio::time::Instant::now();
            }
            assert!(since.elapsed() < PATIENCE, "no progress at {now} of {number}");
            before = now;
        }
    }

    fn answer(&self, n: i64) -> StatusCode {
        let mut seen = self.0.lock().unwrap();
        seen.requests += 1;
        match seen.requests % 61 {
            7 => return StatusCode::SERVICE_UNAVAILABLE,
            23 => return StatusCode::TOO_MANY_REQUESTS,
            _ if is_refused(usize::try_from(n).unwrap()) => return StatusCode::UNPROCESSABLE_ENTITY,
            _ => {}
        }
        if seen.taken.insert(n) {
            let last = seen.last.insert(n % 10, n);
            if last.is_some_and(|last| last > n) {
                seen.disorder.push(n);
            }
        }
        StatusCode::OK
    }
}

fn is_refused(n: usize) -> bool {
    n % 101 == 50
}

fn number(body: &[u8]) -> i64 {
    serde_json::from_slice::<serde_json::Value>(body).unwrap()["n"].as_i64().unwrap()
}

async fn serve(ledger: Arc<Ledger>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = async |State(ledger): State<Arc<Ledger>>, body: Bytes| {
        let status = ledger.answer(number(&body));
        let retry_after = (status == StatusCode::TOO_MANY_REQUESTS).then(|| (RETRY_AFTER, "0".parse().unwrap()));
        (status, HeaderMap::from_iter(retry_after)).into_response()
    };
    let routes = Router::new().fallback(answer).with_state(ledger);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

/// An address before that API whose connections break: some at once, some with garbage, some never answer, all others after a while.
async fn faulty(api: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/entries", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let connections = AtomicUsize::new(0);
        while let Ok((stream, _)) = listener.accept().await {
            let connection = connections.fetch_add(1, Relaxed);
            tokio::spawn(carry(stream, api.clone(), connection));
        }
    });
    url
}

async fn carry(mut client: TcpStream, api: String, connection: usize) {
    match connection % 7 {
        // With what was sent to it unread, a connection that is closed is reset.
        1 => drop(client.readable().await),
        3 => {
            drop(client.read(&mut [0; 1024]).await);
            drop(client.write_all(b"\x15\x03\x01 garbage\r\n\r\n").await);
        }
        5 => drop(timeout(Duration::from_secs(1), std::future::pending::<()>()).await),
        _ => {
            let Ok(mut server) = TcpStream::connect(api).await else { return };
            let life = Duration::from_millis(200 + 37 * u64::try_from(connection % 16).unwrap());
            drop(timeout(life, copy_bidirectional(&mut client, &mut server)).await);
        }
    }
}
