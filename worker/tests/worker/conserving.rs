//! The law on real Kafka: whatever becomes of workers, broker and API, every record is delivered or a dead letter, and the order of a key
//! is kept. `SLUICE_RECORDS` says with how many records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse};
use http::{StatusCode, header::RETRY_AFTER};
use serde_json::json;
use sluice_cluster::{Component, Part, testing::OwnCluster};
use sluice_crds::{
    Backoff, Delivery, Duration as Text, Retry,
    wire::{KafkaSinkConfig, SinkConfig, WorkerConfig},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    disturbing::{Crowd, History, records},
    exactly_once::{assert_once, exactly_once},
    into_kafka::into,
    kafka::{self, Place, connection_to},
    repeats::{Repeats, Seen, Source, Taken, source_of},
    running::{config, numbered},
    until,
    wiremock::{Exchange, WireMock},
};

const PARTITIONS: i32 = 6;
/// Progress of the longest pause: a killed member is missed after 10 s, and a broker takes its time to come back.
const PATIENCE: Duration = Duration::from_mins(2);
/// The header that says which worker makes a request or writes a record.
const WORKER: &str = "x-worker";
/// Records that a worker writes to Kafka in one batch, at most: 5,000, and the rest of what was read with the last of them.
const WRITTEN_AT_ONCE: usize = 5_256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_rebalances_outages_and_a_bad_api_lose_nothing_and_keep_the_order_of_keys() {
    let records = records(10_000);
    let cluster = OwnCluster::up("worker-soak", &[Part::Kafka]).unwrap();
    let place = Place::at(connection_to(&cluster.kafka_bootstrap()), "conserved", PARTITIONS).await;
    let ledger = Arc::<Ledger>::default();
    let config = impatient(&place, &faulty(serve(Arc::clone(&ledger)).await).await);
    for first in (0..records).step_by(10_000) {
        place.write(numbered(first..records.min(first + 10_000))).await;
    }
    let refused = (0..records).filter(|n| is_refused(*n)).count();

    let named = move |number: usize| {
        let mut config = config.clone();
        if let SinkConfig::Http(http) = &mut config.sink {
            http.headers.insert(WORKER.to_owned(), number.to_string());
        }
        config
    };
    let mut crowd = Crowd::start(&place, [cluster.component(Component::Kafka)], named);
    let steps = (records / 5_000).max(6);
    for step in 1..steps {
        ledger.until_taken(step * (records - refused) / steps).await;
        crowd.disturb(step).await;
    }
    ledger.until_taken(records - refused).await;
    place.until_no_lag().await;

    let letters = place.dead_letters(place.dead_letter_count().await).await;
    let buried: BTreeSet<i64> = letters.iter().map(|letter| number(letter.value.as_ref().unwrap())).collect();
    assert!(buried.iter().all(|n| is_refused(usize::try_from(*n).unwrap())), "{buried:?}");
    assert_eq!(buried.len(), refused, "every refused record is a dead letter");
    let source = source_of(&place).await;
    let (seen, history) = (ledger.0.lock().unwrap(), crowd.history());
    assert_eq!((seen.taken.len(), seen.disorder.as_slice()), (records - refused, [].as_slice()));
    let Repeats { most, unexplained } = Repeats::of(&seen, history, &source);
    // Whose answer was lost with its connection is given back as it is.
    let settled: Vec<_> = unexplained.into_iter().filter(|again| !again.was_last).collect();
    let (number, first) = (settled.len(), settled.first());
    assert!(
        settled.is_empty(),
        "{number} were delivered again that had to be committed, such as {first:?}: {history:?}"
    );
    eprintln!(
        "{records} records: {} requests, {} delivered again by another worker, at most {most} of them after one death; {} dead letters for \
         {refused} refused",
        seen.requests,
        seen.again.len(),
        letters.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_rebalances_and_outages_lose_nothing_and_write_nothing_twice() {
    let records = records(30_000);
    let cluster = OwnCluster::up("worker-soak-once", &[Part::KafkaReplicated]).unwrap();
    let place = Place::at(connection_to(&cluster.kafka_replicated_bootstrap()), "conserved-once", PARTITIONS).await;
    let target = place.another("entries", 1, &[]).await;
    let config = exactly_once(&place, &target);
    let brokers = Component::REPLICATED.map(|broker| cluster.component(broker));
    let mut crowd = Crowd::start(&place, brokers, move |_| config.clone());
    write_and_disturb(&place, &target, records, &mut crowd).await;
    assert_once(&place.read_all(&target, "last-of-conserved").await, 0..i64::try_from(records).unwrap());
    assert_eq!(place.dead_letter_count().await, 0);
}

/// What the topic holds in the end, by when the broker took it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_rebalances_and_outages_of_a_kafka_sink_lose_nothing_and_repeat_only_what_was_not_committed() {
    let records = records(60_000);
    let cluster = OwnCluster::up("worker-soak-into", &[Part::Kafka]).unwrap();
    let place = Place::at(connection_to(&cluster.kafka_bootstrap()), "conserved-into", PARTITIONS).await;
    let target = place.another("entries", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let clock = Clock::now();
    let (sink, usual) = into(&place, &target);
    let named = move |number: usize| {
        let headers = [(WORKER.to_owned(), number.to_string())].into();
        WorkerConfig { sink: SinkConfig::Kafka(KafkaSinkConfig { headers, ..sink.clone() }), ..usual.clone() }
    };
    let mut crowd = Crowd::start(&place, [cluster.component(Component::Kafka)], named);
    write_and_disturb(&place, &target, records, &mut crowd).await;

    let written = place.read_all(&target, "last-of-conserved-into").await;
    let (mut seen, mut last) = (Seen::default(), BTreeMap::new());
    for record in &written {
        let n = number(record.value.as_ref().unwrap());
        seen.take(n, clock.taken(record));
        last.insert(n % 10, n);
    }
    assert_eq!(seen.taken.len(), records, "none is lost");
    let end = i64::try_from(records).unwrap();
    let expected: BTreeMap<_, _> = (end - 10..end).map(|n| (n % 10, n)).collect();
    assert_eq!(last, expected, "the last of each key is the last");
    assert_eq!(place.dead_letter_count().await, 0);
    let (source, history) = (source_of(&place).await, crowd.history());
    let Repeats { most, unexplained } = Repeats::of(&seen, history, &source);
    let (number, first) = (unexplained.len(), unexplained.first());
    assert!(
        number <= history.changes * WRITTEN_AT_ONCE,
        "{number} were written again that had to be committed, such as {first:?}: {history:?}"
    );
    assert_repeats_were_not_committed(&written, &source, history, &clock);
    eprintln!(
        "{records} records: {} written, {} again by another worker, at most {most} of them after one death",
        written.len(),
        seen.again.len()
    );
}

/// What was committed before a worker was killed is written by nobody any more.
fn assert_repeats_were_not_committed(written: &[kafka::Seen], source: &Source, history: &History, clock: &Clock) {
    for record in written {
        let n = number(record.value.as_ref().unwrap());
        let (partition, offset) = source[&n];
        let Taken { worker, at } = clock.taken(record);
        for death in history.deaths().iter().filter(|death| death.at < at) {
            let committed = death.committed.get(&partition).copied().unwrap_or_default();
            assert!(offset >= committed, "worker {worker} wrote {n} again, which was committed before {death:?}");
        }
    }
}

/// Writes records part by part, and disturbs the workers in the midst of each.
async fn write_and_disturb(place: &Place, target: &str, records: usize, crowd: &mut Crowd<'_>) {
    let steps = (records / 10_000).max(6);
    let end_of = |step: usize| step * records / steps;
    for step in 1..=steps {
        // At most the part before is left over.
        let finished = end_of(step.saturating_sub(2));
        until("progress", async || committed(place).await, |committed| *committed >= finished).await;
        let before = place.written(target).await;
        place.write(numbered(end_of(step - 1)..end_of(step))).await;
        let wanted = before + (end_of(step) - end_of(step - 1)) / 3;
        until("records", async || place.written(target).await, |written| *written >= wanted).await;
        crowd.disturb(step).await;
    }
    place.until_no_lag().await;
}

/// The journal of an API that is not ours against what the topic holds. WireMock keeps all requests in its memory, so it is never asked
/// for more than so many records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_rebalances_and_outages_leave_the_whole_topic_in_the_journal_of_an_independent_api() {
    const STEPS: usize = 6;
    let records = records(10_000).min(10_000);
    let cluster = OwnCluster::up("worker-soak-wiremock", &[Part::Kafka]).unwrap();
    let place = Place::at(connection_to(&cluster.kafka_bootstrap()), "conserved-wiremock", PARTITIONS).await;
    let wiremock = WireMock::start().await;
    for (kind, status) in [("taken", 201), ("refused", 422)] {
        wiremock.answers(kind, 5, json!({"status": status})).await;
    }
    place.write((0..records).map(of_a_kind)).await;
    let config = impatient(&place, &wiremock.url());
    let mut crowd = Crowd::start(&place, [cluster.component(Component::Kafka)], move |_| config.clone());
    for step in 1..STEPS {
        let wanted = u64::try_from(step * records / STEPS).unwrap();
        until("requests", async || wiremock.count().await, |seen| *seen >= wanted).await;
        crowd.disturb(step).await;
    }
    place.until_no_lag().await;

    let mut expected = BTreeMap::<i64, Vec<i64>>::new();
    for (partition, end) in place.ends().await {
        let held = place.read_partition(&place.topic, partition, usize::try_from(end).unwrap()).await;
        for n in held.iter().map(|record| number(record.value.as_ref().unwrap())) {
            expected.entry(n % 10).or_default().push(n);
        }
    }
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), records);
    let (mut met, mut seen) = (BTreeMap::<i64, Vec<i64>>::new(), BTreeSet::new());
    for Exchange { kind, n, status, .. } in wiremock.journal().await {
        let refused = is_refused(usize::try_from(n).unwrap());
        assert_eq!((kind.as_str(), status), if refused { ("refused", 422) } else { ("taken", 201) }, "{n}");
        if seen.insert(n) {
            met.entry(n % 10).or_default().push(n);
        }
    }
    assert_eq!(met, expected, "each key's records, by when they came first");
    let letters = place.dead_letters(place.dead_letter_count().await).await;
    let buried: BTreeSet<i64> = letters.iter().map(|letter| number(letter.value.as_ref().unwrap())).collect();
    let refused = seen.iter().filter(|n| is_refused(usize::try_from(**n).unwrap())).count();
    assert!(buried.iter().all(|n| is_refused(usize::try_from(*n).unwrap())), "{buried:?}");
    assert_eq!(buried.len(), refused, "every refused record is a dead letter");
}

