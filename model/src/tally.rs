//! Counts of several processes put together: they do not fall when one of them restarts, and have rates.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::wire::DURATION_BOUNDS;

/// Numbers that only grow while a process runs.
pub(crate) trait Counts: Clone + Default {
    /// Adds what came since `before`, of the same process.
    fn add(&mut self, now: &Self, before: &Self);
}

/// What a process says of itself.
pub(crate) trait Answer {
    /// What it counts.
    type Counts: Counts;

    /// Another one for each process: counts begin anew with it.
    fn instance(&self) -> &str;

    /// How long it has run.
    fn uptime(&self) -> Duration;

    fn counts(&self) -> Self::Counts;
}

/// What all processes of a resource have counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally<C> {
    totals: C,
    /// When each process answered last, and what it had counted then.
    known: BTreeMap<String, (Timestamp, C)>,
    /// The totals of the last minute, oldest first; at least two looks where there were two.
    looks: VecDeque<(Timestamp, C)>,
    /// Since when processes are known: one that is older may have been counted by somebody else.
    since: Timestamp,
    /// Whether the counts begin with what somebody else counted.
    resumed: bool,
}

/// The first look of the last minute and the last one.
#[derive(Debug)]
pub(crate) struct Span<'a, C> {
    before: &'a C,
    after: &'a C,
    seconds: i64,
}

/// Rates are those of this time.
const WINDOW: i64 = 60;

impl<C: Counts> Tally<C> {
    /// Begins with what somebody else counted, where somebody did.
    pub(crate) fn resume(counted: Option<C>, now: Timestamp) -> Self {
        Self {
            resumed: counted.is_some(),
            totals: counted.unwrap_or_default(),
            known: BTreeMap::new(),
            looks: VecDeque::new(),
            since: now,
        }
    }

    /// Takes what the processes answered; `None` for each that did not.
    pub(crate) fn take<A: Answer<Counts = C>>(&mut self, answers: &[Option<A>], now: Timestamp) {
        for answer in answers.iter().flatten() {
            self.count(answer, now);
        }
        self.forget_what_ended(answers);
        self.looks.push_back((now, self.totals.clone()));
        while self.looks.get(1).is_some_and(|(second, _)| now.as_second() - second.as_second() >= WINDOW) {
            self.looks.pop_front();
        }
    }

    pub(crate) fn totals(&self) -> &C {
        &self.totals
    }

    /// What rates are computed from; one look tells none.
    pub(crate) fn span(&self) -> Option<Span<'_, C>> {
        let ((first, before), (last, after)) = (self.looks.front()?, self.looks.back()?);
        let seconds = last.as_second() - first.as_second();
        (seconds > 0).then_some(Span { before, after, seconds })
    }

    /// Adds what a process has counted since it was asked before.
    fn count(&mut self, answer: &impl Answer<Counts = C>, now: Timestamp) {
        let counts = answer.counts();
        let began = now.as_second() - i64::try_from(answer.uptime().as_secs()).unwrap_or(i64::MAX);
        let (heard, before) = match self.known.remove(answer.instance()) {
            Some((heard, before)) => (heard.as_second(), before),
            // What it counted before we looked is in the counts already, as good as it can be told.
            None if self.resumed && began < self.since.as_second() => (now.as_second(), counts.clone()),
            None => (began, C::default()),
        };
        // It has counted unheard since before the first look: all of that would seem to have come after it.
        if self.looks.front().is_some_and(|(first, _)| heard < first.as_second()) {
            self.looks.clear();
        }
        self.totals.add(&counts, &before);
        self.known.insert(answer.instance().to_owned(), (now, counts));
    }

    /// A process that does not answer may answer again; of those that ended long ago nothing has to be known.
    fn forget_what_ended<A: Answer>(&mut self, answers: &[Option<A>]) {
        const SPARE: usize = 32;
        if self.known.len() > 2 * answers.len() + SPARE {
            self.known.retain(|instance, _| answers.iter().flatten().any(|answer| answer.instance() == instance));
        }
    }
}

impl<C> Span<'_, C> {
    /// How much a count has grown.
    pub(crate) fn grown(&self, count: impl Fn(&C) -> u64) -> u64 {
        count(self.after).saturating_sub(count(self.before))
    }

    /// The same, per second.
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    pub(crate) fn rate(&self, count: impl Fn(&C) -> u64) -> f64 {
        self.grown(count) as f64 / self.seconds as f64
    }

    /// How long it lasted.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.unsigned_abs())
    }

    /// The bound within which 95 of 100 lay, of counts by [`DURATION_BOUNDS`].
    pub(crate) fn p95(&self, durations: impl Fn(&C) -> &[u64]) -> Option<String> {
        let at = |counts: &C, place: usize| durations(counts).get(place).copied().unwrap_or_default();
        let places = 0..durations(self.after).len();
        let new: Vec<u64> = places.map(|place| self.grown(|counts| at(counts, place))).collect();
        let wanted = new.iter().sum::<u64>().checked_mul(95)?.div_ceil(100);
        let mut so_far = 0;
        let place = new.iter().position(|count| {
            so_far += count;
            wanted > 0 && so_far >= wanted
        })?;
        Some(match DURATION_BOUNDS.get(place) {
            Some(millis @ ..1_000) => format!("{millis}ms"),
            Some(millis) => format!("{}s", millis / 1_000),
            None => ">16s".to_owned(),
        })
    }
}

