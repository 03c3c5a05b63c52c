//! Which consumer groups are asked for their offsets next. Kafka answers for one group at a time (librdkafka has no request for
//! several), so that there is a bound for each look, whatever the number of Integrations.
//!
//! Where the topics of all groups end is known at each look, so that it is known without a question whose numbers are others by now. Those
//! groups have at least half of a look, and all others together a share by which each is asked within some minutes. What both leave is for
//! groups where records wait: somebody may begin to read them. Each time those come first who were asked longest ago, so that nobody waits
//! for ever; and before all of them those who never were.

use std::time::Duration;

use sluice_crds::Measuring;
use tokio::time::Instant;

/// Groups that do not move are asked as well, since somebody may have committed or reset their offsets: all of them within this time.
const ROUND: Duration = Duration::from_mins(5);
/// At least so many of them in each look, so that a few need not wait for long.
const LEAST: usize = 5;

/// What is known of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// When it was asked last.
    pub asked: Option<Instant>,
    /// What is to be expected of its numbers since then.
    pub state: State,
}

/// What is to be expected of a group's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are others by now: records came, or workers get on.
    Moves,
    /// They are the same as far as one can see, though records wait.
    Waits,
    /// They are the same as far as one can see, and nothing waits.
    Rests,
}

/// How many groups are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In one look, at most.
    most: usize,
    /// Looks in which all groups are asked that do not move.
    looks: usize,
}

impl Pace {
    /// As the configuration has it.
    pub fn new(measuring: Measuring) -> Self {
        let looks = ROUND.as_millis() / measuring.interval.get().as_millis().max(1);
        Self { most: measuring.groups.into(), looks: usize::try_from(looks).unwrap_or(usize::MAX).max(1) }
    }

    /// Of a look with places for so many, the share of so many that do not move.
    fn share(self, still: usize, places: usize) -> usize {
        still.div_ceil(self.looks).max(LEAST).min(places / 2).max(1)
    }
}

/// The positions of the groups that are asked in this look.
pub fn turns(groups: &[Group], pace: Pace) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|index| groups[*index].asked);
    let is_new = |index: &usize| groups[*index].asked.is_none();
    let (mut chosen, known): (Vec<usize>, Vec<usize>) = order.into_iter().partition(is_new);
    chosen.truncate(pace.most);
    let places = pace.most - chosen.len();
    chosen.extend(of_known(groups, known, pace, places));
    chosen
}

/// The same of groups that were asked before, those first that were asked longest ago.
fn of_known(groups: &[Group], known: Vec<usize>, pace: Pace, places: usize) -> Vec<usize> {
    let state = |index: &usize| groups[*index].state;
    let (moving, still): (Vec<usize>, Vec<usize>) = known.into_iter().partition(|index| state(index) == State::Moves);
    let share = pace.share(still.len(), places);
    let mut still = still.into_iter();
    let mut chosen: Vec<usize> = still.by_ref().take(share).collect();
    let of_moving = places.saturating_sub(chosen.len()).max(1);
    chosen.extend(moving.into_iter().take(of_moving));
    // A single place is for whoever waits longest.
    chosen.sort_by_key(|index| groups[*index].asked);
    chosen.truncate(places);
    let left = places - chosen.len();
    chosen.extend(still.filter(|index| state(index) == State::Waits).take(left));
    chosen
}

#[cfg(test)]
mod tests {
    use super::{
        State::{Moves, Rests, Waits},
        *,
    };

    /// By default a look is every 5 s, so that there are 60 in a round.
    const PACE: Pace = Pace { most: 200, looks: 60 };

    fn group(asked: Option<u64>, state: State) -> Group {
        // Any moment will do, as long as it is the same in one test.
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Group { asked: asked.map(|second| *BEGIN + Duration::from_secs(second)), state }
    }

