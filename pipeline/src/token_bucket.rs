//! A token bucket: so many a second, and so many at once after a pause. Pure: the time is an argument.
//!
//! It is kept as one instant, that at which the bucket is full again (GCRA, as ITU-T I.371 describes it).

use std::time::{Duration, Instant};

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Time in which one token comes.
    interval: Duration,
    /// Time in which an empty bucket becomes full.
    capacity: Duration,
}

/// A bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// Full before it was ever used.
    full_at: Option<Instant>,
}

/// A bucket that fills more slowly is as good as closed.
const LONGEST_INTERVAL: Duration = Duration::from_hours(24);

impl Rate {
    /// So many tokens a second, and a bucket of `burst` of them, at least one.
    pub fn new(per_second: f64, burst: f64) -> Self {
        let interval = Duration::try_from_secs_f64(per_second.recip()).unwrap_or(LONGEST_INTERVAL);
        let interval = interval.clamp(Duration::from_nanos(1), LONGEST_INTERVAL);
        let burst = if burst > 1.0 { burst } else { 1.0 };
        let capacity = Duration::try_from_secs_f64(interval.as_secs_f64() * burst).unwrap_or(Duration::MAX);
        Self { interval, capacity: capacity.clamp(interval, LONGEST_INTERVAL.saturating_mul(1000)) }
    }
}

impl TokenBucket {
    /// Takes a token. `Err`: there is none, and how long it takes until there is one.
    pub fn take(&mut self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.interval;
        let wait = full_at.saturating_duration_since(now).saturating_sub(rate.capacity);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = Some(full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn taken(bucket: &mut TokenBucket, rate: &Rate, now: Instant) -> usize {
        (0..10_000).take_while(|_| bucket.take(rate, now).is_ok()).count()
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_for_each_interval() {
        let (rate, mut bucket, now) = (Rate::new(10.0, 5.0), TokenBucket::default(), Instant::now());
        assert_eq!(taken(&mut bucket, &rate, now), 5);
        assert_eq!(bucket.take(&rate, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(&rate, now + Duration::from_millis(99)), Err(Duration::from_millis(1)));
        assert_eq!(taken(&mut bucket, &rate, now + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, &rate, now + Duration::from_mins(1)), 5);
    }

    #[test]
    fn a_bucket_that_gets_smaller_is_not_refilled_by_it() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        assert_eq!(taken(&mut bucket, &Rate::new(1.0, 100.0), now), 100);
        assert_eq!(bucket.take(&Rate::new(1.0, 10.0), now), Err(Duration::from_secs(91)));
    }

    #[test]
    fn no_number_breaks_a_rate() {
        let numbers = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300];
        for (per_second, burst) in numbers.into_iter().flat_map(|one| numbers.map(|other| (one, other))) {
            assert_eq!(TokenBucket::default().take(&Rate::new(per_second, burst), Instant::now()), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_burst_and_what_came_meanwhile(
            per_second in 1_u32..1000, burst in 1_u32..50, waits in vec(0_u64..50, 1..200),
        ) {
            let rate = Rate::new(per_second.into(), burst.into());
            let (mut bucket, start) = (TokenBucket::default(), Instant::now());
            let mut now = start;
            let mut count = 0_u32;
            for wait in waits {
                now += Duration::from_millis(wait);
                if bucket.take(&rate, now).is_ok() {
                    count += 1;
                }
            }
            let most = f64::from(burst) + (now - start).as_secs_f64() * f64::from(per_second);
            // Intervals are whole nanoseconds.
            prop_assert!(f64::from(count) <= most * 1.001 + 0.001, "{count} of {most}");
        }

        #[test]
        fn a_token_is_there_after_the_wait_and_not_before(per_second in 1_u32..1000, burst in 1_u32..50) {
            let rate = Rate::new(per_second.into(), burst.into());
            let (mut bucket, now) = (TokenBucket::default(), Instant::now());
            taken(&mut bucket, &rate, now);
            let wait = bucket.take(&rate, now).unwrap_err();
            prop_assert!(bucket.clone().take(&rate, now + wait.saturating_sub(Duration::from_nanos(1))).is_err());
            prop_assert!(bucket.take(&rate, now + wait).is_ok());
        }
    }
}
