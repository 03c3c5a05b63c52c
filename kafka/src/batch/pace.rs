//! How many records are under way together of which each is confirmed before the next one is sent. Pure.
//!
//! librdkafka gives up each record a while after it was put into the queue, whether its turn has come or not. So there are only as many in
//! the queue at a time as get their answers soon, as those before them took.

use std::time::Duration;

/// How many are sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(usize);

/// How long those that are sent together may take, about: a fraction of librdkafka's patience, as the next ones may take several times as
/// long.
const SOON: Duration = Duration::from_secs(1);

impl Pace {
    /// Nobody knows yet how long one takes.
    pub(super) const SLOWEST: Self = Self(1);

    /// Those that are sent next, and those that have to wait.
    pub(super) fn split(self, places: &[usize]) -> (&[usize], &[usize]) {
        places.split_at(self.0.min(places.len()))
    }

    /// The pace after those at this one took so long.
    pub(super) fn after(self, took: Duration) -> Self {
        if took <= SOON / 2 {
            Self(self.0.saturating_mul(2))
        } else if took <= SOON {
            self
        } else {
            Self((self.0 / 2).max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_that_is_under_way_gets_its_answers_soon_whatever_one_takes(
            micros in 1..=2_000_000_u64, number in 0..2_000_usize,
        ) {
            let one = Duration::from_micros(micros);
            let places: Vec<_> = (0..number).collect();
            let (mut pace, mut left, mut sent) = (Pace::SLOWEST, places.as_slice(), Vec::new());
            while !left.is_empty() {
                let (next, later) = pace.split(left);
                let took = one * u32::try_from(next.len()).unwrap();
                prop_assert!(took <= SOON.max(one), "{} take {took:?}", next.len());
                sent.extend_from_slice(next);
                (pace, left) = (pace.after(took), later);
            }
            prop_assert_eq!(sent, places);
        }
    }

    #[test]
    fn fewer_are_under_way_where_they_begin_to_take_longer() {
        let mut pace = Pace(1_000);
        for (millis, expected) in [(400, 2_000), (800, 2_000), (4_000, 1_000), (2_000, 500), (1_000, 500), (0, 1_000)] {
            pace = pace.after(Duration::from_millis(millis));
            assert_eq!(pace, Pace(expected), "{millis} ms");
        }
        assert_eq!(Pace::SLOWEST.after(Duration::from_secs(9)), Pace::SLOWEST);
    }
}
