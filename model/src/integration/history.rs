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

    /// How long ago the record at `offset` came; `None` where it has not come yet.
    #[allow(clippy::cast_precision_loss, reason = "a share of a time need not be more exact")]
    pub fn age(&self, offset: i64, now: Timestamp) -> Option<Age> {
        let after = self.sightings.iter().position(|sighting| sighting.end > offset)?;
        let upper = self.sightings[after];
        let Some(lower) = after.checked_sub(1).map(|before| self.sightings[before]) else {
            return Some(Age::MoreThan(between(upper.first, now)));
        };
        // Between the last look that did not show it and the first that did, records are taken to have come evenly.
        let share = (offset - lower.end) as f64 / (upper.end - lower.end) as f64;
        let came = between(lower.last, upper.first).mul_f64(share.clamp(0.0, 1.0));
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

impl Age {
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
        assert_eq!(history.age(9, at(30)), Some(Age::MoreThan(Duration::from_secs(30))));
        assert_eq!(history.age(10, at(30)), Some(about(25)), "it came after second 5");
        assert_eq!(history.age(19, at(30)).unwrap().at_least().as_millis(), 20_500, "nearly at second 10");
        assert_eq!(history.age(20, at(30)), Some(about(15)));
        assert_eq!(history.age(21, at(30)), None, "it has not come yet");
        assert_eq!(history.end(), Some(21));
    }

    #[test]
    fn a_topic_that_was_made_anew_has_a_history_of_its_own() {
        let mut history = History::default();
        history.saw(100, at(0));
        history.saw(3, at(10));
        assert_eq!(history.age(0, at(20)), Some(Age::MoreThan(Duration::from_secs(10))));
    }

    #[test]
    fn a_long_history_takes_little_room_and_still_goes_back_to_its_beginning() {
        let mut history = History::default();
        for second in 0..100_000 {
            history.saw(second, at(second));
        }
        assert!(history.sightings.len() <= CAPACITY);
        assert_eq!(history.age(-1, at(100_000)), Some(Age::MoreThan(Duration::from_secs(100_000))));
        for offset in [0, 50_000, 99_000, 99_990] {
            let Some(Age::About(age)) = history.age(offset, at(100_000)) else { panic!("{offset}") };
            let expected = u64::try_from(100_000 - offset).unwrap();
            assert!(age.as_secs().abs_diff(expected) <= expected / 10 + 2, "{offset}: {age:?}");
        }
    }
}
