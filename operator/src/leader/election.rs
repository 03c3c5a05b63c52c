//! Takes the lease, keeps it and gives it back.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, future::select};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::{sync::watch as channel, time::timeout};
use tracing::{debug, info, warn};

use super::{
    LEASE, Leadership,
    lease::{self, Sight, Writer},
    since_boot,
};

/// Name of the lease; the operator's role names it too.
const NAME: &str = "sluice-operator";
/// The holder renews so often: twice and a half in the time that it may act on one renewal.
const RENEWAL: Duration = Duration::from_secs(4);
/// Requests that may change something have so long to end before the lease is given back.
const SETTLING: Duration = Duration::from_secs(5);
/// Wait after a request about the lease failed.
const RETRY: Duration = Duration::from_secs(1);
/// Writes over newer versions that one renewal may need: others may write labels that fast.
const VERSIONS: usize = 4;
/// A stand-by's watch is renewed this often, in seconds.
const WATCH_SECONDS: u32 = 60;

/// A replica that wants to lead.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    leadership: Leadership,
}

/// The lease as this replica wrote it last.
#[derive(Debug)]
pub struct Held(Lease);

/// The lease is no longer this replica's.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time")]
    Expired,
    /// Somebody else has it, or it was deleted.
    #[error("the lease is held by {0:?} now")]
    Taken(String),
}

impl Election {
    /// A replica of that name; `client` must not repeat requests by itself. It tells `leadership` how long it may act.
    pub fn new(client: Client, namespace: &str, identity: String, leadership: Leadership) -> Self {
        Self { leases: Api::namespaced(client, namespace), identity, leadership }
    }

    /// Waits until this replica leads; `None` once `stop` is true.
    pub async fn campaign(&self, mut stop: channel::Receiver<bool>) -> Option<Held> {
        let mut sight = Sight::default();
        let mut told = None;
        while !*stop.borrow() {
            let wait = match self.attempt(&mut sight).await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => Wait::ForChange,
                Err(error) => {
                    warn!(%error, "The lease cannot be read or taken; tried again");
                    Wait::Shortly
                }
            };
            if sight.holder() != told.as_deref() {
                told = sight.holder().map(str::to_owned);
                info!(holder = told, "Standing by");
            }
            let stopped = pin!(stop.wait_for(|stop| *stop));
            select(pin!(self.pause(wait, &mut sight)), stopped).await;
        }
        None
    }

    /// Takes the lease if nobody holds it.
    async fn attempt(&self, sight: &mut Sight) -> Result<Option<Held>, kube::Error> {
        let asked = since_boot();
        let found = self.leases.get_opt(NAME).await?;
        if let Some(found) = &found {
            sight.see(found.clone(), since_boot());
        }
        // Also where somebody deleted it: its holder does not know yet.
        if !sight.taken_for(since_boot()).is_zero() {
            return Ok(None);
        }
        let Some(found) = found else { return self.create(asked).await };
        let asked = since_boot();
        match self.replace(&lease::taken(Some(&found), self.writer())).await {
            Ok(lease) => {
                self.leadership.follows(lease::renewed_at(&found));
                Ok(Some(self.won(lease, asked)))
            }
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, asked: Duration) -> Result<Option<Held>, kube::Error> {
        let mut lease = lease::taken(None, self.writer());
        lease.metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(lease) => Ok(Some(self.won(lease, asked))),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn won(&self, lease: Lease, asked: Duration) -> Held {
        self.leadership.renewed(asked);
        info!(identity = self.identity, "This replica leads");
        Held(lease)
    }

    /// Waits until another attempt can succeed.
    async fn pause(&self, wait: Wait, sight: &mut Sight) {
        match wait {
            Wait::Shortly => pause(RETRY).await,
            Wait::ForChange => {
                if let Err(error) = self.watch(sight).await {
                    debug!(%error, "The watch on the lease ended");
                    pause(RETRY).await;
                }
            }
        }
    }

    /// Watches the lease until it can be taken, or the watch ends.
    async fn watch(&self, sight: &mut Sight) -> Result<(), kube::Error> {
        let parameters = WatchParams::default().fields(&format!("metadata.name={NAME}")).timeout(WATCH_SECONDS);
        let mut events = self.leases.watch(&parameters, &sight.version()).await?.boxed();
        loop {
            let left = sight.taken_for(since_boot());
            match timeout(left, events.next()).await {
                Ok(Some(event)) => match event? {
                    WatchEvent::Added(lease) | WatchEvent::Modified(lease) => sight.see(lease, since_boot()),
                    // One that was deleted lasts all the same: its holder does not know yet.
                    WatchEvent::Bookmark(_) | WatchEvent::Deleted(_) => {}
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                },
                Ok(None) | Err(_) => return Ok(()),
            }
            if sight.taken_for(since_boot()).is_zero() {
                return Ok(());
            }
        }
    }

    /// Renews the lease until it is lost.
    pub async fn keep(&self, held: &mut Held) -> Lost {
        let mut wait = RENEWAL;
        loop {
            pause(wait.min(self.leadership.left())).await;
            let renewal = timeout(self.leadership.left(), self.renew(held));
            wait = match renewal.await {
                _ if !self.leadership.is_held() => return Lost::Expired,
                Ok(Ok(())) => RENEWAL,
                Ok(Err(Trouble::Lost(lost))) => return lost,
                Ok(Err(Trouble::Kube(error))) => {
                    warn!(%error, left = ?self.leadership.left(), "The lease could not be renewed; tried again");
                    RETRY
                }
                Err(_) => return Lost::Expired,
            };
        }
    }

    /// Renews once. A conflict is looked into: it may be an own request whose answer was lost, or somebody's label, and then it is tried again at
    /// once. Who writes labels every second would else have the lease expire.
    async fn renew(&self, held: &mut Held) -> Result<(), Trouble> {
        let mut left = VERSIONS;
        loop {
            let asked = since_boot();
            match self.replace(&lease::renewed(&held.0, self.writer())).await {
                Ok(lease) => {
                    held.0 = lease;
                    self.leadership.renewed(asked);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) || is_not_found(&error) => {
                    held.0 = self.still_ours().await?;
                    left -= 1;
                    if left == 0 {
                        return Err(Trouble::Kube(error));
                    }
                }
                Err(error) => return Err(Trouble::Kube(error)),
            }
        }
    }

    async fn still_ours(&self) -> Result<Lease, Trouble> {
        let lease = self.leases.get_opt(NAME).await.map_err(Trouble::Kube)?;
        let holder = lease.as_ref().and_then(lease::holder).unwrap_or_default().to_owned();
        let ours = lease.filter(|_| holder == self.identity);
        ours.ok_or(Trouble::Lost(Lost::Taken(holder)))
    }

    /// Gives the lease back. From here on this replica begins no request. Where one is under way that may change something, the lease is
    /// left to expire.
    pub async fn give_back(&self, mut held: Held) {
        self.leadership.end();
        if timeout(SETTLING, self.leadership.rest()).await.is_err() {
            warn!(lease = ?LEASE, "A request did not end in time: the lease is left to expire, so that nobody acts beside it");
            return;
        }
        for _ in 0..VERSIONS {
            match self.replace(&lease::given_back(&held.0, self.writer())).await {
                Ok(_) => return info!("The lease was given back"),
                Err(error) if is_conflict(&error) => match self.still_ours().await {
                    Ok(lease) => held.0 = lease,
                    Err(_) => return,
                },
                Err(error) => return warn!(%error, "The lease could not be given back and will expire"),
            }
        }
    }

    /// Written over the version that was looked at.
    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.leases.replace(NAME, &PostParams::default(), lease).await
    }

    fn writer(&self) -> Writer<'_> {
        Writer { identity: &self.identity, now: Timestamp::now() }
    }
}

