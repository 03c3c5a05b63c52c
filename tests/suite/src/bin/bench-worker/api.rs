//! The API that records are delivered to: it answers each request after a while, and tells which records came.

use std::{
    collections::HashSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::{paced::Latency, punctual::Punctual, records::Stamp};

/// The first argument of this program where it is to be the API.
pub(crate) const ARGUMENT: &str = "api";

/// What the API tells.
#[derive(Deserialize, Serialize)]
pub(crate) struct Told {
    /// Different records that came.
    pub(crate) records: usize,
    /// Requests with a record that had come before.
    pub(crate) repeats: usize,
    /// From when they were written until they came, of all but the first; where it was asked for.
    pub(crate) latency: Option<Latency>,
}

/// Where it tells how many records came, and where how long they took too.
pub(crate) const COUNT: &str = "/count";
pub(crate) const LATENCY: &str = "/latency";

#[derive(Default)]
struct Seen {
    ids: HashSet<u64>,
    repeats: usize,
    ages: Vec<Duration>,
}

/// `arguments` are the address to listen at and the milliseconds before an answer. Runs until it is killed.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [address, delay] = arguments else { bail!("api ADDRESS MILLISECONDS") };
    let address: SocketAddr = address.parse().context("an address")?;
    let delay = Punctual::new(Duration::from_millis(delay.parse().context("milliseconds")?));
    let listener = TcpListener::bind(address).await?;
    let seen = Arc::<Mutex<Seen>>::default();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, Arc::clone(&seen), delay.clone()));
    }
}

async fn connection(stream: TcpStream, seen: Arc<Mutex<Seen>>, delay: Punctual) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let (seen, delay) = (Arc::clone(&seen), delay.clone());
        async move { Ok::<_, Infallible>(answer(request, &seen, &delay).await) }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

async fn answer(request: Request<Incoming>, seen: &Mutex<Seen>, delay: &Punctual) -> Response<Full<Bytes>> {
    let seen = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    if request.method() == Method::GET {
        let with_latency = request.uri().path() == LATENCY;
        return Response::new(seen().tell(with_latency).into());
    }
    let Ok(body) = request.into_body().collect().await else { return refusal() };
    let Ok(stamp) = Stamp::read(&body.to_bytes()) else { return refusal() };
    seen().take(stamp);
    delay.wait().await;
    Response::default()
}

fn refusal() -> Response<Full<Bytes>> {
    let mut refusal = Response::default();
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    refusal
}

impl Seen {
    fn take(&mut self, stamp: Stamp) {
        if !self.ids.insert(stamp.id) {
            self.repeats += 1;
        } else if stamp.id > 0 {
            self.ages.push(stamp.age());
        }
    }

    fn tell(&mut self, with_latency: bool) -> Vec<u8> {
        let latency = with_latency.then(|| Latency::of(&mut self.ages));
        let told = Told { records: self.ids.len(), repeats: self.repeats, latency };
        serde_json::to_vec(&told).expect("numbers can be written down")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_comes_again_is_a_repeat_and_no_other_record() {
        let mut seen = Seen::default();
        for id in [0, 1, 1] {
            seen.take(Stamp { id, at: 0 });
        }
        let told: Told = serde_json::from_slice(&seen.tell(false)).unwrap();
        assert_eq!((told.records, told.repeats, told.latency.is_some()), (2, 1, false));
    }
}
