//! What was delivered, what of it again, and whether it had to be. Nothing here depends on how fast a machine is: what may come again was not
//! committed when its worker or the broker was killed, or it was on its way when its partition changed hands.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Instant,
};

use crate::{
    disturbing::{Death, History},
    into_kafka::number,
    kafka::Place,
};

/// Deliveries, by the number that is in each record. It remembers little, so that a million fit.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: usize,
    /// The last delivery of each number, or the first of several by one worker.
    pub(crate) taken: HashMap<i64, Taken>,
    /// Numbers that came again from another worker.
    pub(crate) again: Vec<Again>,
    /// Numbers that were taken for the first time after a higher one of their key.
    pub(crate) disorder: Vec<i64>,
    /// The highest number that each key has had taken.
    last: HashMap<i64, i64>,
    /// The same of each worker.
    last_of: HashMap<(usize, i64), i64>,
}

/// When a number was taken, and from whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) worker: usize,
    pub(crate) at: Instant,
}

/// A number that another worker had delivered before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    number: i64,
    before: Taken,
    now: Taken,
    /// Whether that worker had delivered none of its key after it: one that is delivered alone holds up those behind it until its worker
    /// knows of it.
    pub(crate) was_last: bool,
}

/// The partition and the offset at which each number was read.
pub(crate) type Source = HashMap<i64, (i32, i64)>;

/// What came again, beside what was done to workers and broker.
#[derive(Debug)]
pub(crate) struct Repeats<'a> {
    /// The most that came again of one worker that was killed.
    pub(crate) most: usize,
    /// What neither a death nor an outage explains.
    pub(crate) unexplained: Vec<&'a Again>,
}

impl Seen {
    /// A number is delivered.
    pub(crate) fn take(&mut self, number: i64, now: Taken) {
        let key = number % 10;
        match self.taken.entry(number) {
            Entry::Vacant(free) => {
                free.insert(now);
                if self.last.insert(key, number).is_some_and(|last| last > number) {
                    self.disorder.push(number);
                }
            }
            Entry::Occupied(before) if before.get().worker == now.worker => return,
            Entry::Occupied(mut taken) => {
                let before = taken.insert(now);
                let was_last = self.last_of.get(&(before.worker, key)) == Some(&number);
                self.again.push(Again { number, before, now, was_last });
            }
        }
        let last = self.last_of.entry((now.worker, key)).or_insert(number);
        *last = number.max(*last);
    }
}

impl<'a> Repeats<'a> {
    pub(crate) fn of(seen: &'a Seen, history: &History, source: &Source) -> Self {
        let is_explained = |again: &Again| history.explains(source[&again.number], again.before, again.now);
        let cost = |death: &Death| seen.again.iter().filter(|again| again.before.worker == death.worker).count();
        Self {
            most: history.deaths().iter().map(cost).max().unwrap_or_default(),
            unexplained: seen.again.iter().filter(|again| !is_explained(again)).collect(),
        }
    }
}

/// Where everything is that was read.
pub(crate) async fn source_of(place: &Place) -> Source {
    let mut source = Source::new();
    for (partition, end) in place.ends().await {
        let held = place.read_partition(&place.topic, partition, usize::try_from(end).unwrap()).await;
        source.extend(held.iter().map(number).zip((0..).map(|offset| (partition, offset))));
    }
    source
}

#[test]
fn what_others_of_its_key_followed_was_not_on_its_way() {
    let mut seen = Seen::default();
    for worker in 0..2 {
        for number in [1, 11, 2] {
            seen.take(number, Taken { worker, at: Instant::now() });
        }
    }
    let again: Vec<_> = seen.again.iter().map(|again| (again.number, again.was_last)).collect();
    assert_eq!(again, [(1, false), (11, true), (2, true)]);
}