/// A record that says how it is answered.
fn of_a_kind(n: usize) -> (String, String) {
    let kind = if is_refused(n) { "refused" } else { "taken" };
    (format!("key-{}", n % 10), json!({"kind": kind, "n": n}).to_string())
}

/// A worker that does not wait long, as there are many records that fail.
fn impatient(place: &Place, url: &str) -> WorkerConfig {
    let usual = config(place, url);
    let backoff = Backoff { initial: Text::from_millis(20), max: Text::from_millis(200), ..Backoff::default() };
    let retry = Retry { backoff, ..usual.delivery.retry.clone() };
    let delivery = Delivery { retry, timeout: Text::from_millis(500), ..usual.delivery.clone() };
    WorkerConfig { delivery, ..usual }
}

/// Records that are committed, over all partitions.
async fn committed(place: &Place) -> usize {
    usize::try_from(place.committed().await.values().sum::<i64>()).unwrap()
}

/// An API that remembers little, so that a million records fit.
#[derive(Default)]
struct Ledger(Mutex<Seen>);

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

    fn answer(&self, n: i64, worker: usize) -> StatusCode {
        let mut seen = self.0.lock().unwrap();
        let seen = &mut *seen;
        seen.requests += 1;
        match seen.requests % 61 {
            7 => return StatusCode::SERVICE_UNAVAILABLE,
            23 => return StatusCode::TOO_MANY_REQUESTS,
            _ if is_refused(usize::try_from(n).unwrap()) => return StatusCode::UNPROCESSABLE_ENTITY,
            _ => {}
        }
        seen.take(n, Taken { worker, at: Instant::now() });
        StatusCode::OK
    }
}

/// The same moment by both clocks: the broker writes down when it took a record, by the clock of the machine that this runs on too.
struct Clock(Instant, SystemTime);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// When a record was written, and by whom.
    fn taken(&self, record: &kafka::Seen) -> Taken {
        let (_, worker) = record.headers.iter().find(|(name, _)| name == WORKER).unwrap();
        let worker = std::str::from_utf8(worker.as_ref().unwrap()).unwrap().parse().unwrap();
        let at = UNIX_EPOCH + Duration::from_millis(record.timestamp.unwrap().try_into().unwrap());
        Taken { worker, at: self.0 + at.duration_since(self.1).unwrap() }
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
    let answer = async |State(ledger): State<Arc<Ledger>>, headers: HeaderMap, body: Bytes| {
        let worker = headers[WORKER].to_str().unwrap().parse().unwrap();
        let status = ledger.answer(number(&body), worker);
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
