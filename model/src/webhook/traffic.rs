//! What receivers say about themselves, put together: counts that do not fall when a receiver restarts, rates, and what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{
    WebhookStatus,
    wire::{CONFIRMATION_BOUNDS, DeferredBecause, ReceiverStatus, RejectedBecause},
};

use crate::number::{parsed, per_second, rounded};

/// What all receivers of a Webhook have done.
#[derive(Clone, Debug)]
pub struct Traffic {
    totals: Counts,
    /// What each process had counted when it was asked last.
    known: BTreeMap<String, Counts>,
    /// The totals of the last minute, oldest first; at least two looks where there were two.
    looks: VecDeque<(Timestamp, Counts)>,
    last_event: Option<i64>,
    /// Since when processes are known: one that is older may have been counted by somebody else.
    since: Timestamp,
    /// Whether the counts begin with what a status said.
    resumed: bool,
    /// Whether somebody was told of the bad signatures that come in.
    in_burst: bool,
    found: Found,
}

/// What the receivers said when they were asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether every receiver answered; where one did not, rates are unknown.
    pub complete: bool,
    /// Receivers that answered.
    pub answered: usize,
    /// Those of them that answer every request 503.
    pub paused: usize,
    /// Files of Secrets that cannot be used.
    pub unusable_secrets: BTreeSet<PathBuf>,
    /// What keeps Redis from being asked.
    pub redis_trouble: Option<String>,
    /// How far back ids are surely remembered.
    pub window: Option<Duration>,
}

/// What a status says about traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// Events that Kafka confirmed.
    pub accepted: String,
    /// Events that had been received before.
    pub duplicates: String,
    /// Events that became dead letters.
    pub dead_letters: String,
    /// Requests that were refused.
    pub rejected: String,
    /// The same by cause.
    pub rejected_by: BTreeMap<String, String>,
    /// Requests that Kafka did not confirm.
    pub unconfirmed: String,
    /// Accepted events per second.
    pub rate: Option<String>,
    /// Time until confirmation.
    pub p95: Option<String>,
    /// The minute of the last event.
    pub last_event: Option<Timestamp>,
    /// What the receivers found.
    pub found: Found,
}

/// A person should hear that many requests are not genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Requests that were not genuine.
    pub requests: u64,
    /// Within this time.
    pub within: Duration,
}

/// Numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: u64,
    duplicates: u64,
    dead_letters: u64,
    unconfirmed: u64,
    rejected: BTreeMap<String, u64>,
    confirmations: Vec<u64>,
}

/// Rates are those of this time.
const WINDOW: i64 = 60;
/// So many requests within the window that are not genuine are no accident.
const BURST: u64 = 20;

impl Traffic {
    /// Begins with what a status says, where it says something: that was counted before.
    pub fn resume(status: &WebhookStatus, now: Timestamp) -> Self {
        let number = |text: &Option<String>| text.as_deref().and_then(parsed).unwrap_or_default();
        let by_cause = status.rejected_by.iter().map(|(cause, text)| (cause.clone(), parsed(text).unwrap_or_default()));
        let totals = Counts {
            accepted: number(&status.accepted),
            duplicates: number(&status.duplicates),
            dead_letters: number(&status.dead_letters),
            unconfirmed: number(&status.unconfirmed),
            rejected: by_cause.collect(),
            confirmations: Vec::new(),
        };
        Self {
            totals,
            known: BTreeMap::new(),
            looks: VecDeque::new(),
            last_event: status.last_event_time.as_ref().map(|time| time.0.as_second()),
            since: now,
            resumed: status.accepted.is_some(),
            in_burst: false,
            found: Found::default(),
        }
    }

