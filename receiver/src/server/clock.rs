//! How long a connection may wait, and for what: a request's head is to come quickly, once it has begun; between two requests
//! a gateway may keep a connection for a while; while a request is served, its handler keeps the time.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use http::Version;
use sluice_crds::wire::ending::HEAD;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    phase: Phase,
    /// HTTP/2: bytes may come at any time and need not be a request's.
    multiplexed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request has begun and its head is not complete. A new connection is expected to begin one at once.
    Head {
        since: Instant,
    },
    Idle {
        since: Instant,
    },
    Serving {
        requests: usize,
    },
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
}

/// Longer than gateways keep an idle connection (a minute, mostly): one that both sides give up at the same moment would
/// fail a request.
const IDLE: Duration = Duration::from_mins(3);

impl Clock {
    fn start(now: Instant) -> Self {
        Self { phase: Phase::Head { since: now }, multiplexed: false }
    }

    /// Bytes came in.
    fn read(&mut self, now: Instant) {
        if let (Phase::Idle { .. }, false) = (self.phase, self.multiplexed) {
            self.phase = Phase::Head { since: now };
        }
    }

    fn begin(&mut self, version: Version) {
        self.multiplexed = version >= Version::HTTP_2;
        let requests = if let Phase::Serving { requests } = self.phase { requests } else { 0 };
        self.phase = Phase::Serving { requests: requests + 1 };
    }

    fn end(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Serving { requests: requests @ 2.. } => Phase::Serving { requests: requests - 1 },
            _ => Phase::Idle { since: now },
        };
    }

    fn overdue(&self, now: Instant) -> Option<Overdue> {
        let (since, limit, overdue) = match self.phase {
            Phase::Head { since } => (since, HEAD, Overdue::Head),
            Phase::Idle { since } => (since, IDLE, Overdue::Idle),
            Phase::Serving { .. } => return None,
        };
        (now.saturating_duration_since(since) >= limit).then_some(overdue)
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(formatter, "no request came within {HEAD:?}"),
            Self::Idle => write!(formatter, "it was idle for {IDLE:?}"),
        }
    }
}

/// The clock of one connection, seen by its bytes, its requests, whoever serves it and who oversees all of them.
#[derive(Clone, Debug)]
pub(super) struct SharedClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Mutex<Clock>,
    /// Whoever serves the connection.
    server: AtomicWaker,
    /// Whether he is to look at the clock.
    is_called: AtomicBool,
}

/// A request that is being served, until this is dropped.
pub(super) struct Serving(SharedClock);

impl SharedClock {
    pub(super) fn start() -> Self {
        let clock = Mutex::new(Clock::start(Instant::now()));
        Self(Arc::new(Shared { clock, server: AtomicWaker::new(), is_called: AtomicBool::new(false) }))
    }

    pub(super) fn read(&self) {
        self.lock().read(Instant::now());
    }

    pub(super) fn serving(&self, version: Version) -> Serving {
        self.lock().begin(version);
        Serving(self.clone())
    }

    /// Whether nobody else has it any more: the connection is gone.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Resolves when the connection has waited for too long, as who serves it sees it himself once he was called: so no request can have begun
    /// since. Nobody is called any more when this is dropped.
    pub(super) async fn overdue(&self) -> Overdue {
        let _server = Listening(&self.0.server);
        poll_fn(|context| self.poll_overdue(context)).await
    }

    fn poll_overdue(&self, context: &Context<'_>) -> Poll<Overdue> {
        self.0.server.register(context.waker());
        if !self.0.is_called.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        self.lock().overdue(Instant::now()).map_or(Poll::Pending, Poll::Ready)
    }

    /// Calls who serves the connection where it has waited for too long.
    pub(super) fn look(&self) {
        if self.lock().overdue(Instant::now()).is_some() {
            self.0.is_called.store(true, Ordering::Release);
            self.0.server.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever is called, until this is dropped: a waker keeps its task in memory.
struct Listening<'a>(&'a AtomicWaker);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.lock().end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_comes_in_drops_is_overdue_however_often_a_drop_comes() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        for second in 1..5 {
            clock.read(start + Duration::from_secs(second));
            assert_eq!(clock.overdue(start + Duration::from_secs(second)), None);
        }
        assert_eq!(clock.overdue(start + HEAD), Some(Overdue::Head));
    }

    #[test]
    fn a_connection_may_be_idle_for_longer_but_its_next_head_may_not() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        clock.begin(Version::HTTP_11);
        clock.read(start);
        assert_eq!(clock.overdue(start + IDLE), None);
        clock.end(start);
        assert_eq!(clock.overdue(start + HEAD), None);
        let mut waiting = clock;
        assert_eq!(waiting.overdue(start + IDLE), Some(Overdue::Idle));
        waiting.read(start + HEAD);
        assert_eq!(waiting.overdue(start + HEAD + HEAD), Some(Overdue::Head));
    }

    #[test]
    fn bytes_between_the_requests_of_http2_are_no_head() {
        let start = Instant::now();
        let mut clock = Clock::start(start);
        clock.begin(Version::HTTP_2);
        clock.begin(Version::HTTP_2);
        clock.end(start);
        assert_eq!(clock.overdue(start + IDLE), None);
        clock.end(start);
        clock.read(start + HEAD);
        assert_eq!(clock.overdue(start + HEAD + HEAD), None);
        assert_eq!(clock.overdue(start + IDLE), Some(Overdue::Idle));
    }
}
