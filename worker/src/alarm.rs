//! A timer that is asked for again and again, mostly with the same time.

use std::{future, pin::Pin};

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes who waits although nothing happens. It is kept from one wait to the next: making a timer, and giving one up, takes a lock that
/// all timers of the process share.
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// To be called where tokio runs.
    pub(crate) fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Ends at the time; never without one.
    pub(crate) async fn at(&mut self, time: Option<Instant>) {
        let Some(time) = time else { return future::pending().await };
        if self.0.deadline() != time {
            self.0.as_mut().reset(time);
        }
        self.0.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{timeout, timeout_at};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_wakes_at_the_time_that_was_asked_for_last_and_again_where_that_is_over() {
        let (mut alarm, begin) = (Alarm::new(), Instant::now());
        let seconds = |seconds| begin + Duration::from_secs(seconds);
        for (given_up_after, time) in [(1, None), (2, Some(seconds(60))), (3, Some(seconds(60)))] {
            let waited = timeout_at(seconds(given_up_after), alarm.at(time)).await;
            assert!(waited.is_err(), "{time:?} is not there yet");
        }
        for (time, expected) in [(30, 30), (30, 30), (20, 30), (40, 40)] {
            let waited = timeout(Duration::from_mins(1), alarm.at(Some(seconds(time)))).await;
            assert_eq!((waited, Instant::now()), (Ok(()), seconds(expected)), "{time} s");
        }
    }
}