    /// Takes what the receivers answered; `None` for each that did not. Says so where a burst of bad signatures begins.
    pub fn take(&mut self, answers: &[Option<ReceiverStatus>], now: Timestamp) -> Option<Burst> {
        for status in answers.iter().flatten() {
            self.count(status, now);
            self.last_event = self.last_event.max(status.last_event);
        }
        self.forget_what_ended(answers);
        self.found = Found::of(answers);
        self.looks.push_back((now, self.totals.clone()));
        while self.looks.get(1).is_some_and(|(second, _)| now.as_second() - second.as_second() >= WINDOW) {
            self.looks.pop_front();
        }
        self.burst()
    }

    /// What a status should say.
    pub fn shown(&self) -> Shown {
        let totals = &self.totals;
        let rejected_by = totals.rejected.iter().filter(|(_, count)| **count > 0);
        Shown {
            accepted: rounded(totals.accepted),
            duplicates: rounded(totals.duplicates),
            dead_letters: rounded(totals.dead_letters),
            rejected: rounded(totals.rejected.values().sum()),
            rejected_by: rejected_by.map(|(cause, count)| (cause.clone(), rounded(*count))).collect(),
            unconfirmed: rounded(totals.unconfirmed),
            rate: self.rate().filter(|_| self.found.complete).map(per_second),
            p95: self.p95().filter(|_| self.found.complete),
            last_event: self.last_event.and_then(|second| Timestamp::from_second(second - second.rem_euclid(60)).ok()),
            found: self.found.clone(),
        }
    }

    /// Adds what a receiver has counted since it was asked before.
    fn count(&mut self, status: &ReceiverStatus, now: Timestamp) {
        let counts = Counts::of(status);
        let began = now.as_second() - i64::try_from(status.uptime.get().as_secs()).unwrap_or(i64::MAX);
        let before = match self.known.remove(&status.instance) {
            Some(before) => before,
            // What it counted before we looked is in the counts already, as good as it can be told.
            None if self.resumed && began < self.since.as_second() => counts.clone(),
            None => Counts::default(),
        };
        self.totals.add(&counts, &before);
        self.known.insert(status.instance.clone(), counts);
    }

    /// A process that does not answer may answer again; of those that ended long ago nothing has to be known.
    fn forget_what_ended(&mut self, answers: &[Option<ReceiverStatus>]) {
        const SPARE: usize = 32;
        if self.known.len() > 2 * answers.len() + SPARE {
            self.known.retain(|instance, _| answers.iter().flatten().any(|status| status.instance == *instance));
        }
    }

    /// The first look and the last one.
    fn span(&self) -> Option<(&Counts, &Counts, i64)> {
        let ((first, before), (last, after)) = (self.looks.front()?, self.looks.back()?);
        let seconds = last.as_second() - first.as_second();
        (seconds > 0).then_some((before, after, seconds))
    }

    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn rate(&self) -> Option<f64> {
        let (before, after, seconds) = self.span()?;
        Some((after.accepted - before.accepted) as f64 / seconds as f64)
    }

    /// The bound within which 95 of 100 requests were confirmed.
    fn p95(&self) -> Option<String> {
        let (before, after, _) = self.span()?;
        let new = |place: usize, count: &u64| count - before.confirmations.get(place).copied().unwrap_or_default();
        let counts: Vec<u64> = after.confirmations.iter().enumerate().map(|(place, count)| new(place, count)).collect();
        let wanted = counts.iter().sum::<u64>().checked_mul(95)?.div_ceil(100);
        let mut so_far = 0;
        let place = counts.iter().position(|count| {
            so_far += count;
            wanted > 0 && so_far >= wanted
        })?;
        Some(match CONFIRMATION_BOUNDS.get(place) {
            Some(millis @ ..1_000) => format!("{millis}ms"),
            Some(millis) => format!("{}s", millis / 1_000),
            None => ">16s".to_owned(),
        })
    }

