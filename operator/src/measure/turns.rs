//! Which consumer groups are asked for their offsets next. Kafka answers for one group at a time (librdkafka has no request for
//! several), so that there is a bound for each look, whatever the number of Integrations.

use std::{cmp::Reverse, time::Duration};

use sluice_crds::Measuring;
use tokio::time::Instant;

/// Groups at rest are asked as well, since somebody may have reset their offsets: all of them within this time.
const ROUND: Duration = Duration::from_mins(5);
/// At least so many of them in each look, so that a few need not wait for long.
const AT_REST: usize = 5;

/// What is known of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// When it was asked last.
    pub asked: Option<Instant>,
    /// Whether records waited then, or have come since.
    pub moves: bool,
}

/// How many groups are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In one look, at most.
    most: usize,
    /// Looks in which all groups at rest are asked.
    looks: usize,
}

impl Pace {
    /// As the configuration has it.
    pub fn new(measuring: Measuring) -> Self {
        let looks = ROUND.as_millis() / measuring.interval.get().as_millis().max(1);
        Self { most: measuring.groups.into(), looks: usize::try_from(looks).unwrap_or(usize::MAX).max(1) }
    }
}

/// The positions of the groups that are asked in this look: those that never were, those that move, and a share of the others. Who was
/// asked longest ago comes first, so that nobody waits for ever where there are too many.
pub fn turns(groups: &[Group], pace: Pace) -> Vec<usize> {
    let rests = |index: &usize| groups[*index].asked.is_some() && !groups[*index].moves;
    let (mut at_rest, mut order): (Vec<usize>, Vec<usize>) = (0..groups.len()).partition(rests);
    at_rest.sort_by_key(|index| groups[*index].asked);
    let share = at_rest.len().div_ceil(pace.looks).max(AT_REST);
    order.extend(at_rest.into_iter().take(share));
    order.sort_by_key(|index| (groups[*index].asked, Reverse(groups[*index].moves)));
    order.truncate(pace.most);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By default a look is every 5 s, so that there are 60 in a round.
    const PACE: Pace = Pace { most: 200, looks: 60 };

    fn group(asked: Option<u64>, moves: bool) -> Group {
        // Any moment will do, as long as it is the same in one test.
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Group { asked: asked.map(|second| *BEGIN + Duration::from_secs(second)), moves }
    }

    /// Makes looks, one a second, and gives how many groups each asked.
    fn look(groups: &mut [Group], looks: std::ops::RangeInclusive<u64>) -> Vec<usize> {
        let ask = |look| {
            let chosen = turns(groups, PACE);
            for index in &chosen {
                groups[*index].asked = group(Some(look), true).asked;
            }
            chosen.len()
        };
        looks.map(ask).collect()
    }

    #[test]
    fn by_default_all_at_rest_are_asked_within_five_minutes() {
        assert_eq!(Pace::new(Measuring::default()), PACE);
    }

    #[test]
    fn who_was_never_asked_comes_first_then_who_was_asked_longest_ago() {
        let groups = [group(Some(1), false), group(Some(9), true), group(None, false), group(Some(3), true)];
        assert_eq!(turns(&groups, PACE), [2, 0, 3, 1]);
        assert_eq!(turns(&groups, Pace { most: 2, ..PACE }), [2, 0]);
    }

    #[test]
    fn of_those_at_rest_a_share_is_asked_in_turn() {
        let groups: Vec<Group> = (0..100).map(|second| group(Some(100 - second), false)).collect();
        assert_eq!(turns(&groups, PACE), [99, 98, 97, 96, 95]);
        let mut groups = vec![group(Some(0), false); 5_000];
        assert_eq!(look(&mut groups, 1..=60).into_iter().max(), Some(84));
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), false).asked));
    }

    #[test]
    fn everybody_who_moves_has_a_turn_and_so_have_those_at_rest_beside_them() {
        let mut groups = vec![group(Some(0), true); 1_000];
        look(&mut groups, 1..=5);
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), true).asked));

        groups.extend(vec![group(Some(0), false); 1_000]);
        let asked = look(&mut groups, 6..=65);
        assert!(asked.iter().all(|asked| *asked == 200), "{asked:?}");
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), false).asked));
        let longest_ago = groups[..1_000].iter().map(|group| group.asked).min();
        assert!(longest_ago > Some(group(Some(55), true).asked), "those that move wait no longer for it");
    }
}
