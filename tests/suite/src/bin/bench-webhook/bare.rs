//! The least that turns a request into a confirmed record: hyper and rdkafka, without a check.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

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
use tokio::net::{TcpListener, TcpStream};

/// The first argument of this program where it is to be the handler.
pub(crate) const ARGUMENT: &str = "bare";

/// `arguments` are the address to listen at, the broker, the topic, the linger in milliseconds and whether the producer is idempotent.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [address, kafka, topic, linger, idempotent] = arguments else {
        bail!("bare ADDRESS BROKER TOPIC LINGER IDEMPOTENT");
    };
    let address: SocketAddr = address.parse().context("an address")?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("acks", "all")
        .set("linger.ms", linger)
        .set("enable.idempotence", idempotent)
        .create()?;
    let listener = TcpListener::bind(address).await?;
    let topic: Arc<str> = topic.as_str().into();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, producer.clone(), Arc::clone(&topic)));
    }
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
