//! How many workers an Integration needs for its lag. More come at once; fewer only after a while in which fewer were enough, so
//! that a short pause of the traffic does not move partitions about.

use std::{collections::VecDeque, time::Duration};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::Scaling;

/// Looks of one cooldown that are kept; what comes more often is joined with the last one.
const KEPT: u32 = 60;

/// What was needed lately, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(VecDeque<(Timestamp, i32)>);

/// The fewest and the most workers where the source has so many partitions: whatever the spec says, more would have nothing to do.
pub fn bounds(scaling: &Scaling, partitions: usize) -> (i32, i32) {
    let useful = partitions.try_into().unwrap_or(i32::MAX).max(1);
    (scaling.min_replicas.min(useful), scaling.max_replicas.min(useful))
}

/// Workers for a lag: one for each `targetLag` records, and at least one while anything waits. `None`: the group has not committed an
/// offset yet, and it takes a worker to do so.
pub fn needed(scaling: &Scaling, lag: Option<u64>, partitions: usize) -> i32 {
    let (least, most) = bounds(scaling, partitions);
    let for_lag = match lag {
        None => 1,
        Some(lag) => lag.div_ceil(scaling.target_lag.max(1)).try_into().unwrap_or(i32::MAX),
    };
    for_lag.clamp(least, most)
}

impl Needs {
    /// Workers to run at `now`, where `current` run and `needed` are.
    pub fn decide(&mut self, cooldown: Duration, current: i32, needed: i32, now: Timestamp) -> i32 {
        let grain = cooldown / KEPT;
        let seen = self.0.len();
        match self.0.back_mut() {
            Some((at, last)) if since(*at, now) < grain && seen > 1 => *last = needed.max(*last),
            _ => self.0.push_back((now, needed)),
        }
        // One that is older than the cooldown stays, as it shows that all of it was seen.
        while self.0.get(1).is_some_and(|(at, _)| since(*at, now) >= cooldown) {
            self.0.pop_front();
        }
        if needed >= current {
            return needed;
        }
        let is_covered = self.0.front().is_some_and(|(at, _)| since(*at, now) >= cooldown);
        if !is_covered {
            return current;
        }
        self.0.iter().map(|(_, needed)| *needed).max().unwrap_or(current).min(current)
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const COOLDOWN: Duration = Duration::from_mins(5);

    fn scaling(min_replicas: i32, max_replicas: i32) -> Scaling {
        Scaling { min_replicas, max_replicas, target_lag: 100, cooldown: sluice_crds::Duration::from_secs(300) }
    }

    #[test]
    fn one_worker_comes_for_each_part_of_the_lag_within_the_bounds() {
        for (lag, expected) in
            [(Some(0), 0), (Some(1), 1), (Some(100), 1), (Some(101), 2), (Some(10_000), 6), (None, 1)]
        {
            assert_eq!(needed(&scaling(0, 10), lag, 6), expected, "{lag:?}");
        }
        assert_eq!(needed(&scaling(2, 10), Some(0), 6), 2);
        assert_eq!(needed(&scaling(2, 3), Some(10_000), 6), 3);
        assert_eq!(needed(&scaling(5, 9), Some(0), 3), 3, "two of five would have nothing to do");
    }

    #[test]
    fn more_come_at_once_and_fewer_after_the_whole_window() {
        let mut needs = Needs::default();
        assert_eq!(needs.decide(COOLDOWN, 1, 5, at(0)), 5);
        for second in (10..300).step_by(10) {
            assert_eq!(needs.decide(COOLDOWN, 5, 0, at(second)), 5, "{second}");
        }
        assert_eq!(needs.decide(COOLDOWN, 5, 0, at(300)), 5, "five were needed 300 s ago");
        assert_eq!(needs.decide(COOLDOWN, 5, 0, at(310)), 0);
        assert_eq!(needs.decide(COOLDOWN, 0, 1, at(311)), 1, "and back at once");
    }

    #[test]
    fn a_short_need_keeps_what_runs_and_a_smaller_one_shrinks_to_it() {
        let mut needs = Needs::default();
        let mut current = 8;
        for second in 0..=510 {
            current = needs.decide(COOLDOWN, current, if second == 200 { 3 } else { 1 }, at(second));
            if second == 480 {
                assert_eq!(current, 3, "within the window three were needed once");
            }
        }
        assert_eq!(current, 1);
    }

    #[test]
    fn after_a_restart_nothing_shrinks_before_the_window_has_been_seen() {
        let mut needs = Needs::default();
        assert_eq!(needs.decide(COOLDOWN, 4, 0, at(1_000)), 4);
        assert_eq!(needs.decide(COOLDOWN, 4, 0, at(1_299)), 4);
        assert_eq!(needs.decide(COOLDOWN, 4, 0, at(1_300)), 0);
    }

    proptest! {
        #[test]
        fn the_number_of_workers_keeps_its_bounds_whatever_comes(
            lags in vec((1_i64..200, prop::option::of(0_u64..5_000)), 1..100),
            bounds in (0_i32..4, 1_i32..20, 1_usize..12),
        ) {
            let (min, more, partitions) = bounds;
            let scaling = scaling(min, min + more);
            let (least, most) = super::bounds(&scaling, partitions);
            prop_assert!(least <= min && most <= min + more && most <= i32::try_from(partitions).unwrap());
            let (mut needs, mut current, mut now) = (Needs::default(), least.max(1), 0);
            for (seconds, lag) in lags {
                now += seconds;
                let need = needed(&scaling, lag, partitions);
                let next = needs.decide(COOLDOWN, current, need, at(now));
                prop_assert!(next >= need, "never fewer than are needed");
                prop_assert!((least..=most).contains(&next));
                prop_assert!(next <= current.max(need), "never more than run or are needed");
                current = next;
            }
            prop_assert!(needs.0.len() <= 64);
        }

        #[test]
        fn a_need_that_stays_is_met_exactly_in_the_end(before in vec(0_i32..9, 0..50), need in 0_i32..9) {
            let (mut needs, mut current) = (Needs::default(), 4);
            for (look, before) in before.iter().enumerate() {
                current = needs.decide(COOLDOWN, current, *before, at(i64::try_from(look).unwrap() * 7));
            }
            for look in 0..100 {
                current = needs.decide(COOLDOWN, current, need, at(1_000 + look * 7));
            }
            prop_assert_eq!(current, need);
        }
    }
}
