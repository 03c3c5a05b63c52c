//! The Redis in which several receivers remember the ids of events together.
//!
//! An id is reserved by a receiver for as long as a usual write can take and renewed while one takes longer, then confirmed for the
//! window, or released. Each step is one script, and only the owner of a reservation can change it. A receiver that dies between two
//! steps leaves a reservation that ends by itself, so that the sender's next attempt is written. While Redis is away, events are written
//! without its advice.
//!
//! A connection that has failed once is not used again, whatever the failure: its Redis may have vanished without a word, or be a replica
//! now, while the address leads to another one. `ConnectionManager` by itself makes a new connection for neither.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use redis::{
    Client, ConnectionInfo, FromRedisValue, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
    io::tcp::TcpSettings,
};
use sluice_outgoing::Stamp;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::{config::Endpoint, deduplicate::Fingerprint, receive};

/// The Redis of an endpoint.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    /// Before every key.
    prefix: String,
    window: Duration,
    reservation: Duration,
}

/// The stores of a process: endpoints whose address stands in the same file share a connection. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Stores(Arc<Mutex<Vec<Weak<Store>>>>);

/// A Redis.
struct Store {
    /// File with the address.
    file: PathBuf,
    /// The key by which it is tried.
    try_key: String,
    state: Mutex<State>,
}

struct State {
    stamp: Option<Stamp>,
    /// None where the file holds no address.
    client: Option<Client>,
    /// None before the first connection, and after each failure.
    manager: Option<ConnectionManager>,
    looked: Option<Instant>,
    trouble: Option<String>,
    /// Until then it is not asked: nobody is to wait for a Redis that is away.
    away_until: Option<Instant>,
}

/// The right to write an event, among all receivers.
pub(crate) struct Claim {
    key: String,
    /// What stands in Redis while the right is held.
    owner: String,
    /// Whether Redis said so. Where it did not answer, nobody knows what stands there.
    is_checked: bool,
}

/// What Redis says about an event.
pub(crate) enum Answer {
    /// Write it. Also where Redis does not answer.
    Write(Claim),
    /// Another receiver is writing it.
    InProgress,
    /// It was written.
    Duplicate,
}

/// Redis next door answers within a millisecond; a sender is not kept waiting for one that does not.
const TIME: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_secs(1);
/// After so long the kernel gives up what nobody acknowledges, so that no connections to a lost Redis pile up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// How often the file with the address is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is tried, whether anybody sends or not: often enough for a status that people read.
const TRY_EVERY: Duration = Duration::from_secs(5);
const CONFIRMED: &str = "confirmed";

/// Gives what stands there; where nothing does, the reservation.
const RESERVE: &str = "local found = redis.call('GET', KEYS[1]) if found then return found end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return ARGV[1]";
/// Puts something in the place of the own reservation. Also where that has ended meanwhile, but not over another one's.
const REPLACE: &str = "local found = redis.call('GET', KEYS[1]) if not found or found == ARGV[1] then \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
/// Does what the others do and leaves nothing behind: a Redis may answer and yet take no writes.
const TRY: &str = "redis.call('SET', KEYS[1], '', 'PX', 1000) return redis.call('DEL', KEYS[1])";

impl Stores {
    /// The Redis of an endpoint, where it has one. From now on it is tried every few seconds.
    pub(crate) fn join(&self, endpoint: &Endpoint) -> Option<Shared> {
        let file = endpoint.redis.as_ref()?;
        let prefix = format!("sluice:{}:{}:", endpoint.webhook, endpoint.uid);
        Some(Shared(Arc::new(Inner {
            store: self.store(file, &prefix),
            prefix,
            window: endpoint.window,
            // Redis is to answer at the beginning, and at the end.
            reservation: receive::longest(endpoint.patience) + TIME * 2,
        })))
    }

    fn store(&self, file: &Path, prefix: &str) -> Arc<Store> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|store| store.strong_count() > 0);
        if let Some(store) = known.iter().filter_map(Weak::upgrade).find(|store| store.file == file) {
            return store;
        }
        let state = State { stamp: None, client: None, manager: None, looked: None, trouble: None, away_until: None };
        let store =
            Arc::new(Store { file: file.to_owned(), try_key: format!("{prefix}try"), state: Mutex::new(state) });
        tokio::spawn(keep_trying(Arc::downgrade(&store)));
        known.push(Arc::downgrade(&store));
        store
    }
}

/// Notices that Redis is gone or back where nobody sends; for as long as anybody looks at it.
async fn keep_trying(store: Weak<Store>) {
    let mut ticks = interval(TRY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        store.run::<i64>(TRY, &store.try_key, &[]).await;
    }
}

