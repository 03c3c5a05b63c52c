//! The least that does the same: rdkafka's consumer and producer, or hyper, in one loop, without promises. Filter and map are done
//! with serde_json, as one would by hand.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rdkafka::{
    ClientConfig, Message,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
};

use crate::job::Job;

/// The first argument of this program where it is to be the loop.
pub(crate) const ARGUMENT: &str = "bare";
const CONNECTIONS: usize = 64;
/// Records that wait for a connection.
const WAITING: usize = 16 * CONNECTIONS;

/// What is left of a record.
#[derive(Deserialize, Serialize)]
struct Purchase<'a> {
    id: u64,
    at: u64,
    #[serde(skip_serializing)]
    action: &'a str,
    customer: &'a str,
    amount: f64,
    note: &'a str,
}

/// `arguments` are the broker, the topic to read, where to deliver, the consumer group and the job. Runs until it is killed.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [kafka, source, target, group, job] = arguments else { bail!("bare BROKER SOURCE TARGET GROUP JOB") };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("socket.nagle.disable", "true")
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5")
        .set_log_level(RDKafkaLogLevel::Error)
        .create()?;
    consumer.subscribe(&[source])?;
    let job = Job::named(job)?;
    match job.delay() {
        Some(_) => request(consumer, target).await,
        None => tokio::task::block_in_place(|| copy(&consumer, kafka, target, job)),
    }
}

fn copy(consumer: &BaseConsumer, kafka: &str, target: &str, job: Job) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("socket.nagle.disable", "true")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()?;
    loop {
        producer.poll(Duration::ZERO);
        let Some(message) = consumer.poll(Duration::from_millis(5)) else { continue };
        let message = message?;
        let (key, value) = (message.key().unwrap_or_default(), message.payload().context("records have a value")?);
        if job == Job::Copy {
            send(&producer, target, key, value)?;
            continue;
        }
        let purchase: Purchase<'_> = serde_json::from_slice(value)?;
        if purchase.action == "purchase" {
            send(&producer, target, key, &serde_json::to_vec(&purchase)?)?;
        }
    }
}

fn send(producer: &BaseProducer, target: &str, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(target).key(key).payload(value);
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => return Err(error.into()),
        };
        producer.poll(Duration::from_millis(10));
    }
}

/// Each connection has one request at a time, and takes the next record when it has the answer: one that is slow holds up no other.
async fn request(consumer: BaseConsumer, api: &str) -> anyhow::Result<()> {
    let (queue, records) = mpsc::channel::<Bytes>(WAITING);
    thread::spawn(move || {
        for message in &consumer {
            let message = message?;
            let value = message.payload().context("records have a value")?;
            queue.blocking_send(Bytes::copy_from_slice(value))?;
        }
        anyhow::Ok(())
    });
    let records = Arc::new(Mutex::new(records));
    let connections = (0..CONNECTIONS).map(|_| tokio::spawn(post(api.to_owned(), Arc::clone(&records))));
    for ended in try_join_all(connections).await? {
        ended?;
    }
    bail!("the consumer has ended")
}

async fn post(api: String, records: Arc<Mutex<mpsc::Receiver<Bytes>>>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(&api).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    loop {
        // Nobody holds the queue any more when the request is sent.
        let Some(body) = records.lock().await.recv().await else { return Ok(()) };
        let request = Request::post("/").header(header::HOST, &api).header(header::CONTENT_TYPE, "application/json");
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await?;
    }
}
