//! How far an Integration is behind, and how many dead letters there are: computed from what the broker says, so that it is
//! right while no worker runs.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_crds::{ConditionType, IntegrationStatus, Reason};

use super::{history::Age, work::BY_WORKERS};
use crate::{Conditions, number};

/// What the broker says about one partition of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// Topic and partition, for people: `shop.orders-2`.
    pub name: String,
    /// The oldest record that is kept.
    pub low: i64,
    /// One past the newest record that can be read: the last stable offset.
    pub end: i64,
    /// The next record that the group will read, where it has committed one.
    pub committed: Option<i64>,
    /// How old the oldest record is that waits; `None` where none does, or nobody knows.
    pub oldest: Option<Age>,
}

/// A number that Kafka tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Told<T> {
    /// It was not asked yet: a status keeps what it says.
    #[default]
    NotYet,
    /// The newest answer.
    Known(T),
    /// It was asked in vain for so long that what it told before would be taken for true.
    Lost(Why),
}

/// Why a number is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In one word.
    pub reason: Reason,
    /// For people: what is in the way, of what, and what helps.
    pub message: String,
}

/// What waits in an Integration's source.
#[derive(Clone, Debug, PartialEq)]
pub struct Backlog {
    /// Records that wait; `None` before the group has committed an offset.
    pub lag: Option<u64>,
    /// The partition where most of them wait, and how many; `None` where none does.
    pub worst: Option<(String, u64)>,
    /// How long the oldest of them has waited.
    pub oldest: Option<Age>,
    /// When the group will have caught up.
    pub drain: Option<Drain>,
    /// How many records a second the lag grows, or by a negative number shrinks, lately.
    growth: Option<f64>,
    at: Timestamp,
}

impl<T> Told<T> {
    /// The number, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(number) => Some(number),
            Self::NotYet | Self::Lost(_) => None,
        }
    }

    /// Why it is not known any more.
    pub fn lost(&self) -> Option<&Why> {
        match self {
            Self::Lost(why) => Some(why),
            Self::NotYet | Self::Known(_) => None,
        }
    }
}

/// When a group will have caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// If it goes on as it does.
    In(Duration),
    /// It falls further behind, or stands still.
    Never,
}

/// Slower than one record in a minute is standing still.
const STILL: f64 = 1.0 / 60.0;

impl PartitionOffsets {
    /// What the broker says.
    pub fn new(name: String, (low, end): (i64, i64), committed: Option<i64>) -> Self {
        Self { name, low, end, committed, oldest: None }
    }

    /// The same with the age of the oldest record that waits: that of the partition of this name at this offset.
    #[must_use]
    pub fn aged(mut self, age: impl FnOnce(&str, i64) -> Option<Age>) -> Self {
        if self.waiting() > 0 {
            self.oldest = age(&self.name, self.position());
        }
        self
    }

    /// The next record that the group can read: those that were deleted before it read them do not wait any more.
    pub fn position(&self) -> i64 {
        self.committed.unwrap_or(self.low).max(self.low)
    }

    fn waiting(&self) -> u64 {
        u64::try_from(self.end - self.position()).unwrap_or_default()
    }
}

impl Backlog {
    /// Sums up the partitions of the source. `before` is what was computed last.
    pub fn of(source: &[PartitionOffsets], before: Option<&Self>, now: Timestamp) -> Self {
        let has_committed = source.iter().any(|partition| partition.committed.is_some());
        let lag = has_committed.then(|| source.iter().map(PartitionOffsets::waiting).sum());
        let worst = source.iter().max_by_key(|partition| partition.waiting()).filter(|worst| worst.waiting() > 0);
        let growth = growth(before, lag, now);
        Self {
            lag,
            worst: worst.filter(|_| has_committed).map(|worst| (worst.name.clone(), worst.waiting())),
            oldest: source.iter().filter_map(|partition| partition.oldest).reduce(Age::or_more),
            drain: lag.filter(|lag| *lag > 0).and_then(|lag| drain(lag, growth?)),
            growth,
            at: now,
        }
    }

