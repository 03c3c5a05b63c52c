//! Remembers that a cluster does not answer: meanwhile one call at a time finds out, and all others fail at once.
//!
//! Callers have a limited number of hands. Without this each call to a cluster that is down would keep one of them for the
//! whole timeout, and the other clusters would wait for it.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::Error;

/// How long after a call that was not answered the next one is let through.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a cluster answers.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Answering,
    /// It did not answer; from `retry` on somebody may ask again.
    Silent { error: Error, retry: Instant },
    /// Somebody asks again.
    Probing { error: Error },
}

/// A call that was let through. Dropped without a result it says nothing about the cluster.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    outage: &'a Outage,
    is_probe: bool,
}

impl Outage {
    /// Lets a call through, or says what the last one came to.
    pub(super) fn begin(&self, now: Instant) -> Result<Attempt<'_>, Error> {
        let mut state = self.state();
        let is_probe = match &*state {
            State::Answering => false,
            State::Silent { error, retry } if *retry <= now => {
                *state = State::Probing { error: error.clone() };
                true
            }
            State::Silent { error, .. } | State::Probing { error } => return Err(error.clone()),
        };
        Ok(Attempt { outage: self, is_probe })
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(*self.state(), State::Answering)
    }

    /// What the lock guards is whole after each statement, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Remembers what the call came to.
    pub(super) fn end(mut self, error: Option<&Error>, now: Instant) {
        self.is_probe = false;
        let mut state = self.outage.state();
        *state = match error {
            Some(error) if error.is_silence() => State::Silent { error: error.clone(), retry: now + PAUSE },
            _ => State::Answering,
        };
    }

    /// Those that were asked did not answer, which says nothing about the cluster: others may.
    pub(super) fn end_unknown(mut self, now: Instant) {
        self.pass_on(now + PAUSE);
    }

    /// From `retry` on the next one finds out.
    fn pass_on(&mut self, retry: Instant) {
        if !mem::take(&mut self.is_probe) {
            return;
        }
        let mut state = self.outage.state();
        *state = match mem::take(&mut *state) {
            State::Probing { error } => State::Silent { error, retry },
            // An older call has ended meanwhile, and told more.
            told => told,
        };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Whoever asked lost interest.
        self.pass_on(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, KafkaError};

    #[test]
    fn while_a_cluster_is_silent_one_call_at_a_time_finds_out() {
        let (outage, start) = (Outage::default(), Instant::now());
        let (first, second) = (outage.begin(start).unwrap(), outage.begin(start).unwrap());
        first.end(Some(&silence()), start);
        assert!(outage.begin(start).is_err(), "others fail at once");
        second.end(Some(&silence()), start);

        let later = start + PAUSE;
        let probe = outage.begin(later).unwrap();
        assert!(outage.begin(later).is_err(), "one is enough");
        probe.end(None, later);
        assert!(outage.begin(later).is_ok());
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_the_question_to_the_next() {
        let (outage, start) = (Outage::default(), Instant::now());
        outage.begin(start).unwrap().end(Some(&silence()), start);
        drop(outage.begin(start + PAUSE).unwrap());
        assert!(outage.begin(start + PAUSE).is_ok());
    }

    #[test]
    fn a_probe_that_is_dropped_takes_back_nothing_of_what_an_older_call_told_meanwhile() {
        let (outage, start) = (Outage::default(), Instant::now());
        let [first, slow] = [outage.begin(start).unwrap(), outage.begin(start).unwrap()];
        first.end(Some(&silence()), start);
        let probe = outage.begin(start + PAUSE).unwrap();
        slow.end(Some(&silence()), start + PAUSE);
        drop(probe);
        assert!(!outage.is_answering());
        assert!(outage.begin(start + PAUSE).is_err(), "others still fail at once");
    }

    #[test]
    fn a_probe_of_those_that_do_not_answer_leaves_the_next_one_to_others_and_not_at_once() {
        let (outage, start) = (Outage::default(), Instant::now());
        outage.begin(start).unwrap().end(Some(&silence()), start);
        outage.begin(start + PAUSE).unwrap().end_unknown(start + PAUSE);
        assert!(outage.begin(start + PAUSE).is_err());
        outage.begin(start + 2 * PAUSE).unwrap().end(None, start + 2 * PAUSE);
        outage.begin(start + 2 * PAUSE).unwrap().end_unknown(start + 2 * PAUSE);
        assert!(outage.is_answering());
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let (outage, now) = (Outage::default(), Instant::now());
        let error = KafkaError::local(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "");
        outage.begin(now).unwrap().end(Some(&Error::Refused { doing: "describe topics", error }), now);
        assert!(outage.begin(now).is_ok());
    }

    fn silence() -> Error {
        let cause = KafkaError::local(ErrorCode::TIMED_OUT, "");
        Error::Unreachable { doing: "describe topics", within: Duration::from_secs(1), cause }
    }
}
