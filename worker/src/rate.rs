//! The rate limit: the generic cell rate algorithm in its shape with one time. Pure: the time comes in as an argument, which
//! is why it is not a library's.

use std::time::{Duration, Instant};

use sluice_crds::RateLimit;

/// A rate. Without a policy everything may begin.
#[derive(Debug)]
pub(crate) struct Rate {
    limit: Option<Limit>,
    /// When all that began so far would have begun, had it come evenly.
    even: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    interval: Duration,
    /// How far what began may be ahead of an even rate.
    ahead: Duration,
}

impl Rate {
    pub(crate) fn new(policy: Option<RateLimit>) -> Self {
        let limit = policy.map(|RateLimit { per_second, burst }| {
            let interval = Duration::from_secs(1) / per_second.max(1);
            Limit { interval, ahead: interval * burst.unwrap_or(per_second).saturating_sub(1) }
        });
        Self { limit, even: None }
    }

    /// One more begins now, or may begin at the time that is given.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(Limit { interval, ahead }) = self.limit else { return Ok(()) };
        let even = self.even.map_or(now, |even| even.max(now));
        let too_early = even.saturating_duration_since(now).saturating_sub(ahead);
        if !too_early.is_zero() {
            return Err(now + too_early);
        }
        self.even = Some(even + interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_may_begin_at_once_and_then_one_by_one() {
        let (mut rate, now) = (Rate::new(Some(RateLimit { per_second: 10, burst: Some(3) })), Instant::now());
        assert_eq!([0; 3].map(|_| rate.take(now)), [Ok(()); 3]);
        let next = now + Duration::from_millis(100);
        assert_eq!(rate.take(now), Err(next));
        assert_eq!((rate.take(next), rate.take(next)), (Ok(()), Err(next + Duration::from_millis(100))));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_than_the_burst_and_the_rate(
            per_second in 1..1_000_u32, burst in 1..50_u32, waits in proptest::collection::vec(0..200_u64, 1..300),
        ) {
            let mut rate = Rate::new(Some(RateLimit { per_second, burst: Some(burst) }));
            let mut now = Instant::now();
            let mut begun = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                if rate.take(now).is_ok() {
                    begun.push(now);
                }
            }
            for (index, first) in begun.iter().enumerate() {
                for (number, last) in (1_u32..).zip(&begun[index..]) {
                    let most = f64::from(burst) + (*last - *first).as_secs_f64() * f64::from(per_second);
                    prop_assert!(f64::from(number) <= most + 1e-3, "{number} > {most}");
                }
            }
        }
    }
}