    /// When it was computed.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Half of it is what was seen lately, so that one slow moment does not make another forecast.
#[allow(clippy::cast_precision_loss, reason = "a forecast need not be more exact")]
fn growth(before: Option<&Backlog>, lag: Option<u64>, now: Timestamp) -> Option<f64> {
    let before = before?;
    let seconds = now.duration_since(before.at).as_secs_f64();
    if seconds <= 0.0 {
        return before.growth;
    }
    let newest = (lag? as f64 - before.lag? as f64) / seconds;
    Some(before.growth.map_or(newest, |growth| f64::midpoint(growth, newest)))
}

#[allow(clippy::cast_precision_loss, reason = "a forecast need not be more exact")]
fn drain(lag: u64, growth: f64) -> Option<Drain> {
    if growth > -STILL {
        return Some(Drain::Never);
    }
    Duration::try_from_secs_f64(lag as f64 / -growth).ok().map(Drain::In)
}

/// What a status says in the place of a number that is not known any more.
const UNKNOWN: &str = "unknown";

/// The status with these numbers.
pub fn with_numbers(
    previous: &IntegrationStatus,
    backlog: &Told<Backlog>,
    dead_letters: &Told<u64>,
    now: Timestamp,
) -> IntegrationStatus {
    let mut status =
        IntegrationStatus { conditions: conditions(previous, backlog, dead_letters, now), ..previous.clone() };
    match backlog {
        Told::NotYet => {}
        Told::Known(backlog) => {
            status.lag = Some(backlog.lag.map_or_else(|| "-".to_owned(), number::coarse));
            status.worst_partition =
                backlog.worst.as_ref().map(|(name, lag)| format!("{name}: {}", number::coarse(*lag)));
            status.oldest_waiting = backlog.oldest.map(shown_age);
            status.drained_in = backlog.drain.map(|drain| match drain {
                Drain::In(time) => number::time(time),
                Drain::Never => "never".to_owned(),
            });
        }
        Told::Lost(_) => {
            status.lag = Some(UNKNOWN.to_owned());
            (status.worst_partition, status.oldest_waiting, status.drained_in) = (None, None, None);
        }
    }
    match dead_letters {
        Told::NotYet => {}
        Told::Known(dead_letters) => status.dead_letters = Some(number::rounded(*dead_letters)),
        Told::Lost(_) => status.dead_letters = Some(UNKNOWN.to_owned()),
    }
    status
}

/// `5m`, or `>5m` where it may be much more.
fn shown_age(age: Age) -> String {
    match age {
        Age::About(age) => number::time(age),
        Age::MoreThan(age) => number::more_than(age),
    }
}

/// How long the oldest record had waited, as a status says: about, since it is rounded down. `None` where none waited, or nobody knew.
pub fn age_said(status: &IntegrationStatus) -> Option<Age> {
    let text = status.oldest_waiting.as_deref()?;
    match text.strip_prefix('>') {
        Some(least) => number::parsed_time(least).map(Age::MoreThan),
        None => number::parsed_time(text).map(Age::About),
    }
}

/// `Unmeasured` stands before what workers tell of, as passes keep it.
fn conditions(
    previous: &IntegrationStatus,
    backlog: &Told<Backlog>,
    dead_letters: &Told<u64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = Conditions::new(&previous.conditions, previous.observed_generation, now);
    let told: Vec<_> = [ConditionType::Unmeasured].into_iter().chain(BY_WORKERS).collect();
    conditions.keep_all_but(&told);
    let mut lost = [backlog.lost(), dead_letters.lost()].into_iter().flatten();
    match (lost.next(), lost.next()) {
        (Some(first), second) => {
            let second = second.filter(|second| second.message != first.message);
            let message =
                second.map_or_else(|| first.message.clone(), |second| format!("{}; {}", first.message, second.message));
            conditions.yes(ConditionType::Unmeasured, first.reason, message);
        }
        // What an operator that has just started did not ask for yet may be what was lost.
        (None, _) if *backlog == Told::NotYet || *dead_letters == Told::NotYet => {
            conditions.keep(ConditionType::Unmeasured);
        }
        (None, _) => {}
    }
    for told in BY_WORKERS {
        conditions.keep(told);
    }
    conditions.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::History;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn partition(low: i64, end: i64, committed: Option<i64>) -> PartitionOffsets {
        PartitionOffsets::new(format!("t-{end}"), (low, end), committed)
    }

    fn lag(source: &[PartitionOffsets]) -> Option<u64> {
        Backlog::of(source, None, at(0)).lag
    }

    #[test]
    fn lag_is_what_lies_between_the_committed_offset_and_the_end() {
        let source = [partition(0, 10, Some(4)), partition(0, 5, Some(5)), partition(2, 9, None)];
        let backlog = Backlog::of(&source, None, at(0));
        assert_eq!((backlog.lag, backlog.worst), (Some(6 + 7), Some(("t-9".to_owned(), 7))));
    }

    #[test]
    fn records_that_retention_deleted_do_not_wait() {
        assert_eq!(lag(&[partition(100, 110, Some(40))]), Some(10));
        assert_eq!(lag(&[partition(0, 10, Some(12))]), Some(0));
    }

    #[test]
    fn a_group_without_a_commit_says_so() {
        let backlog = Backlog::of(&[partition(0, 10, None)], None, at(0));
        assert_eq!((backlog.lag, &backlog.worst), (None, &None));
        let status = with_numbers(&IntegrationStatus::default(), &Told::Known(backlog), &Told::NotYet, at(0));
        assert_eq!(status.lag.as_deref(), Some("-"));
    }

    #[test]
    fn the_oldest_record_is_the_one_that_the_group_would_read_next() {
        let mut history = History::default();
        for (second, end) in [(0, 4), (10, 4), (20, 8)] {
            history.saw(end, at(second));
        }
        let age = |low, committed| {
            let partition = PartitionOffsets::new(String::new(), (low, 8), Some(committed));
            partition.aged(|_, position| history.age(position, None, at(100))).oldest
        };
        assert_eq!(age(0, 4), Some(Age::About(Duration::from_secs(90))));
        assert_eq!(age(0, 3), Some(Age::MoreThan(Duration::from_secs(100))));
        assert_eq!(age(4, 3), Some(Age::About(Duration::from_secs(90))), "the record at 3 was deleted");
        assert_eq!(age(0, 8), None, "nothing waits");
    }

    #[test]
    fn an_age_that_may_be_more_says_so_and_is_read_again_as_it_was_shown() {
        let shown = |age| {
            let partition = partition(0, 3, Some(0)).aged(|_, _| Some(age));
            let backlog = Told::Known(Backlog::of(&[partition], None, at(0)));
            let status = with_numbers(&IntegrationStatus::default(), &backlog, &Told::NotYet, at(0));
            (status.oldest_waiting.clone().unwrap(), age_said(&status).unwrap())
        };
        let seconds = Duration::from_secs;
        assert_eq!(shown(Age::About(seconds(400))), ("5m".into(), Age::About(seconds(300))));
        assert_eq!(shown(Age::MoreThan(seconds(400))), (">5m".into(), Age::MoreThan(seconds(300))));
        assert_eq!(shown(Age::About(seconds(30))), ("<1m".into(), Age::About(seconds(0))));
        assert_eq!(shown(Age::MoreThan(seconds(30))), (">0m".into(), Age::MoreThan(seconds(0))));
        assert_eq!(age_said(&IntegrationStatus::default()), None);
    }

    #[test]
    fn the_time_to_drain_is_what_is_left_by_the_pace_of_late() {
        let steps = |ends: &[(i64, i64)]| {
            let mut last = None;
            for (second, end) in ends {
                last = Some(Backlog::of(&[partition(0, *end, Some(0))], last.as_ref(), at(*second)));
            }
            last.and_then(|last| last.drain)
        };
        assert_eq!(steps(&[(0, 100)]), None, "one look has no pace");
        assert_eq!(steps(&[(0, 100), (10, 90), (20, 80)]), Some(Drain::In(Duration::from_secs(80))));
        assert_eq!(steps(&[(0, 100), (10, 100)]), Some(Drain::Never));
        assert_eq!(steps(&[(0, 100), (10, 120)]), Some(Drain::Never));
        assert_eq!(steps(&[(0, 100), (10, 0)]), None, "nothing is left");
    }

    /// A status with two numbers, and a condition of workers.
    fn before() -> IntegrationStatus {
        let mut conditions = Conditions::new(&[], Some(3), at(0));
        conditions.yes(ConditionType::Ready, Reason::Running, "");
        conditions.yes(ConditionType::SinkHealthy, Reason::Satisfied, "");
        IntegrationStatus {
            conditions: conditions.finish(),
            observed_generation: Some(3),
            lag: Some("3".into()),
            oldest_waiting: Some("5m".into()),
            dead_letters: Some("1".into()),
            ..IntegrationStatus::default()
        }
    }

    fn lost<T>(message: &str) -> Told<T> {
        Told::Lost(Why { reason: Reason::NotAuthorized, message: message.into() })
    }

    fn told(status: &IntegrationStatus) -> Vec<String> {
        status.conditions.iter().map(|one| format!("{} {}: {}", one.type_, one.reason, one.message)).collect()
    }

    #[test]
    fn what_was_not_measured_yet_stays_as_it_was() {
        let previous = before();
        assert_eq!(with_numbers(&previous, &Told::NotYet, &Told::NotYet, at(1)), previous);
        let dead_letters = with_numbers(&previous, &Told::NotYet, &Told::Known(2), at(1)).dead_letters;
        assert_eq!(dead_letters.as_deref(), Some("2"));
    }

    #[test]
    fn what_cannot_be_measured_any_more_is_unknown_and_says_why_until_it_can() {
        let status = with_numbers(&before(), &lost("no right"), &Told::Known(1), at(1));
        let shown = [&status.lag, &status.oldest_waiting, &status.dead_letters].map(Option::as_deref);
        assert_eq!(shown, [Some("unknown"), None, Some("1")]);
        assert_eq!(told(&status), ["Ready Running: ", "Unmeasured NotAuthorized: no right", "SinkHealthy Satisfied: "]);
        assert_eq!(with_numbers(&status, &lost("no right"), &Told::Known(1), at(9)), status);
        let restarted = with_numbers(&status, &Told::NotYet, &Told::Known(1), at(9));
        assert_eq!(restarted, status, "nobody has asked yet");

        let backlog = Backlog::of(&[partition(0, 3, Some(0))], None, at(9));
        let measured = with_numbers(&status, &Told::Known(backlog), &Told::Known(1), at(9));
        assert_eq!((measured.lag, measured.conditions), (Some("3".into()), before().conditions));
    }

    #[test]
    fn what_is_lost_for_one_reason_names_it_once() {
        let both = |second| told(&with_numbers(&before(), &lost("no right"), &lost(second), at(1)))[1].clone();
        assert_eq!(both("no right"), "Unmeasured NotAuthorized: no right");
        assert_eq!(both("no topic"), "Unmeasured NotAuthorized: no right; no topic");
    }
}