impl Shared {
    /// Asks for the right to write an event.
    pub(crate) async fn reserve(&self, fingerprint: Fingerprint) -> Answer {
        let key = format!("{}{}", self.0.prefix, fingerprint.to_hex());
        let owner = format!("reserved-{:032x}", fastrand::u128(..));
        let arguments = [owner.clone(), millis(self.0.reservation)];
        match self.0.store.run::<String>(RESERVE, &key, &arguments).await {
            None => Answer::Write(Claim { key, owner, is_checked: false }),
            Some(found) if found == owner => Answer::Write(Claim { key, owner, is_checked: true }),
            Some(found) if found == CONFIRMED => Answer::Duplicate,
            Some(_) => Answer::InProgress,
        }
    }

    /// The event was written. Says whether Redis had reserved it and knows of it now; otherwise it may be there twice, or come to be. An
    /// event that was written without Redis's advice is noted too, where it answers by now.
    pub(crate) async fn confirm(&self, claim: &Claim) -> bool {
        let arguments = [claim.owner.clone(), CONFIRMED.to_owned(), millis(self.0.window)];
        let is_noted = self.0.store.run::<i64>(REPLACE, &claim.key, &arguments).await == Some(1);
        claim.is_checked && is_noted
    }

    /// The event is still on its way: nobody else is to write it.
    pub(crate) async fn renew(&self, claim: &Claim) {
        let arguments = [claim.owner.clone(), claim.owner.clone(), millis(self.0.reservation)];
        self.0.store.run::<i64>(REPLACE, &claim.key, &arguments).await;
    }

    /// Often enough for a renewal that fails once to be repeated in time.
    pub(crate) fn renew_every(&self) -> Duration {
        self.0.reservation / 3
    }

    /// The event was certainly not written.
    pub(crate) async fn release(&self, claim: &Claim) {
        self.0.store.run::<i64>(RELEASE, &claim.key, std::slice::from_ref(&claim.owner)).await;
    }

    /// What keeps Redis from being asked.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.store.looked_at(Instant::now()).trouble.clone()
    }

    /// The file with the address, where it is none.
    pub(crate) fn unusable_file(&self) -> Option<PathBuf> {
        let store = &self.0.store;
        store.looked_at(Instant::now()).client.is_none().then(|| store.file.clone())
    }
}

impl Store {
    async fn run<T: FromRedisValue>(&self, script: &str, key: &str, arguments: &[String]) -> Option<T> {
        let mut manager = self.manager(Instant::now())?;
        let answer = cmd("EVAL").arg(script).arg(1).arg(key).arg(arguments).query_async(&mut manager).await;
        let mut state = self.state();
        match answer {
            Ok(answer) => {
                if state.trouble.take().is_some() {
                    info!("Redis answers again");
                }
                Some(answer)
            }
            Err(error) => {
                state.away_until = Some(Instant::now() + PAUSE);
                state.manager = None;
                state.note(format!("Redis does not answer, so that events may be written twice: {error}"));
                None
            }
        }
    }

    /// A connection, made again when the address changes and after a failure; none while Redis is away.
    fn manager(&self, now: Instant) -> Option<ConnectionManager> {
        let mut state = self.looked_at(now);
        if state.away_until.is_some_and(|until| until > now) {
            return None;
        }
        if state.manager.is_none() {
            // It refuses settings only that these are not.
            state.manager = state.client.clone().and_then(|client| connection(client).ok());
        }
        state.manager.clone()
    }

    fn looked_at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY) {
            state.looked = Some(now);
            state.look(&self.file);
        }
        state
    }

    /// A panic cannot have left it half changed: nothing in it panics between two changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, file: &Path) {
        let stamp = Some(Stamp::of(&[file.to_owned()]));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        self.manager = None;
        match client(file) {
            Ok(client) => {
                self.client = Some(client);
                self.away_until = None;
            }
            Err(reason) => {
                self.client = None;
                self.note(reason);
            }
        }
    }

    fn note(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("Deduplication in trouble: {trouble}");
        }
        self.trouble = Some(trouble);
    }
}

/// The address holds a password and is told to nobody.
fn client(file: &Path) -> Result<Client, String> {
    let name = file.display();
    let address =
        fs::read_to_string(file).map_err(|error| format!("the address of Redis, {name}, cannot be read: {error}"))?;
    // Commands of several events at a time do not wait for each other. That a connection lives is tried often enough without keepalive.
    let settings = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED);
    let address = address.trim().parse::<ConnectionInfo>();
    let client = address.and_then(|address| Client::open(address.set_tcp_settings(settings)));
    client.map_err(|_| format!("{name} is no address of Redis, as in redis://user:password@host:6379/0"))
}

/// A connection, made when it is first used: then the name in the address is looked up. The next try follows the pause, in another one.
fn connection(client: Client) -> RedisResult<ConnectionManager> {
    let settings = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(TIME))
        .set_response_timeout(Some(TIME));
    ConnectionManager::new_lazy_with_config(client, settings)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
