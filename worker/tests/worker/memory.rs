//! What a worker takes of memory is bounded, whatever its API or its topic does.

use std::{
    collections::HashSet,
    convert::Infallible,
    future, iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use http::StatusCode;
use serde::Deserialize;
use sluice_cluster::{Operation, Resource};
use sluice_crds::{Delivery, Duration as Text, wire::WorkerConfig};
use sluice_kafka::OutgoingRecord;
use tokio::net::TcpListener;

use crate::{
    into_kafka::into,
    kafka::Place,
    running::{Worker, config},
    secured::{USER, administrator, allow, secured, worker_of},
};

/// What a worker's container may take by default.
const CONTAINER: u64 = 256 * 1024 * 1024;
const PARTITIONS: i32 = 8;
/// All together they are more than the container may take.
const RECORDS: usize = 320;
/// As many as there are records: however little a worker holds of each partition, it must not hold that of all of them.
const MANY: i32 = 320;
/// Kafka takes 1 MiB with all that is around it, as the headers of a dead letter.
const SIZE: usize = 1_000_000;
/// An answer has so many parts: 256 MiB.
const PARTS: usize = 4 * 1024;
static PART: [u8; 64 * 1024] = [b'a'; 64 * 1024];

/// An API that answers nothing at first, and then too much.
#[derive(Default)]
struct Excessive {
    answers: AtomicBool,
    /// The records that it has failed to take once.
    failed: Mutex<HashSet<usize>>,
}

/// What it reads of a record.
#[derive(Deserialize)]
struct Numbered {
    n: usize,
}

impl Excessive {
    fn status(&self, n: usize) -> StatusCode {
        if self.failed.lock().unwrap().insert(n) {
            StatusCode::SERVICE_UNAVAILABLE
        } else if is_refused(n) {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    }
}

fn is_refused(n: usize) -> bool {
    n % 16 == 5
}

async fn answer(State(api): State<Arc<Excessive>>, request: Request) -> Response {
    if !api.answers.load(Relaxed) {
        // Nor does it read.
        future::pending::<()>().await;
    }
    // Whoever does not wait for it breaks off.
    let Ok(body) = to_bytes(request.into_body(), 2 * SIZE).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Numbered { n } = serde_json::from_slice(&body).unwrap();
    let parts = stream::iter(iter::repeat_n(&PART, PARTS));
    let parts = parts.map(|part| Ok::<_, Infallible>(Bytes::from_static(part)));
    (api.status(n), Body::from_stream(parts)).into_response()
}

async fn serve(api: Arc<Excessive>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/entries", listener.local_addr().unwrap());
    let routes = Router::new().fallback(answer).with_state(api);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

/// All records, spread over the partitions.
async fn write_records(place: &Place) {
    // lz4 makes nothing of noise.
    let noise: String = iter::repeat_with(fastrand::alphanumeric).take(SIZE).collect();
    let record = |n: usize| OutgoingRecord {
        partition: Some(i32::try_from(n).unwrap() % place.partitions),
        ..OutgoingRecord::new(place.topic.as_str(), format!(r#"{{"n": {n}, "noise": "{noise}"}}"#))
    };
    for first in (0..RECORDS).step_by(32) {
        place.write_records((first..first + 32).map(record)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_megabyte_for_an_api_that_stalls_and_then_answers_without_end_fit_in_its_memory() {
    let (place, api) = (Place::new("memory", PARTITIONS).await, Arc::<Excessive>::default());
    write_records(&place).await;
    let usual = config(&place, &serve(Arc::clone(&api)).await);
    let delivery = Delivery { timeout: Text::from_secs(2), ..usual.delivery.clone() };
    let worker = Worker::start(&WorkerConfig { delivery, ..usual });
    let told = worker.until_status("attempts in vain", |told| told.retries >= 100).await;
    assert!(told.received < 160, "the rest stays in Kafka: {told:?}");
    let stalled = worker.peak_memory();

    api.answers.store(true, Relaxed);
    place.until_no_lag().await;
    let refused = (0..RECORDS).filter(|n| is_refused(*n)).count();
    let settled = |told: &sluice_crds::wire::WorkerStatus| told.unsettled == 0 && told.received == RECORDS as u64;
    let told = worker.until_status("all is settled", settled).await;
    assert_eq!((told.delivered, told.dead_lettered), ((RECORDS - refused) as u64, refused as u64), "{told:?}");
    let peak = worker.peak_memory();
    eprintln!("at most {} MiB while nothing was answered, {} MiB in all", stalled >> 20, peak >> 20);
    assert!(peak < CONTAINER, "{peak} bytes");

    // The broker is there for other tests too, and for the next run.
    for (partition, end) in place.ends().await {
        place.delete_before(partition, end).await;
    }
    place.following(&place.dead_letters).delete_before(0, i64::try_from(refused).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogs_of_many_partitions_for_a_topic_that_cannot_be_written_fit_in_its_memory() {
    let kafka = secured().await;
    let place = Place::at(administrator(&kafka), "memory-stuck", MANY).await;
    let target = place.another("entries", 1, &[]).await;
    write_records(&place).await;
    allow(
        &kafka,
        &[
            (Operation::Read, Resource::Topics(&place.topic)),
            (Operation::Read, Resource::Groups(&place.group)),
            (Operation::Write, Resource::Topics(&place.dead_letters)),
        ],
    );
    let config = worker_of(&kafka, kafka.credentials(USER).unwrap(), into(&place, &target).1);
    let worker = Worker::start(&config);
    let told = worker.until_status("attempts in vain", |told| told.failed >= 30).await;
    assert!(told.received < 160, "the rest stays in Kafka: {told:?}");
    assert_eq!((told.delivered, told.dead_lettered), (0, 0), "{told:?}");
    let stalled = worker.peak_memory();

    allow(&kafka, &[(Operation::Write, Resource::Topics(&target))]);
    place.until_no_lag().await;
    let settled = |told: &sluice_crds::wire::WorkerStatus| told.unsettled == 0 && told.received == RECORDS as u64;
    let told = worker.until_status("all is settled", settled).await;
    assert_eq!((told.delivered, told.dead_lettered), (RECORDS as u64, 0), "{told:?}");
    let peak = worker.peak_memory();
    eprintln!("at most {} MiB while nothing could be written, {} MiB in all", stalled >> 20, peak >> 20);
    assert!(peak < CONTAINER, "{peak} bytes");

    // The broker is there for other tests too, and for the next run.
    drop(worker);
    place.delete(&[&place.topic, &target]).await;
}
