//! The connections to an API: those of HTTP/1 that wait for a request, and the one of HTTP/2 that all requests share.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    task::JoinError,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    client::NoAnswer,
    connect::{Connection, Connector},
    http1::Http1,
    http2::Http2,
};

/// The connections to an API.
pub(super) struct Pool {
    connector: Connector,
    /// How long making a connection may take.
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    protocol: Protocol,
    /// Connections of HTTP/1 that wait for a request. The one that was used last is taken first, so that those that are too many
    /// grow old.
    #[allow(clippy::vec_box, reason = "they are handed on as they are, and each is some hundred bytes")]
    waiting: Vec<Box<Http1>>,
    /// The connection that is being made for all, where they may share it.
    connecting: Option<Connecting>,
}

/// What the API was last found to speak.
enum Protocol {
    Unknown,
    Http1,
    Http2 { connection: Http2, used: Instant },
}

/// What a request goes over.
pub(super) enum Lease {
    Http1 {
        connection: Box<Http1>,
        /// Whether it has waited for the request, and may have been closed meanwhile.
        has_waited: bool,
    },
    Http2(Http2),
}

enum Found {
    Lease(Lease),
    Connecting(Connecting),
    /// Each request makes its own.
    Nothing,
}

/// Gives the connection, where it is one to share.
type Connecting = Shared<BoxFuture<'static, Result<Option<Http2>, NoAnswer>>>;

/// How long a connection may wait for a request. Many servers close theirs after a minute.
const MOST_WAITING: Duration = Duration::from_secs(30);
/// How often it is looked for those that wait too long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Pool {
    /// Without a connection. To be called where tokio runs.
    pub(super) fn new(connector: Connector, patience: Duration) -> Arc<Self> {
        let protocol = if connector.may_agree_on_http2() { Protocol::Unknown } else { Protocol::Http1 };
        let state = State { protocol, waiting: Vec::new(), connecting: None };
        let pool = Arc::new(Self { connector, patience, state: Mutex::new(state) });
        tokio::spawn(close_old(Arc::downgrade(&pool)));
        pool
    }

    /// A connection for a request. Until it is known what the API speaks, one is made for all who wait: requests that can share a
    /// connection need no other.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, NoAnswer> {
        loop {
            let connecting = match self.find() {
                Found::Lease(lease) => return Ok(lease),
                Found::Nothing => return Box::pin(self.connect()).await,
                Found::Connecting(connecting) => connecting,
            };
            match connecting.await {
                Ok(Some(connection)) => return Ok(Lease::Http2(connection)),
                // For whom it was too slow is told by his own deadline; others begin anew.
                Ok(None) | Err(NoAnswer::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a connection whose answer was read to its end.
    pub(super) fn give_back(&self, mut connection: Box<Http1>) {
        if connection.comes_to_rest() {
            connection.used = Instant::now();
            self.state().waiting.push(connection);
        }
    }

    fn find(self: &Arc<Self>) -> Found {
        let now = Instant::now();
        let mut state = self.state();
        match state.waiting.pop() {
            Some(connection) if now - connection.used <= MOST_WAITING => {
                return Found::Lease(Lease::Http1 { connection, has_waited: true });
            }
            Some(_) => state.waiting.clear(),
            None => {}
        }
        match &mut state.protocol {
            Protocol::Http1 => return Found::Nothing,
            Protocol::Http2 { connection, used } if !connection.is_closed() => {
                *used = now;
                return Found::Lease(Lease::Http2(connection.clone()));
            }
            Protocol::Http2 { .. } | Protocol::Unknown => {}
        }
        Found::Connecting(state.connecting.get_or_insert_with(|| self.begin()).clone())
    }

    /// A task makes the connection: who gives up waiting does not end it for others. Who waits panics with it, or everybody would be told
    /// of it for ever, and no other would be made.
    fn begin(self: &Arc<Self>) -> Connecting {
        let pool = Arc::clone(self);
        let connecting = tokio::spawn(async move { pool.connect_for_all().await });
        let made = connecting.map(|made| match made.map_err(JoinError::try_into_panic) {
            Ok(made) => made,
            Err(Ok(panic)) => resume_unwind(panic),
            // The process ends.
            Err(Err(ended)) => Err(NoAnswer::Connect(ended.to_string())),
        });
        made.boxed().shared()
    }

    async fn connect_for_all(&self) -> Result<Option<Http2>, NoAnswer> {
        let lease = timeout(self.patience, self.connect()).await.unwrap_or(Err(NoAnswer::Timeout));
        let mut state = self.state();
        state.connecting = None;
        match lease? {
            Lease::Http1 { connection, .. } => {
                state.waiting.push(connection);
                Ok(None)
            }
            Lease::Http2(connection) => Ok(Some(connection)),
        }
    }

    async fn connect(&self) -> Result<Lease, NoAnswer> {
        let connection = self.connector.connect().await?;
        let (protocol, lease) = match connection {
            Connection::Http1(connection) => (Protocol::Http1, Lease::Http1 { connection, has_waited: false }),
            Connection::Http2(connection) => {
                let shared = Protocol::Http2 { connection: connection.clone(), used: Instant::now() };
                (shared, Lease::Http2(connection))
            }
        };
        self.state().protocol = protocol;
        Ok(lease)
    }

    /// Closes what nobody has used for long.
    fn close_old(&self, now: Instant) {
        let mut state = self.state();
        let is_old = |used: Instant| now.saturating_duration_since(used) > MOST_WAITING;
        // The one at the bottom was used before all others.
        let old = state.waiting.iter().take_while(|connection| is_old(connection.used)).count();
        state.waiting.drain(..old);
        if matches!(state.protocol, Protocol::Http2 { used, .. } if is_old(used)) {
            state.protocol = Protocol::Unknown;
        }
    }

    /// Nothing panics while it is held; if it did, what is in it would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the pool.
async fn close_old(pool: Weak<Pool>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.close_old(Instant::now());
    }
}