    /// One burst is told once: it ends when nothing of it comes any more.
    fn burst(&mut self) -> Option<Burst> {
        let (before, after, seconds) = self.span()?;
        let requests = after.signatures() - before.signatures();
        let within = Duration::from_secs(seconds.unsigned_abs());
        let begins = requests >= BURST && !self.in_burst;
        self.in_burst = requests >= BURST || (self.in_burst && requests > 0);
        begins.then_some(Burst { requests, within })
    }
}

impl Counts {
    fn of(status: &ReceiverStatus) -> Self {
        let deferred = |because| status.deferred.get(&because).copied().unwrap_or_default();
        Self {
            accepted: status.accepted,
            duplicates: status.duplicates,
            dead_letters: status.dead_letters,
            unconfirmed: deferred(DeferredBecause::Unconfirmed) + deferred(DeferredBecause::NotWritten),
            rejected: status.rejected.iter().map(|(because, count)| (name(*because), *count)).collect(),
            confirmations: status.confirmations.clone(),
        }
    }

    /// What came since `before`, of the same process.
    fn add(&mut self, now: &Self, before: &Self) {
        self.accepted += now.accepted.saturating_sub(before.accepted);
        self.duplicates += now.duplicates.saturating_sub(before.duplicates);
        self.dead_letters += now.dead_letters.saturating_sub(before.dead_letters);
        self.unconfirmed += now.unconfirmed.saturating_sub(before.unconfirmed);
        for (cause, count) in &now.rejected {
            let before = before.rejected.get(cause).copied().unwrap_or_default();
            *self.rejected.entry(cause.clone()).or_default() += count.saturating_sub(before);
        }
        self.confirmations.resize(self.confirmations.len().max(now.confirmations.len()), 0);
        for (place, count) in now.confirmations.iter().enumerate() {
            let before = before.confirmations.get(place).copied().unwrap_or_default();
            self.confirmations[place] += count.saturating_sub(before);
        }
    }

    fn signatures(&self) -> u64 {
        self.rejected.get(&name(RejectedBecause::Signature)).copied().unwrap_or_default()
    }
}

/// As the wire and the status call it: `eventId`.
fn name(because: RejectedBecause) -> String {
    let name = serde_json::to_value(because).expect("a name");
    name.as_str().unwrap_or_default().to_owned()
}