/// Adds what came since `before`.
pub(crate) fn add(total: &mut u64, now: u64, before: u64) {
    *total += now.saturating_sub(before);
}

/// The same place by place.
pub(crate) fn add_each(totals: &mut Vec<u64>, now: &[u64], before: &[u64]) {
    totals.resize(totals.len().max(now.len()), 0);
    for (place, now) in now.iter().enumerate() {
        add(&mut totals[place], *now, before.get(place).copied().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Events {
        seen: u64,
        durations: Vec<u64>,
    }

    impl Counts for Events {
        fn add(&mut self, now: &Self, before: &Self) {
            add(&mut self.seen, now.seen, before.seen);
            add_each(&mut self.durations, &now.durations, &before.durations);
        }
    }

    struct Process {
        instance: &'static str,
        uptime: u64,
        counts: Events,
    }

    impl Answer for Process {
        type Counts = Events;

        fn instance(&self) -> &str {
            self.instance
        }

        fn uptime(&self) -> Duration {
            Duration::from_secs(self.uptime)
        }

        fn counts(&self) -> Events {
            self.counts.clone()
        }
    }

    /// A process that has run so long and seen so many.
    #[allow(clippy::unnecessary_wraps, reason = "an answer, as it comes from a process that answers")]
    fn process(instance: &'static str, uptime: u64, seen: u64) -> Option<Process> {
        let mut durations = vec![0; DURATION_BOUNDS.len() + 1];
        durations[3] = seen;
        Some(Process { instance, uptime, counts: Events { seen, durations } })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn rate(tally: &Tally<Events>) -> Option<f64> {
        tally.span().map(|span| span.rate(|events| events.seen))
    }

    fn p95(tally: &Tally<Events>) -> Option<String> {
        tally.span()?.p95(|events| &events.durations)
    }

    #[test]
    fn counts_go_on_when_processes_restart_and_come_and_go() {
        let mut tally = Tally::resume(None, at(0));
        for (second, answers, total) in [
            (0, vec![process("a", 100, 10)], 10),
            (10, vec![process("a", 110, 15), process("b", 5, 3)], 18),
            // One of them restarts, the other does not answer.
            (20, vec![process("a2", 3, 2), None], 20),
            (30, vec![process("a2", 13, 2), process("b", 25, 4)], 21),
        ] {
            tally.take(&answers, at(second));
            assert_eq!(tally.totals().seen, total, "at {second} s");
        }
    }

    #[test]
    fn a_process_that_was_silent_for_long_makes_no_burst_when_it_answers_again() {
        let mut tally = Tally::resume(None, at(0));
        for second in [0, 30] {
            tally.take(&[process("a", 100, 2 * second), process("b", 100, 2 * second)], at(second.try_into().unwrap()));
        }
        assert_eq!(rate(&tally), Some(4.0));
        for second in [60, 90, 120, 150] {
            tally.take(&[process("a", 200, 2 * second), None], at(second.try_into().unwrap()));
        }
        tally.take(&[process("a", 300, 360), process("b", 300, 360)], at(180));
        assert_eq!((rate(&tally), tally.totals().seen), (None, 720), "nobody knows when it counted that");
        tally.take(&[process("a", 300, 420), process("b", 300, 420)], at(210));
        assert_eq!(rate(&tally), Some(4.0));
    }

    #[test]
    fn what_somebody_else_counted_is_not_counted_again() {
        let mut tally = Tally::resume(Some(Events { seen: 1_200, ..Events::default() }), at(0));
        tally.take(&[process("old", 100, 1_234), process("new", 2, 5)], at(10));
        assert_eq!(tally.totals().seen, 1_205, "only the process that is younger than we are is new");
        tally.take(&[process("old", 110, 1_240), process("new", 12, 5)], at(20));
        assert_eq!(tally.totals().seen, 1_211);
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let mut tally = Tally::resume(None, at(0));
        assert_eq!(rate(&tally), None);
        tally.take(&[process("a", 100, 1_000)], at(0));
        assert_eq!((rate(&tally), p95(&tally)), (None, None), "one look tells no rate");
        for step in 1..=12 {
            tally.take(&[process("a", 100, 1_000 + 20 * step)], at(10 * i64::try_from(step).unwrap()));
        }
        assert_eq!((rate(&tally), p95(&tally)), (Some(2.0), Some("8ms".into())));
        assert!(tally.looks.len() <= 8, "{}", tally.looks.len());
        tally.take(&[process("a", 300, 1_240)], at(320));
        assert_eq!((rate(&tally), p95(&tally)), (Some(0.0), None));
    }

    #[test]
    fn p95_is_the_bound_that_holds_for_95_of_100() {
        let mut tally = Tally::resume(None, at(0));
        tally.take(&[process("a", 1, 0)], at(0));
        for (slow, expected) in [(5, "8ms"), (6, ">16s")] {
            let mut process = process("a", 1, 100 - slow).unwrap();
            *process.counts.durations.last_mut().unwrap() = slow;
            let mut tally = tally.clone();
            tally.take(&[Some(process)], at(10));
            assert_eq!(p95(&tally).as_deref(), Some(expected), "{slow}");
        }
    }
}
