//! Which consumer groups are asked for their offsets next. Kafka answers for one group at a time (librdkafka has no request for
//! several), so that there is a bound for each look, whatever the number of Integrations.

use std::cmp::Reverse;

use tokio::time::Instant;

/// Groups of each look that are asked although nothing seems to have happened: somebody may have reset their offsets.
const AT_REST: usize = 5;

/// What is known of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// When it was asked last.
    pub asked: Option<Instant>,
    /// Whether records waited then, or have come since.
    pub moves: bool,
}

/// The positions of the groups that are asked in this look, at most `most` of them: first those that never were, then those that move,
/// the one that was asked longest ago first, then some of the others.
pub fn turns(groups: &[Group], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|index| {
        let Group { asked, moves } = groups[*index];
        (asked.is_some(), Reverse(moves), asked)
    });
    let mut at_rest = 0;
    order.retain(|index| {
        let rests = groups[*index].asked.is_some() && !groups[*index].moves;
        at_rest += usize::from(rests);
        !rests || at_rest <= AT_REST
    });
    order.truncate(most);
    order
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn group(asked: Option<u64>, moves: bool) -> Group {
        // Any moment will do, as long as it is the same in one test.
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Group { asked: asked.map(|second| *BEGIN + Duration::from_secs(second)), moves }
    }

    #[test]
    fn who_was_never_asked_comes_first_then_who_moves_then_who_rests() {
        let groups = [group(Some(1), false), group(Some(9), true), group(None, false), group(Some(3), true)];
        assert_eq!(turns(&groups, 10), [2, 3, 1, 0]);
        assert_eq!(turns(&groups, 2), [2, 3]);
    }

    #[test]
    fn of_those_at_rest_only_some_are_asked_in_turn() {
        let groups: Vec<Group> = (0..100).map(|second| group(Some(100 - second), false)).collect();
        assert_eq!(turns(&groups, 50), [99, 98, 97, 96, 95]);
    }

    #[test]
    fn everybody_who_moves_has_a_turn() {
        let mut groups = vec![group(Some(0), true); 1000];
        for look in 1..=5 {
            for index in turns(&groups, 200) {
                groups[index] = group(Some(look), true);
            }
        }
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), true).asked));
    }
}
