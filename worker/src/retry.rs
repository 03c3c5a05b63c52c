//! Whether and when a failed delivery is attempted again. Pure: time and chance come in as arguments.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sluice_crds::{Backoff, Retry};

/// What a record has spent of its retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Attempts that failed.
    pub(crate) attempts: u32,
    /// Time since the first failure, but for what does not count: while no worker had the record.
    pub(crate) elapsed: Duration,
    /// When the first attempt failed.
    pub(crate) first_failed_at: DateTime<Utc>,
}

/// What kind of failure the last attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may pass: a connection that broke, a timeout, an answer that asks for patience.
    Passing {
        /// How long the sink asked to be left alone with this record.
        retry_after: Option<Duration>,
    },
    /// It may pass, and until then the sink wants no other record either.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Duration,
    },
    /// The sink refused the record: the same again gets the same answer.
    Refusal,
}

/// Longest time for which a sink is left alone because it asks to be: it may be wrong about hours, and would hold up all records.
const LONGEST_HOLD: Duration = Duration::from_mins(5);

impl Failure {
    /// Whether the same again may be taken later.
    pub(crate) fn is_passing(self) -> bool {
        !matches!(self, Self::Refusal)
    }

    /// How long nothing at all is sent to the sink.
    pub(crate) fn hold(self) -> Duration {
        match self {
            Self::Busy { retry_after } => retry_after.min(LONGEST_HOLD),
            Self::Passing { .. } | Self::Refusal => Duration::ZERO,
        }
    }
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

/// Decides after a failed attempt. `chance` is a random number from 0 to 1; the wait is at least what the sink asked for. While it
/// wants no record at all, nothing counts against `maxElapsed`.
pub(crate) fn decide(policy: &Retry, spent: &Spent, failure: Failure, chance: f64) -> Decision {
    let least = match failure {
        Failure::Refusal => return Decision::GiveUp(GiveUp::Refused),
        Failure::Passing { retry_after } => retry_after.unwrap_or_default(),
        Failure::Busy { .. } => failure.hold(),
    };
    if spent.attempts >= policy.max_attempts {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    let bound = bound(&policy.backoff, spent.attempts);
    let after = bound.mul_f64(chance.clamp(0.0, 1.0)).max(least);
    if spent.elapsed.saturating_add(after.saturating_sub(failure.hold())) > policy.max_elapsed.get() {
        return Decision::GiveUp(GiveUp::Elapsed);
    }
    Decision::Retry { after }
}

/// The wait before something is tried again that must succeed in the end, after so many failures: as the policy says, but
/// never short, and without an end.
pub(crate) fn patience(policy: &Backoff, failures: u32, chance: f64) -> Duration {
    bound(policy, failures).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// The upper bound of the wait after this many attempts.
fn bound(policy: &Backoff, made: u32) -> Duration {
    let max = policy.max.get();
    let factor = policy.factor.checked_pow(made.saturating_sub(1));
    factor.and_then(|factor| policy.initial.get().checked_mul(factor)).map_or(max, |bound| bound.min(max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_crds::Duration as Text;

    use super::*;

    const PASSING: Failure = Failure::Passing { retry_after: None };

    fn policy() -> Retry {
        Retry {
            max_attempts: 5,
            backoff: Backoff { initial: Text::from_millis(100), factor: 3, max: Text::from_secs(1) },
            max_elapsed: Text::from_secs(60),
        }
    }

    fn spent(attempts: u32, elapsed: u64) -> Spent {
        Spent { attempts, elapsed: Duration::from_secs(elapsed), first_failed_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn the_wait_grows_to_its_bound_and_is_spread_over_all_of_it() {
        for (made, jitter, millis) in
            [(1, 1.0, 100), (2, 1.0, 300), (3, 1.0, 900), (4, 1.0, 1000), (4, 0.5, 500), (4, 0.0, 0)]
        {
            let decision = decide(&policy(), &spent(made, 0), PASSING, jitter);
            assert_eq!(decision, Decision::Retry { after: Duration::from_millis(millis) }, "{made} {jitter}");
        }
    }

    #[test]
    fn the_sink_may_ask_for_a_longer_wait_than_the_policy() {
        let failure = Failure::Passing { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(decide(&policy(), &spent(1, 0), failure, 1.0), Decision::Retry { after: Duration::from_secs(7) });
        let failure = Failure::Passing { retry_after: Some(Duration::from_secs(61)) };
        assert_eq!(decide(&policy(), &spent(1, 0), failure, 1.0), Decision::GiveUp(GiveUp::Elapsed));
    }

    #[test]
    fn what_a_busy_sink_asks_for_is_nobodys_fault_and_has_a_bound() {
        for (asked, wait) in [(61, 61), (86_400, 300)] {
            let failure = Failure::Busy { retry_after: Duration::from_secs(asked) };
            let decision = decide(&policy(), &spent(1, 60), failure, 1.0);
            assert_eq!(decision, Decision::Retry { after: Duration::from_secs(wait) }, "{asked}");
        }
        let failure = Failure::Busy { retry_after: Duration::from_secs(1) };
        assert_eq!(decide(&policy(), &spent(5, 0), failure, 1.0), Decision::GiveUp(GiveUp::Attempts));
    }

    #[test]
    fn refusals_and_used_up_budgets_end_it() {
        for (made, elapsed, failure, expected) in [
            (1, 0, Failure::Refusal, GiveUp::Refused),
            (5, 0, PASSING, GiveUp::Attempts),
            (2, 60, PASSING, GiveUp::Elapsed),
        ] {
            assert_eq!(decide(&policy(), &spent(made, elapsed), failure, 0.1), Decision::GiveUp(expected));
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_budget_or_the_bound(made in 1..2_000_u32, jitter: f64, max_attempts: u32, factor: u32) {
            let backoff = Backoff { factor, ..policy().backoff };
            let policy = Retry { max_attempts, backoff, ..policy() };
            if let Decision::Retry { after } = decide(&policy, &spent(made, 3), PASSING, if jitter.is_nan() { 0.0 } else { jitter }) {
                prop_assert!(made < max_attempts);
                prop_assert!(after <= policy.backoff.max.get());
            }
        }
    }
}
