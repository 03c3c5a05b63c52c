//! When records came, as far as the ends of a partition tell that were seen from time to time. It costs no request and no look at a
//! record, whose timestamp its producer may have set to anything.

use std::{collections::VecDeque, time::Duration};

use k8s_openapi::jiff::Timestamp;

/// How long ago something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// That long, as exactly as the ends were seen.
    About(Duration),
    /// Longer: it was before the first look.
    MoreThan(Duration),
}

/// What was known before the first look: how old a record was that waited then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Earlier {
    /// Its offset.
    pub offset: i64,
    /// Its age.
    pub age: Age,
    /// When it had that age.
    pub at: Timestamp,
}

/// Sightings that are kept; when there are more, old ones become sparser.
const CAPACITY: usize = 32;

/// The ends of one partition, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    sightings: VecDeque<Sighting>,
}

/// An end, and the time through which it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sighting {
    end: i64,
    first: Timestamp,
    last: Timestamp,
}

impl History {
    /// The partition's end was seen. A smaller one than before is that of another topic of this name.
    pub fn saw(&mut self, end: i64, now: Timestamp) {
        match self.sightings.back_mut() {
            Some(newest) if newest.end == end => newest.last = now,
            Some(newest) if newest.end > end => {
                self.sightings.clear();
                self.sightings.push_back(Sighting { end, first: now, last: now });
            }
            _ => self.sightings.push_back(Sighting { end, first: now, last: now }),
        }
        if self.sightings.len() > CAPACITY {
            self.thin_out();
        }
    }

    /// The newest end.
    pub fn end(&self) -> Option<i64> {
        self.sightings.back().map(|newest| newest.end)
    }

    /// How long ago the record at `offset` came; `None` where it has not come yet. What was there at the first look already is as old as
    /// `earlier` tells.
    pub fn age(&self, offset: i64, earlier: Option<Earlier>, now: Timestamp) -> Option<Age> {
        let after = self.sightings.iter().position(|sighting| sighting.end > offset)?;
        let upper = self.sightings[after];
        let Some(lower) = after.checked_sub(1).map(|before| self.sightings[before]) else {
            let least = between(upper.first, now);
            return Some(earlier.map_or(Age::MoreThan(least), |earlier| earlier.age_of(offset, upper, now)));
        };
        // Between the last look that did not show it and the first that did, records are taken to have come evenly.
        let came = between(lower.last, upper.first).mul_f64(share(offset, lower.end, upper.end));
        Some(Age::About(between(lower.last, now).saturating_sub(came)))
    }

    /// Leaves out every second one of the older half, and never the first: it tells how far back the history goes.
    fn thin_out(&mut self) {
        let mut index = 0;
        self.sightings.retain(|_| {
            index += 1;
            index > CAPACITY / 2 || index % 2 == 1
        });
    }
}

impl Earlier {
    /// How old a record is by now that the first look showed: those between are taken to have come evenly.
    fn age_of(self, offset: i64, first: Sighting, now: Timestamp) -> Age {
        let least = between(first.first, now);
        let known = (self.age.at_least() + between(self.at, now)).max(least);
        if offset < self.offset {
            return Age::MoreThan(known);
        }
        let age = known.saturating_sub(known.saturating_sub(least).mul_f64(share(offset, self.offset, first.end)));
        match self.age {
            Age::About(_) => Age::About(age),
            Age::MoreThan(_) => Age::MoreThan(age),
        }
    }
}

/// How much of the way from one offset to another lies before this one.
#[allow(clippy::cast_precision_loss, reason = "a share of a time need not be more exact")]
fn share(offset: i64, from: i64, to: i64) -> f64 {
    ((offset - from) as f64 / (to - from) as f64).clamp(0.0, 1.0)
}

impl Age {
    /// The greater of two: that of the oldest of their records, as far as either is known.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        let age = self.at_least().max(other.at_least());
        match (self, other) {
            (Self::About(_), Self::About(_)) => Self::About(age),
            _ => Self::MoreThan(age),
        }
    }

    /// Its length, or the least that it is.
    pub fn at_least(self) -> Duration {
        match self {
            Self::About(age) | Self::MoreThan(age) => age,
        }
    }
}

fn between(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn about(seconds: u64) -> Age {
        Age::About(Duration::from_secs(seconds))
    }

    #[test]
    fn a_record_is_as_old_as_the_look_that_first_showed_it() {
        let mut history = History::default();
        for (second, end) in [(0, 10), (5, 10), (10, 20), (15, 20), (20, 21)] {
            history.saw(end, at(second));
        }
        let age = |offset| history.age(offset, None, at(30));
        assert_eq!(age(9), Some(Age::MoreThan(Duration::from_secs(30))));
        assert_eq!(age(10), Some(about(25)), "it came after second 5");
        assert_eq!(age(19).unwrap().at_least().as_millis(), 20_500, "nearly at second 10");
        assert_eq!(age(20), Some(about(15)));
        assert_eq!(age(21), None, "it has not come yet");
        assert_eq!(history.end(), Some(21));
    }

    #[test]
    fn what_was_there_at_the_first_look_is_as_old_as_was_known_before() {
        let mut history = History::default();
        for (second, end) in [(1_000, 20), (1_010, 30)] {
            history.saw(end, at(second));
        }
        let age = |offset, before| {
            let earlier = Earlier { offset: 10, age: before, at: at(1_000) };
            history.age(offset, Some(earlier), at(1_100))
        };
        let hour = Duration::from_hours(1);
        assert_eq!(age(10, Age::About(hour)), Some(about(3_700)));
        assert_eq!(age(15, Age::About(hour)), Some(about(1_900)), "half of the way to what came after the first look");
        assert_eq!(age(15, Age::MoreThan(hour)), Some(Age::MoreThan(Duration::from_secs(1_900))));
        assert_eq!(age(20, Age::About(hour)), Some(about(100)), "that was seen");
        assert_eq!(age(9, Age::About(hour)), Some(Age::MoreThan(Duration::from_secs(3_700))), "the group was set back");
        assert_eq!(age(10, Age::About(Duration::ZERO)), Some(about(100)), "it cannot be younger than the first look");
    }

    #[test]
    fn of_two_ages_the_greater_counts_and_is_exact_where_both_are() {
        let more_than = |seconds| Age::MoreThan(Duration::from_secs(seconds));
        assert_eq!(about(5).or_more(about(9)), about(9));
        assert_eq!(about(9).or_more(more_than(5)), more_than(9));
        assert_eq!(more_than(9).or_more(about(5)), more_than(9));
    }

    #[test]
    fn a_topic_that_was_made_anew_has_a_history_of_its_own() {
        let mut history = History::default();
        history.saw(100, at(0));
        history.saw(3, at(10));
        assert_eq!(history.age(0, None, at(20)), Some(Age::MoreThan(Duration::from_secs(10))));
    }

    #[test]
    fn a_long_history_takes_little_room_and_still_goes_back_to_its_beginning() {
        let mut history = History::default();
        for second in 0..100_000 {
            history.saw(second, at(second));
        }
        assert!(history.sightings.len() <= CAPACITY);
        assert_eq!(history.age(-1, None, at(100_000)), Some(Age::MoreThan(Duration::from_secs(100_000))));
        for offset in [0, 50_000, 99_000, 99_990] {
            let Some(Age::About(age)) = history.age(offset, None, at(100_000)) else { panic!("{offset}") };
            let expected = u64::try_from(100_000 - offset).unwrap();
            assert!(age.as_secs().abs_diff(expected) <= expected / 10 + 2, "{offset}: {age:?}");
        }
    }
}
