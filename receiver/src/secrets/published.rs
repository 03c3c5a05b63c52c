//! Keys that an issuer publishes (a JSON Web Key Set): kept while it cannot be reached, and fetched again when a token names one
//! that is not known yet.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use sluice_outgoing::Guard;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{info, warn};

use super::{KeyRing, Unusable};
use crate::verify::{Key, published_keys};

/// Asks the issuer's keys to be fetched before their time.
#[derive(Clone, Debug)]
pub(super) struct Issuer(mpsc::Sender<oneshot::Sender<()>>);

/// Often enough for keys that are withdrawn; new ones are fetched when they are used.
const FETCH_EVERY: Duration = Duration::from_mins(5);
/// While the issuer cannot be reached.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Anybody can make a token that names an unknown key.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// An issuer that is away for longer may have withdrawn its keys.
const KEPT: Duration = Duration::from_hours(24);
const TIME: Duration = Duration::from_secs(5);
const LARGEST: usize = 1024 * 1024;
/// How many requests may wait for new keys.
const WAITING: usize = 64;

/// Fetches the keys at an address and keeps them current, for as long as anybody looks at them.
pub(super) fn watch(address: String, guard: Guard) -> (watch::Receiver<Arc<KeyRing>>, Issuer) {
    let ring =
        KeyRing { keys: Vec::new(), unusable: vec![unusable(format!("the keys at {address} were not fetched yet"))] };
    let (sender, receiver) = watch::channel(Arc::new(ring));
    let (asking, asked) = mpsc::channel(WAITING);
    tokio::spawn(keep_current(Published { address, guard, keys: Vec::new(), fetched: None }, sender, asked));
    (receiver, Issuer(asking))
}

impl Issuer {
    /// Has the keys fetched, unless that happened just now. Whether that has an end by the deadline; if not, nobody knows yet which keys
    /// there are.
    pub(super) async fn ask(&self, deadline: Instant) -> bool {
        let (done, fetched) = oneshot::channel();
        self.0.try_send(done).is_ok() && timeout_at(deadline, fetched).await.is_ok()
    }
}

struct Published {
    address: String,
    guard: Guard,
    /// The set as it was fetched last.
    keys: Vec<u8>,
    fetched: Option<Instant>,
}

async fn keep_current(
    mut published: Published,
    sender: watch::Sender<Arc<KeyRing>>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut next = Instant::now();
    let mut last: Option<Instant> = None;
    loop {
        let asking = tokio::select! {
            () = sender.closed() => return,
            () = sleep_until(next) => None,
            Some(asking) = asked.recv() => Some(asking),
        };
        // Whoever asks too soon is told so by the end of its channel.
        if asking.is_some() && last.is_some_and(|last| last.elapsed() < ASKED_EVERY) {
            continue;
        }
        let ring = published.fetch().await;
        last = Some(Instant::now());
        next = Instant::now() + if ring.unusable.is_empty() { FETCH_EVERY } else { TRY_EVERY };
        sender.send_replace(Arc::new(ring));
        let others = std::iter::from_fn(|| asked.try_recv().ok());
        for asking in asking.into_iter().chain(others) {
            // Who no longer waits need not be told.
            let _ = asking.send(());
        }
    }
}

impl Published {
    /// Fetches the keys; where that fails, the ones from before are used for a while.
    async fn fetch(&mut self) -> KeyRing {
        let fetched = get(&self.address, &self.guard).await.and_then(|set| Ok((published_keys(&set)?, set)));
        match fetched {
            Ok((keys, set)) => {
                if set != self.keys {
                    info!(address = self.address, keys = keys.len(), "Published keys fetched");
                }
                self.keys = set;
                self.fetched = Some(Instant::now());
                KeyRing { keys, unusable: Vec::new() }
            }
            Err(error) => {
                let reason = format!("the keys at {} cannot be fetched: {error:#}", self.address);
                warn!("Keys not fetched: {reason}");
                KeyRing { keys: self.keys_from_before(), unusable: vec![unusable(reason)] }
            }
        }
    }

    fn keys_from_before(&self) -> Vec<Key> {
        let recent = self.fetched.is_some_and(|fetched| fetched.elapsed() < KEPT);
        if recent { published_keys(&self.keys).unwrap_or_default() } else { Vec::new() }
    }
}

fn unusable(reason: String) -> Unusable {
    Unusable { file: None, reason }
}

/// Each time with a client of its own: keys are fetched every few minutes, and a connection would be cold.
async fn get(address: &str, guard: &Guard) -> anyhow::Result<Vec<u8>> {
    let url: Url = address.parse().context("this is no address")?;
    guard.check(&url)?;
    let client = guard.client().timeout(TIME).build()?;
    let mut response = client.get(url).send().await?;
    ensure!(response.status().is_success(), "it answers {}", response.status());
    let mut set = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if set.len() + chunk.len() > LARGEST {
            bail!("it answers more than {LARGEST} bytes");
        }
        set.extend_from_slice(&chunk);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use sluice_crds::OutgoingCalls;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// Answers once and is silent from then on.
    async fn answer_once(listener: TcpListener) {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{SET}", SET.len());
        connection.write_all(answer.as_bytes()).await.unwrap();
        drop(connection);
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn keys_that_were_fetched_just_now_are_all_there_are_and_those_that_are_being_fetched_are_not() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(answer_once(listener));
        let guard = Guard::new(OutgoingCalls { allow: vec!["127.0.0.1".parse().unwrap()], ..OutgoingCalls::default() });
        let (mut keys, issuer) = watch(address, guard);
        drop(keys.wait_for(|ring| ring.keys.len() == 1).await.unwrap());
        let soon = || Instant::now() + Duration::from_millis(100);
        assert!(issuer.ask(Instant::now() + Duration::from_mins(1)).await, "they were fetched just now");
        tokio::time::pause();
        tokio::time::advance(ASKED_EVERY).await;
        tokio::time::resume();
        assert!(!issuer.ask(soon()).await, "nobody has answered");
        // More than can wait do not wait, and know as little.
        for _ in 0..WAITING {
            issuer.0.try_send(oneshot::channel().0).unwrap();
        }
        assert!(!issuer.ask(soon()).await);
        assert_eq!(keys.borrow().keys.len(), 1);
    }
}
