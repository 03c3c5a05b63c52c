//! Whether and when a failed delivery is attempted again. Pure: time and chance come in as arguments.

use std::time::Duration;

use sluice_crds::Retry;

/// What the attempts for one record have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// How many were made.
    pub(crate) made: u32,
    /// Time since the first failure.
    pub(crate) elapsed: Duration,
}

/// What kind of failure the last attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may pass: a connection that broke, a timeout, an answer that asks for patience.
    Passing {
        /// How long the sink asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The sink refused the record: the same again gets the same answer.
    Refusal,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Attempt again after this time.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// The record is not delivered.
    GiveUp(GiveUp),
}

/// Why a record is not attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// The sink refused it.
    Refused,
    /// All attempts were used.
    Attempts,
    /// The next attempt would come after `maxElapsed`.
    Elapsed,
}

/// Decides after a failed attempt. `jitter` is a random number from 0 to 1; the wait is at least what the sink asked for.
pub(crate) fn decide(policy: &Retry, attempts: Attempts, failure: Failure, jitter: f64) -> Decision {
    let Failure::Passing { retry_after } = failure else { return Decision::GiveUp(GiveUp::Refused) };
    if attempts.made >= policy.max_attempts {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    let after = backoff(policy, attempts.made).mul_f64(jitter.clamp(0.0, 1.0)).max(retry_after.unwrap_or_default());
    if attempts.elapsed.saturating_add(after) > policy.max_elapsed.get() {
        return Decision::GiveUp(GiveUp::Elapsed);
    }
    Decision::Retry { after }
}

/// The upper bound of the wait after this many attempts.
fn backoff(policy: &Retry, made: u32) -> Duration {
    let max = policy.backoff.max.get();
    let factor = policy.backoff.factor.checked_pow(made.saturating_sub(1));
    factor.and_then(|factor| policy.backoff.initial.get().checked_mul(factor)).map_or(max, |bound| bound.min(max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_crds::{Backoff, Duration as Text};

    use super::*;

    const PASSING: Failure = Failure::Passing { retry_after: None };

    fn policy() -> Retry {
        Retry {
            max_attempts: 5,
            backoff: Backoff { initial: Text::from_millis(100), factor: 3, max: Text::from_secs(1) },
            max_elapsed: Text::from_secs(60),
        }
    }

    fn attempts(made: u32, elapsed: u64) -> Attempts {
        Attempts { made, elapsed: Duration::from_secs(elapsed) }
    }

    #[test]
    fn the_wait_grows_to_its_bound_and_is_spread_over_all_of_it() {
        for (made, jitter, millis) in
            [(1, 1.0, 100), (2, 1.0, 300), (3, 1.0, 900), (4, 1.0, 1000), (4, 0.5, 500), (4, 0.0, 0)]
        {
            let decision = decide(&policy(), attempts(made, 0), PASSING, jitter);
            assert_eq!(decision, Decision::Retry { after: Duration::from_millis(millis) }, "{made} {jitter}");
        }
    }

    #[test]
    fn the_sink_may_ask_for_a_longer_wait_than_the_policy() {
        let failure = Failure::Passing { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(decide(&policy(), attempts(1, 0), failure, 1.0), Decision::Retry { after: Duration::from_secs(7) });
        let failure = Failure::Passing { retry_after: Some(Duration::from_secs(61)) };
        assert_eq!(decide(&policy(), attempts(1, 0), failure, 1.0), Decision::GiveUp(GiveUp::Elapsed));
    }

    #[test]
    fn refusals_and_used_up_budgets_end_it() {
        for (made, elapsed, failure, expected) in [
            (1, 0, Failure::Refusal, GiveUp::Refused),
            (5, 0, PASSING, GiveUp::Attempts),
            (2, 60, PASSING, GiveUp::Elapsed),
        ] {
            assert_eq!(decide(&policy(), attempts(made, elapsed), failure, 0.1), Decision::GiveUp(expected));
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_budget_or_the_bound(made in 1..2_000_u32, jitter: f64, max_attempts: u32, factor: u32) {
            let backoff = Backoff { factor, ..policy().backoff };
            let policy = Retry { max_attempts, backoff, ..policy() };
            if let Decision::Retry { after } = decide(&policy, attempts(made, 3), PASSING, if jitter.is_nan() { 0.0 } else { jitter }) {
                prop_assert!(made < max_attempts);
                prop_assert!(after <= policy.backoff.max.get());
            }
        }
    }
}