impl Found {
    fn of(answers: &[Option<ReceiverStatus>]) -> Self {
        let answered = || answers.iter().flatten();
        Self {
            complete: !answers.is_empty() && answers.iter().all(Option::is_some),
            answered: answered().count(),
            paused: answered().filter(|status| status.paused).count(),
            unusable_secrets: answered().flat_map(|status| status.unusable_secrets.iter().cloned()).collect(),
            redis_trouble: answered().find_map(|status| status.redis_trouble.clone()),
            window: answered().map(|status| status.deduplication_window.get()).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A receiver that has run so long and accepted so many.
    #[allow(clippy::unnecessary_wraps, reason = "an answer, as it comes from a receiver that answers")]
    fn receiver(instance: &str, uptime: u64, accepted: u64) -> Option<ReceiverStatus> {
        let mut confirmations = vec![0; CONFIRMATION_BOUNDS.len() + 1];
        confirmations[3] = accepted;
        Some(ReceiverStatus {
            instance: instance.to_owned(),
            uptime: sluice_crds::Duration::from_secs(uptime),
            accepted,
            confirmations,
            last_event: Some(at(0).as_second()),
            ..ReceiverStatus::default()
        })
    }

    fn accepted(traffic: &Traffic) -> String {
        traffic.shown().accepted
    }

    #[test]
    fn counts_go_on_when_receivers_restart_and_come_and_go() {
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        traffic.take(&[receiver("a", 100, 10)], at(0));
        assert_eq!(accepted(&traffic), "10");
        traffic.take(&[receiver("a", 110, 15), receiver("b", 5, 3)], at(10));
        assert_eq!(accepted(&traffic), "18");
        // One of them restarts, the other does not answer.
        traffic.take(&[receiver("a2", 3, 2), None], at(20));
        assert_eq!((accepted(&traffic), traffic.shown().rate), ("20".into(), None));
        traffic.take(&[receiver("a2", 13, 2), receiver("b", 25, 4)], at(30));
        assert_eq!((accepted(&traffic), traffic.shown().rate), ("21".into(), Some("0.4/s".into())));
    }

    #[test]
    fn what_was_counted_before_the_operator_restarted_is_not_counted_again() {
        let status = WebhookStatus { accepted: Some("1.2k".into()), ..WebhookStatus::default() };
        let mut traffic = Traffic::resume(&status, at(0));
        traffic.take(&[receiver("old", 100, 1_234), receiver("new", 2, 5)], at(10));
        assert_eq!(traffic.totals.accepted, 1_205, "only the receiver that is younger than we are is new");
        traffic.take(&[receiver("old", 110, 1_240), receiver("new", 12, 5)], at(20));
        assert_eq!(traffic.totals.accepted, 1_211);
    }

    #[test]
    fn rates_are_those_of_the_last_minute_and_unknown_while_a_receiver_is() {
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        assert_eq!(traffic.shown().rate, None);
        traffic.take(&[receiver("a", 100, 1_000)], at(0));
        assert_eq!((traffic.shown().rate, traffic.shown().p95), (None, None), "one look tells no rate");
        for step in 1..=12 {
            traffic.take(&[receiver("a", 100, 1_000 + 20 * step)], at(10 * i64::try_from(step).unwrap()));
        }
        let shown = traffic.shown();
        assert_eq!((shown.rate.as_deref(), shown.p95.as_deref()), (Some("2.0/s"), Some("8ms")));
        assert!(traffic.looks.len() <= 8, "{}", traffic.looks.len());
        traffic.take(&[receiver("a", 300, 1_240)], at(320));
        let shown = traffic.shown();
        assert_eq!((shown.rate.as_deref(), shown.p95.as_deref()), (Some("0/s"), None));
        assert_eq!(
            shown.last_event,
            Some(at(0).as_second() / 60 * 60).map(|second| Timestamp::from_second(second).unwrap())
        );
        traffic.take(&[None], at(330));
        assert_eq!((traffic.shown().rate, accepted(&traffic)), (None, "1.2k".into()));
    }

    #[test]
    fn p95_is_the_bound_that_holds_for_95_of_100() {
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        traffic.take(&[receiver("a", 1, 0)], at(0));
        for (slow, expected) in [(5, "8ms"), (6, ">16s")] {
            let mut status = receiver("a", 1, 100 - slow).unwrap();
            *status.confirmations.last_mut().unwrap() = slow;
            let mut traffic = traffic.clone();
            traffic.take(&[Some(status)], at(10));
            assert_eq!(traffic.shown().p95.as_deref(), Some(expected), "{slow}");
        }
    }

    #[test]
    fn a_burst_of_bad_signatures_is_told_once() {
        let forged = |count: u64| {
            let rejected = [(RejectedBecause::Signature, count), (RejectedBecause::Size, 1_000)].into();
            vec![Some(ReceiverStatus { rejected, ..receiver("a", 100, 0).unwrap() })]
        };
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        assert_eq!(traffic.take(&forged(500), at(0)), None, "what came before the first look may be long ago");
        assert_eq!(traffic.take(&forged(519), at(10)), None);
        let within = Duration::from_secs(20);
        assert_eq!(traffic.take(&forged(530), at(20)), Some(Burst { requests: 30, within }));
        assert_eq!(traffic.take(&forged(600), at(30)), None);
        assert_eq!(traffic.take(&forged(601), at(200)), None, "it goes on");
        assert_eq!(traffic.take(&forged(601), at(300)), None);
        assert!(traffic.take(&forged(700), at(310)).is_some(), "another one");
        assert_eq!(traffic.shown().rejected_by["signature"], "700");
    }
}
