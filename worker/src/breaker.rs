//! The circuit breaker: while a sink fails again and again it is left alone, and then tried with one record at a time. Pure:
//! the time comes in as an argument.

use std::{collections::VecDeque, time::Instant};

use sluice_crds::{CircuitBreaker, FailureShare, wire::Circuit};

/// A circuit. Without a policy it is always closed.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: Option<CircuitBreaker>,
    state: State,
    /// Failures since the last success.
    row: u32,
    last: LastAttempts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// Whether each of the last attempts failed, where the policy asks for their share.
#[derive(Debug, Default)]
struct LastAttempts {
    each: VecDeque<bool>,
    failures: u32,
}

impl Breaker {
    pub(crate) fn new(policy: Option<CircuitBreaker>) -> Self {
        Self { policy, state: State::Closed, row: 0, last: LastAttempts::default() }
    }

    /// How the circuit is now: an open one becomes half-open when its time is over.
    pub(crate) fn circuit(&mut self, now: Instant) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until } if now < until => Circuit::Open,
            State::Open { .. } | State::HalfOpen => {
                self.state = State::HalfOpen;
                Circuit::HalfOpen
            }
        }
    }

    /// When an open circuit becomes half-open.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// An attempt ended that was no probe. Those that end after the circuit opened change nothing.
    pub(crate) fn attempted(&mut self, failed: bool, now: Instant) {
        let Some(policy) = &self.policy else { return };
        if self.state != State::Closed {
            return;
        }
        self.row = if failed { self.row.saturating_add(1) } else { 0 };
        let in_a_row = policy.failures > 0 && self.row >= policy.failures;
        let too_many = policy.failure_share.is_some_and(|share| self.last.add(failed, share));
        if in_a_row || too_many {
            self.open(now);
        }
    }

    /// The probe ended.
    pub(crate) fn probed(&mut self, failed: bool, now: Instant) {
        if failed {
            self.open(now);
        } else {
            self.state = State::Closed;
        }
    }

    fn open(&mut self, now: Instant) {
        let Some(policy) = &self.policy else { return };
        self.state = State::Open { until: now + policy.open_for.get() };
        self.row = 0;
        self.last = LastAttempts::default();
    }
}

impl LastAttempts {
    /// One more; says whether failures have the share among them.
    fn add(&mut self, failed: bool, share: FailureShare) -> bool {
        let FailureShare { percent, attempts } = share;
        self.each.push_back(failed);
        self.failures += u32::from(failed);
        if self.each.len() > attempts as usize && self.each.pop_front() == Some(true) {
            self.failures -= 1;
        }
        self.each.len() >= attempts as usize && self.failures * 100 >= attempts * u32::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn breaker(failures: u32, failure_share: Option<FailureShare>) -> (Breaker, Instant) {
        let open_for = sluice_crds::Duration::from_secs(30);
        (Breaker::new(Some(CircuitBreaker { failures, failure_share, open_for })), Instant::now())
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let (mut breaker, now) = breaker(3, None);
        for failed in [true, true, false, true, true] {
            breaker.attempted(failed, now);
        }
        assert_eq!(breaker.circuit(now), Circuit::Closed);
        breaker.attempted(true, now);
        assert_eq!(breaker.circuit(now), Circuit::Open);
        assert_eq!(breaker.open_until(), Some(now + Duration::from_secs(30)));
    }

    #[test]
    fn a_share_of_failures_among_the_last_attempts_opens_it() {
        let (mut breaker, now) = breaker(0, Some(FailureShare { percent: 50, attempts: 10 }));
        for n in 0..100 {
            breaker.attempted(n % 5 < 2, now);
            assert_eq!(breaker.circuit(now), Circuit::Closed, "40% of attempt {n} and before");
        }
        for _ in 0..3 {
            assert_eq!(breaker.circuit(now), Circuit::Closed);
            breaker.attempted(true, now);
        }
        assert_eq!(breaker.circuit(now), Circuit::Open);
    }

    #[test]
    fn few_attempts_are_no_share() {
        let (mut breaker, now) = breaker(0, Some(FailureShare { percent: 1, attempts: 10 }));
        (0..9).for_each(|_| breaker.attempted(true, now));
        assert_eq!(breaker.circuit(now), Circuit::Closed);
    }

    #[test]
    fn a_probe_decides_whether_it_closes() {
        let (mut breaker, now) = breaker(1, None);
        breaker.attempted(true, now);
        let later = now + Duration::from_secs(30);
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
        breaker.attempted(false, later);
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen, "what was under way when it opened decides nothing");
        breaker.probed(true, later);
        assert_eq!(breaker.circuit(later), Circuit::Open);
        let last = later + Duration::from_secs(30);
        assert_eq!(breaker.circuit(last), Circuit::HalfOpen);
        breaker.probed(false, last);
        assert_eq!(breaker.circuit(last), Circuit::Closed);
    }

    #[test]
    fn without_a_policy_it_never_opens() {
        let (mut breaker, now) = (Breaker::new(None), Instant::now());
        (0..1_000).for_each(|_| breaker.attempted(true, now));
        assert_eq!(breaker.circuit(now), Circuit::Closed);
    }
}
