//! Has connections that wait for too long be closed. One look a second at all of them will do: with a timer of its own, each connection would
//! look at it with every request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::clock::SharedClock;

/// Looks at the clocks of connections until it is dropped.
pub(super) struct Overseer {
    open: Arc<Open>,
    _looks: AbortOnDropHandle<()>,
}

/// The connections that were open at the last look, and those that were opened since.
#[derive(Default)]
struct Open(Mutex<Vec<SharedClock>>);

const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Overseer {
    /// To be called where tokio runs.
    pub(super) fn start() -> Self {
        let open = Arc::<Open>::default();
        let looks = AbortOnDropHandle::new(tokio::spawn(look(Arc::clone(&open))));
        Self { open, _looks: looks }
    }

    /// Looks at this connection too, for as long as anybody else has its clock.
    pub(super) fn oversee(&self, clock: SharedClock) {
        self.open.lock().push(clock);
    }
}

async fn look(open: Arc<Open>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut open = open.lock();
        open.retain(|clock| !clock.is_alone());
        open.iter().for_each(SharedClock::look);
    }
}

impl Open {
    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Vec<SharedClock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use futures::poll;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_gone_is_forgotten_and_one_that_is_open_is_not() {
        let overseer = Overseer::start();
        let (gone, open) = (SharedClock::start(), SharedClock::start());
        overseer.oversee(gone);
        overseer.oversee(open.clone());
        while overseer.open.lock().len() > 1 {
            #[allow(clippy::disallowed_methods, reason = "nobody tells when it has looked")]
            sleep(Duration::from_millis(10)).await;
        }
        assert!(!open.is_alone());
    }

    #[tokio::test]
    async fn who_serves_a_connection_stays_in_nobodys_memory_when_that_has_ended() {
        let (clock, task) = (SharedClock::start(), Arc::new(Sleeper));
        {
            let mut overdue = pin!(clock.overdue());
            let waker = Waker::from(Arc::clone(&task));
            assert!(overdue.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
            assert!(poll!(overdue.as_mut()).is_pending());
        }
        assert_eq!(Arc::strong_count(&task), 1);
    }

    struct Sleeper;

    impl std::task::Wake for Sleeper {
        fn wake(self: Arc<Self>) {}
    }
}
