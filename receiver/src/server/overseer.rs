//! Closes connections that have waited for too long. It looks at all of them once a second: a timer of its own would have each connection look
//! at that with every request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{AbortHandle, Abortable};
use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::clock::SharedClock;

/// Closes connections until it is dropped.
pub(super) struct Overseer {
    open: Arc<Open>,
    _looks: AbortOnDropHandle<()>,
}

/// The connections that were open at the last look, and those that were opened since.
#[derive(Default)]
struct Open(Mutex<Vec<(AbortHandle, SharedClock)>>);

const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Overseer {
    /// To be called where tokio runs.
    pub(super) fn start() -> Self {
        let open = Arc::<Open>::default();
        let looks = AbortOnDropHandle::new(tokio::spawn(look(Arc::clone(&open))));
        Self { open, _looks: looks }
    }

    /// What serves a connection, until its clock says that it has waited for too long.
    pub(super) fn oversee<S: Future>(&self, clock: SharedClock, serving: S) -> Abortable<S> {
        let (close, closed) = AbortHandle::new_pair();
        self.open.lock().push((close, clock));
        Abortable::new(serving, closed)
    }
}

async fn look(open: Arc<Open>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        open.lock().retain(|(close, clock)| !clock.is_alone() && stays(close, clock));
    }
}

fn stays(close: &AbortHandle, clock: &SharedClock) -> bool {
    let Some(overdue) = clock.overdue() else { return true };
    debug!("Connection closed: {overdue}");
    close.abort();
    false
}

impl Open {
    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Vec<(AbortHandle, SharedClock)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn what_has_ended_is_forgotten_and_what_is_open_is_not() {
        let overseer = Overseer::start();
        let (ended, open) = (SharedClock::start(), SharedClock::start());
        assert_eq!(overseer.oversee(ended, ready(7)).await, Ok(7));
        let _serving = overseer.oversee(open.clone(), pending::<()>());
        while overseer.open.lock().len() > 1 {
            #[allow(clippy::disallowed_methods, reason = "nobody tells when it has looked")]
            sleep(Duration::from_millis(10)).await;
        }
        assert!(!open.is_alone());
    }
}
