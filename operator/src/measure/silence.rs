//! For how long something was asked in vain. What was known stays true for a while: a leader moves, a broker restarts.

use std::time::Duration;

use sluice_crds::Reason;
use tokio::time::Instant;

/// What was said last is not true for longer.
pub const SILENCE: Duration = Duration::from_mins(1);

/// Since when something is asked in vain, and what was logged of it.
#[derive(Debug, Default)]
pub struct Silence {
    since: Option<Instant>,
    told: Option<Reason>,
}

impl Silence {
    /// It was asked in vain. Gives whether it was for so long that nothing is known any more.
    pub fn lasts(&mut self, now: Instant) -> bool {
        now.duration_since(*self.since.get_or_insert(now)) >= SILENCE
    }

    /// Whether this reason was not logged yet.
    pub fn is_news(&mut self, reason: Reason) -> bool {
        self.told.replace(reason) != Some(reason)
    }

    /// It was answered. Gives whether anything else was logged before.
    pub fn ends(&mut self) -> bool {
        std::mem::take(self).told.is_some()
    }

    /// Whether it was asked in vain the last time.
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_in_vain_for_a_minute_is_lost_and_said_once_for_each_reason() {
        let (mut silence, begin) = (Silence::default(), Instant::now());
        assert!(!silence.lasts(begin) && silence.is_on());
        assert!(!silence.lasts(begin + SILENCE / 2));
        assert!(silence.lasts(begin + SILENCE));
        let told = [Reason::NotFound, Reason::NotFound, Reason::NotAuthorized].map(|reason| silence.is_news(reason));
        assert_eq!(told, [true, false, true]);
        assert!(silence.ends() && !silence.is_on());
    }

    #[test]
    fn an_answer_in_between_begins_it_anew() {
        let (mut silence, begin) = (Silence::default(), Instant::now());
        silence.lasts(begin);
        assert!(!silence.ends(), "nothing was said");
        assert!(!silence.lasts(begin + SILENCE));
        assert!(silence.lasts(begin + 2 * SILENCE));
    }
}