/// What to wait for before the next attempt.
enum Wait {
    Shortly,
    ForChange,
}

#[derive(Debug)]
enum Trouble {
    Lost(Lost),
    Kube(kube::Error),
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

#[allow(clippy::disallowed_methods, reason = "the lease is renewed, and a failed request repeated, after a while")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use futures::{future::ready, stream};
    use http::{Request, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::kubernetes::answers::{answers, conflict};

    fn election(client: Client) -> Election {
        Election::new(client, "sluice", "a".to_owned(), Leadership::default())
    }

    /// The lease as that replica holds it, in this version.
    fn held_by(identity: &str, version: &str) -> Lease {
        let mut lease = lease::taken(None, Writer { identity, now: Timestamp::UNIX_EPOCH });
        (lease.metadata.name, lease.metadata.resource_version) = (Some(NAME.to_owned()), Some(version.to_owned()));
        lease
    }

    #[tokio::test]
    async fn a_lease_that_others_label_all_the_time_is_renewed() {
        let holds = |version: &str| (200, json!(held_by("a", version)));
        let (client, asked) = answers([conflict(), holds("2"), conflict(), holds("3"), holds("4")]);
        let (election, mut held) = (election(client), Held(held_by("a", "1")));
        election.renew(&mut held).await.unwrap();
        let asked = asked.lock().unwrap();
        let versions: Vec<&Value> = asked.iter().filter_map(|sent| sent.pointer("/metadata/resourceVersion")).collect();
        assert_eq!(versions, ["1", "2", "3"]);
        assert!(election.leadership.is_held());
    }

    #[tokio::test]
    async fn a_lease_that_somebody_else_has_is_lost() {
        let (client, _) = answers([conflict(), (200, json!(held_by("b", "2")))]);
        let trouble = election(client).renew(&mut Held(held_by("a", "1"))).await;
        assert!(matches!(&trouble, Err(Trouble::Lost(Lost::Taken(holder))) if holder == "b"), "{trouble:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_somebody_deleted_is_not_asked_for_again_and_again() {
        let lease = held_by("b", "1");
        let line = json!({"type": "DELETED", "object": lease}).to_string() + "\n";
        let watch = move |_: Request<Body>| {
            let frame = Ok::<_, BoxError>(Frame::data(Bytes::from(line.clone())));
            let body = StreamBody::new(stream::once(ready(frame)).chain(stream::pending()));
            ready(Ok::<_, BoxError>(Response::new(body)))
        };
        let election = election(Client::new(service_fn(watch), "default"));
        let mut sight = Sight::default();
        sight.see(lease, since_boot());
        let ended = timeout(Duration::from_secs(1), election.watch(&mut sight)).await;
        assert!(ended.is_err(), "it cannot be taken yet: {ended:?}");
    }
}