    /// Makes a look, and says whom it asked.
    fn look(groups: &mut [Group], pace: Pace, second: u64) -> Vec<usize> {
        let chosen = turns(groups, pace);
        for index in &chosen {
            groups[*index].asked = group(Some(second), Moves).asked;
        }
        chosen
    }

    /// Makes looks, one a second, and gives how many groups each asked.
    fn looks(groups: &mut [Group], seconds: std::ops::RangeInclusive<u64>) -> Vec<usize> {
        seconds.map(|second| look(groups, PACE, second).len()).collect()
    }

    /// Groups that were asked in no order, some long ago.
    fn mixed([moving, waiting, resting]: [usize; 3]) -> Vec<Group> {
        let mut random = fastrand::Rng::with_seed(7);
        let states = [(Moves, moving), (Waits, waiting), (Rests, resting)];
        let states = states.into_iter().flat_map(|(state, count)| std::iter::repeat_n(state, count));
        states.map(|state| group(Some(random.u64(0..60)), state)).collect()
    }

    /// The bounds that docs/integrations.md states: looks until a group that moves is asked, and until one that does not.
    fn bounds([moving, waiting, resting]: [usize; 3], pace: Pace) -> [usize; 2] {
        let (still, half) = (waiting + resting, pace.most / 2);
        let share = still.div_ceil(pace.looks).clamp(5, half);
        [moving.div_ceil(pace.most - share), pace.looks.max(still.div_ceil(half))]
    }

    /// The most looks between two at which a group of each state was asked. No group goes over to another state.
    fn longest_pauses(mix: [usize; 3], pace: Pace, looks: usize) -> [usize; 3] {
        let mut groups = mixed(mix);
        let (mut asked_at, mut longest) = (vec![0; groups.len()], [0; 3]);
        for number in 1..=looks {
            let chosen = look(&mut groups, pace, 60 + number as u64);
            assert!(chosen.len() <= pace.most, "{} are asked", chosen.len());
            for index in chosen {
                asked_at[index] = number;
            }
            for (group, asked_at) in groups.iter().zip(&asked_at) {
                let longest = &mut longest[group.state as usize];
                // Where it was not asked in this look it is not before the next one.
                *longest = (*longest).max(number - asked_at + 1);
            }
        }
        longest
    }

    #[test]
    fn by_default_all_at_rest_are_asked_within_five_minutes() {
        assert_eq!(Pace::new(Measuring::default()), PACE);
    }

    #[test]
    fn who_was_never_asked_comes_first_then_who_was_asked_longest_ago() {
        let groups = [group(Some(1), Rests), group(Some(9), Moves), group(None, Rests), group(Some(3), Moves)];
        assert_eq!(turns(&groups, PACE), [2, 0, 3, 1]);
        assert_eq!(turns(&groups, Pace { most: 2, ..PACE }), [2, 0]);
    }

