//! The least that turns a request into a confirmed record: hyper and rdkafka, without a check.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use sluice_kafka::{KafkaConnection, ProducerSettings};
use tokio::net::{TcpSocket, TcpStream};

/// The first argument of this program where it is to be the handler.
pub(crate) const ARGUMENT: &str = "bare";
/// How its producer is set up: by librdkafka's defaults, or as the receiver's.
pub(crate) const PLAIN: &str = "plain";
pub(crate) const TUNED: &str = "tuned";

/// `arguments` are the address to listen at, the broker, the topic, how the producer is set up, and its linger in milliseconds.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [address, kafka, topic, settings, linger] = arguments else {
        bail!("bare ADDRESS BROKER TOPIC SETTINGS LINGER");
    };
    let address: SocketAddr = address.parse().context("an address")?;
    let linger: u64 = linger.parse().context("milliseconds")?;
    let producer: FutureProducer = match settings.as_str() {
        PLAIN => plain(kafka, linger),
        TUNED => tuned(kafka, linger)?,
        other => bail!("settings are {PLAIN} or {TUNED}, not {other:?}"),
    }
    .create()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // As many as the receiver.
    let listener = socket.listen(1024)?;
    let topic: Arc<str> = topic.as_str().into();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, producer.clone(), Arc::clone(&topic)));
    }
}

/// Without Nagle's algorithm, as all of them: it would hold back what is small.
fn plain(kafka: &str, linger: u64) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("socket.nagle.disable", "true")
        .set("acks", "all")
        .set("linger.ms", linger.to_string());
    config
}

/// Idempotent, with records that stay with one partition for a while, and all else that the receiver has.
fn tuned(kafka: &str, linger: u64) -> anyhow::Result<ClientConfig> {
    let connection = KafkaConnection { bootstrap_servers: vec![kafka.to_owned()], ..KafkaConnection::default() };
    let settings = ProducerSettings { linger: Duration::from_millis(linger), ..ProducerSettings::default() };
    Ok(settings.config(&connection)?)
}

async fn connection(stream: TcpStream, producer: FutureProducer, topic: Arc<str>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(|request| {
        let (producer, topic) = (producer.clone(), Arc::clone(&topic));
        async move {
            let written = write(request, &producer, &topic).await;
            let status = if written.is_ok() { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = status;
            Ok::<_, Infallible>(answer)
        }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

async fn write(request: Request<Incoming>, producer: &FutureProducer, topic: &str) -> anyhow::Result<()> {
    let body = request.into_body().collect().await?.to_bytes();
    let record = FutureRecord::<(), _>::to(topic).payload(&*body);
    producer.send_result(record).map_err(|(error, _)| error)?.await?.map_err(|(error, _)| error)?;
    Ok(())
}
