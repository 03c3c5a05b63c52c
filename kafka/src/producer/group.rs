//! Group commit: a record that comes while others are on their way waits, and all that wait go together once those are reported. Pure.
//!
//! librdkafka's idempotent producer has no second request under way to a partition that got five records or more, and as long as others have
//! waited for that longer than the linger its thread asks for the answer without a pause, which costs more than all else. What waits here
//! costs nothing, and shares the next request.

use std::time::{Duration, Instant};

/// The records that wait, and how many are on their way.
#[derive(Debug)]
pub(super) struct Group<T> {
    under_way: usize,
    waiting: Vec<T>,
    /// Until when the first of those that wait does.
    due: Option<Instant>,
}

/// The longest time that a record waits for those on their way: they may be for a partition that is away.
pub(super) const LONGEST: Duration = Duration::from_millis(5);

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self { under_way: 0, waiting: Vec::new(), due: None }
    }
}

impl<T> Group<T> {
    /// Gives a record back that goes at once, as nothing is on its way.
    pub(super) fn enter(&mut self, record: T, now: Instant) -> Option<T> {
        if self.under_way == 0 && self.waiting.is_empty() {
            self.under_way = 1;
            return Some(record);
        }
        self.waiting.push(record);
        self.due.get_or_insert(now + LONGEST);
        None
    }

    /// One of those on their way is reported; gives those that go now.
    pub(super) fn reported(&mut self) -> Vec<T> {
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 { self.go() } else { Vec::new() }
    }

    /// Gives those that go now, where the first has waited long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<T> {
        if self.due.is_some_and(|due| due <= now) { self.go() } else { Vec::new() }
    }

    /// All that wait go now.
    pub(super) fn go(&mut self) -> Vec<T> {
        self.due = None;
        self.under_way += self.waiting.len();
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter,
        Report,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![Just(Step::Enter), Just(Step::Report), (0..8_u64).prop_map(Step::Pass)];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn each_goes_once_and_in_order_and_waits_for_those_on_their_way_and_no_longer_than_it_may(steps in steps()) {
            let (mut group, mut now, mut entered, mut gone, mut reported) = (Group::default(), Instant::now(), vec![], 0, 0);
            for step in steps {
                let under_way = gone - reported;
                let go = match step {
                    Step::Enter => {
                        let number = entered.len();
                        entered.push(now);
                        let go: Vec<_> = group.enter(number, now).into_iter().collect();
                        prop_assert_eq!(go.len(), usize::from(under_way == 0));
                        go
                    }
                    Step::Report if under_way > 0 => {
                        reported += 1;
                        group.reported()
                    }
                    Step::Report => vec![],
                    Step::Pass(millis) => {
                        now += Duration::from_millis(millis);
                        group.overdue(now)
                    }
                };
                prop_assert_eq!(&go, &(gone..gone + go.len()).collect::<Vec<_>>());
                gone += go.len();
                prop_assert!(gone == entered.len() || gone > reported, "some wait for nothing");
                let is_late = matches!(step, Step::Pass(_)) && entered.get(gone).is_some_and(|at| *at + LONGEST <= now);
                prop_assert!(!is_late, "one waits too long");
            }
            gone += group.go().len();
            prop_assert_eq!(gone, entered.len());
        }
    }
}