    #[test]
    fn of_those_at_rest_a_share_is_asked_in_turn() {
        let groups: Vec<Group> = (0..100).map(|second| group(Some(100 - second), Rests)).collect();
        assert_eq!(turns(&groups, PACE), [99, 98, 97, 96, 95]);
        let mut groups = vec![group(Some(0), Rests); 5_000];
        assert_eq!(looks(&mut groups, 1..=60).into_iter().max(), Some(84));
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), Rests).asked));
    }

    #[test]
    fn where_there_is_place_who_waits_is_asked_at_every_look() {
        let mut groups = mixed([20, 100, 200]);
        for second in 61..80 {
            let chosen = look(&mut groups, PACE, second);
            assert!((0..120).all(|index| chosen.contains(&index)), "in look {second}");
        }
    }

    #[test]
    fn everybody_who_moves_has_a_turn_and_so_have_those_at_rest_beside_them() {
        let mut groups = vec![group(Some(0), Moves); 1_000];
        looks(&mut groups, 1..=5);
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), Moves).asked));

        groups.extend(vec![group(Some(0), Rests); 1_000]);
        let asked = looks(&mut groups, 6..=65);
        assert!(asked.iter().all(|asked| *asked == 200), "{asked:?}");
        assert!(groups.iter().all(|group| group.asked > self::group(Some(0), Rests).asked));
        let longest_ago = groups[..1_000].iter().map(|group| group.asked).min();
        assert!(longest_ago > Some(group(Some(55), Moves).asked), "those that move wait no longer for it");
    }

    #[test]
    fn beside_4_900_others_100_that_move_are_asked_at_every_look() {
        for (waiting, resting) in [(4_900, 0), (0, 4_900), (2_450, 2_450)] {
            let [moving, waits, rests] = longest_pauses([100, waiting, resting], PACE, 130);
            assert_eq!(moving, 1, "{waiting} wait");
            assert!(waits <= 60 && rests <= 60, "{waiting} wait: {waits} and {rests} looks");
        }
    }

    #[test]
    fn nobody_waits_for_longer_than_the_bound_of_his_state() {
        let counts = [0, 1, 7, 40, 600];
        let mixes = counts.map(|moving| counts.map(|still| [moving, still / 2, still - still / 2]));
        for most in [10, 13, 40] {
            let pace = Pace { most, looks: 20 };
            for mix in mixes.into_iter().flatten() {
                let [moves, others] = bounds(mix, pace);
                let [moving, waiting, resting] = longest_pauses(mix, pace, moves.max(others) + 20);
                assert!(moving <= moves, "{mix:?}, {most} in a look: {moving} looks, at most {moves}");
                let longest = waiting.max(resting);
                assert!(longest <= others, "{mix:?}, {most} in a look: {longest} looks, at most {others}");
            }
        }
    }

    #[test]
    fn who_begins_to_move_is_asked_before_those_who_moved_already_have_had_two_turns() {
        for state in [Waits, Rests] {
            let mut groups = mixed([1_000, 2_000, 2_000]);
            looks(&mut groups, 61..=180);
            // Of its state the one that was asked last.
            let of_state = (0..groups.len()).filter(|index| groups[*index].state == state);
            let beginner = of_state.max_by_key(|index| groups[*index].asked).unwrap();
            groups[beginner].state = Moves;
            let [bound, _] = bounds([1_001, 2_000, 2_000], PACE);
            assert_eq!(bound, 8);
            assert!((181..).take(bound).any(|second| look(&mut groups, PACE, second).contains(&beginner)), "{state:?}");
        }
    }

    #[test]
    fn nobody_starves_however_often_groups_begin_to_move_and_come_to_rest() {
        let (mut random, pace) = (fastrand::Rng::with_seed(11), Pace { most: 20, looks: 60 });
        let mut groups = mixed([100, 100, 100]);
        // Looks since each was asked, and since it moves and was not asked.
        let mut waited = vec![[0, 0]; groups.len()];
        for second in 61..2_000 {
            for group in &mut groups {
                if random.u8(0..10) == 0 {
                    group.state = [Moves, Moves, Waits, Rests][random.usize(0..4)];
                }
            }
            let chosen = look(&mut groups, pace, second);
            for (index, [since, moving]) in waited.iter_mut().enumerate() {
                let is_asked = chosen.contains(&index);
                *since = if is_asked { 0 } else { *since + 1 };
                *moving = if is_asked || groups[index].state != Moves { 0 } else { *moving + 1 };
                // In each look at least 10 of those that move have their turn, or 5 of the others, who then come after all.
                assert!(*moving < 300 / 10, "it moves for {moving} looks");
                assert!(*since < 300 / 5, "it was not asked for {since} looks");
            }
        }
    }

    #[test]
    fn a_single_place_is_for_whoever_waits_longest() {
        let mut groups = mixed([3, 2, 2]);
        let pace = Pace { most: 1, looks: 60 };
        let mut asked: Vec<usize> = (61..68).flat_map(|second| look(&mut groups, pace, second)).collect();
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 2, 3, 4, 5, 6]);
    }
}
