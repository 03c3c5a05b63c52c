//! One replica leads and the others stand by: the lease, and how long its holder may act.
//!
//! - `lease`: what the lease says, judged. Pure.
//! - `election`: takes the lease, keeps it and gives it back.
//!
//! The lease is a `coordination.k8s.io` Lease. Its holder is the replica whose write to it succeeded last, over the version
//! that it had looked at. Nobody compares wall clocks: a stand-by measures on its own clock how long the lease was not
//! renewed, and the holder how long ago it asked for its last renewal.

mod election;
mod lease;

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

pub use election::Election;

/// Its holder may begin requests for so long after it asked for its last renewal.
const TERM: Duration = Duration::from_secs(10);
/// No request may take longer, so that what was begun in time has ended before another replica begins anything.
pub const MARGIN: Duration = Duration::from_secs(10);
/// A stand-by takes the lease over when it was not renewed for so long.
const LEASE: Duration = TERM.saturating_add(MARGIN);

/// Whether this replica leads, up to a moment that has to be moved again and again. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Leadership {
    /// Milliseconds since boot.
    until: Arc<AtomicU64>,
    changes: Arc<Changes>,
    /// When the holder before this one renewed last, by its wall clock.
    predecessor: Arc<OnceLock<Timestamp>>,
}

/// Requests under way that may change something.
#[derive(Debug, Default)]
struct Changes {
    number: AtomicUsize,
    ended: Notify,
}

/// A request under way, known where it may change something.
#[derive(Debug)]
pub struct Permit(Option<Arc<Changes>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(changes) = &self.0
            && changes.number.fetch_sub(1, Ordering::SeqCst) == 1
        {
            changes.ended.notify_waiters();
        }
    }
}

impl Leadership {
    /// Whether a request may begin now.
    pub fn is_held(&self) -> bool {
        milliseconds(since_boot()) < self.until.load(Ordering::SeqCst)
    }

    /// For a request that may begin now; to be kept until it has ended. `changes`: it may change something.
    pub fn permit(&self, changes: bool) -> Option<Permit> {
        // In this order either the request sees that it may not begin, or whoever ends the leadership sees the request.
        let permit = if changes { self.changing() } else { Permit(None) };
        self.is_held().then_some(permit)
    }

    /// For a request that may change something, and whose right to begin is looked at later.
    pub fn changing(&self) -> Permit {
        self.changes.number.fetch_add(1, Ordering::SeqCst);
        Permit(Some(Arc::clone(&self.changes)))
    }

    /// When the replica that led before this one was at work last, by its own clock: nothing may rest on that. `None` where there was none.
    pub fn predecessor_worked(&self) -> Option<Timestamp> {
        self.predecessor.get().copied()
    }

    /// The lease was taken that somebody had renewed then.
    fn follows(&self, renewed: Option<Timestamp>) {
        if let Some(renewed) = renewed {
            // A replica takes the lease once.
            let _ = self.predecessor.set(renewed);
        }
    }

    /// Waits until no request is under way that may change something.
    async fn rest(&self) {
        loop {
            let mut ended = pin!(self.changes.ended.notified());
            ended.as_mut().enable();
            if self.changes.number.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Time that is left.
    fn left(&self) -> Duration {
        Duration::from_millis(self.until.load(Ordering::Acquire)).saturating_sub(since_boot())
    }

    /// The lease was renewed by a request that began at `asked`.
    fn renewed(&self, asked: Duration) {
        self.until.store(milliseconds(asked + TERM), Ordering::Release);
    }

    /// From now on no request may begin.
    fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }
}

/// A clock that no one can set, and that goes on while the process is stopped or the machine sleeps.
fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().expect("the time since boot is positive")
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_leads_who_was_not_told_to_or_not_lately() {
        let leadership = Leadership::default();
        assert!(!leadership.is_held());
        leadership.renewed(since_boot());
        assert!(leadership.is_held() && leadership.left() <= TERM);
        leadership.renewed(since_boot().saturating_sub(TERM));
        assert!(!leadership.is_held() && leadership.left() == Duration::ZERO);
        leadership.renewed(since_boot());
        leadership.end();
        assert!(!leadership.is_held());
    }

    #[tokio::test]
    async fn requests_that_may_change_something_are_waited_for() {
        let leadership = Leadership::default();
        let [one, other] = [leadership.changing(), leadership.clone().changing()];
        let mut rest = pin!(leadership.rest());
        assert!(futures::poll!(&mut rest).is_pending());
        drop(one);
        assert!(futures::poll!(&mut rest).is_pending());
        drop(other);
        rest.await;
    }
}
