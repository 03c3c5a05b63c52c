//! What receivers say about themselves, put together: counts that do not fall when a receiver restarts, rates, and what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{
    WebhookStatus,
    wire::{DeferredBecause, ReceiverStatus, RejectedBecause},
};

use crate::{
    number::{minute, parsed, per_second, rounded},
    tally::{self, Answer, Tally, add, add_each},
};

/// What all receivers of a Webhook have done.
#[derive(Clone, Debug)]
pub struct Traffic {
    tally: Tally<Counts>,
    last_event: Option<i64>,
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
    /// Receivers that cannot write to Kafka.
    pub cut_off: usize,
    /// Why they cannot.
    pub kafka_troubles: BTreeSet<String>,
    /// What is wrong with credentials that are no files of Secrets.
    pub credentials_troubles: BTreeSet<String>,
    /// How far back ids are surely remembered.
    pub window: Option<Duration>,
    /// How many shared receivers serve each revision of the Webhook's configuration.
    pub revisions: BTreeMap<String, usize>,
    /// Shared receivers that serve none.
    pub unaware: usize,
    /// Why shared receivers do not serve the newest configuration that they have.
    pub configuration_troubles: BTreeSet<String>,
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
    /// Whether rate and time are yet to be told, which takes two looks: a status keeps what it says of them until then.
    pub rates_follow: bool,
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
pub(crate) struct Counts {
    accepted: u64,
    duplicates: u64,
    dead_letters: u64,
    unconfirmed: u64,
    rejected: BTreeMap<String, u64>,
    confirmations: Vec<u64>,
}

/// So many requests within a minute that are not genuine are no accident.
const BURST: u64 = 20;

impl Traffic {
    /// Begins with what a status says, where it says something: that was counted before.
    pub fn resume(status: &WebhookStatus, now: Timestamp) -> Self {
        let number = |text: &Option<String>| text.as_deref().and_then(parsed).unwrap_or_default();
        let by_cause = status.rejected_by.iter().map(|(cause, text)| (cause.clone(), parsed(text).unwrap_or_default()));
        let totals = || Counts {
            accepted: number(&status.accepted),
            duplicates: number(&status.duplicates),
            dead_letters: number(&status.dead_letters),
            unconfirmed: number(&status.unconfirmed),
            rejected: by_cause.clone().collect(),
            confirmations: Vec::new(),
        };
        Self {
            tally: Tally::resume(status.accepted.as_ref().map(|_| totals()), now),
            last_event: status.last_event_time.as_ref().map(|time| time.0.as_second()),
            in_burst: false,
            found: Found::default(),
        }
    }

    /// Takes what the receivers answered; `None` for each that did not. Says so where a burst of bad signatures begins.
    pub fn take(&mut self, answers: &[Option<ReceiverStatus>], now: Timestamp) -> Option<Burst> {
        // One that does not serve the Webhook yet has counted nothing of it.
        let serves = |status: &ReceiverStatus| !status.instance.is_empty();
        let serving: Vec<_> = answers.iter().map(|answer| answer.clone().filter(serves)).collect();
        self.tally.take(&serving, now);
        let events = serving.iter().flatten().map(|status| status.last_event);
        self.last_event = events.fold(self.last_event, Option::max);
        self.found = Found::of(&serving).with_shared(answers);
        self.burst()
    }

    /// What a status should say.
    pub fn shown(&self) -> Shown {
        let (totals, span) = (self.tally.totals(), self.tally.span().filter(|_| self.found.complete));
        let rejected_by = totals.rejected.iter().filter(|(_, count)| **count > 0);
        Shown {
            accepted: rounded(totals.accepted),
            duplicates: rounded(totals.duplicates),
            dead_letters: rounded(totals.dead_letters),
            rejected: rounded(totals.rejected.values().sum()),
            rejected_by: rejected_by.map(|(cause, count)| (cause.clone(), rounded(*count))).collect(),
            unconfirmed: rounded(totals.unconfirmed),
            rates_follow: self.found.complete && span.is_none(),
            rate: span.as_ref().map(|span| per_second(span.rate(|counts| counts.accepted))),
            p95: span.as_ref().and_then(|span| span.p95(|counts| &counts.confirmations)),
            last_event: self.last_event.and_then(minute),
            found: self.found.clone(),
        }
    }

    /// One burst is told once: it ends when nothing of it comes any more.
    fn burst(&mut self) -> Option<Burst> {
        let span = self.tally.span()?;
        let (requests, within) = (span.grown(Counts::signatures), span.length());
        let begins = requests >= BURST && !self.in_burst;
        self.in_burst = requests >= BURST || (self.in_burst && requests > 0);
        begins.then_some(Burst { requests, within })
    }
}

impl Counts {
    fn of(status: &ReceiverStatus) -> Self {
        let deferred = |because| status.deferred.get(&because).copied().unwrap_or_default();
        let unconfirmed = [DeferredBecause::Unconfirmed, DeferredBecause::NotWritten, DeferredBecause::Refused];
        Self {
            accepted: status.accepted,
            duplicates: status.duplicates,
            dead_letters: status.dead_letters,
            unconfirmed: unconfirmed.into_iter().map(deferred).sum(),
            rejected: status.rejected.iter().map(|(because, count)| (name(*because), *count)).collect(),
            confirmations: status.confirmations.clone(),
        }
    }

    fn signatures(&self) -> u64 {
        self.rejected.get(&name(RejectedBecause::Signature)).copied().unwrap_or_default()
    }
}

impl tally::Counts for Counts {
    fn add(&mut self, now: &Self, before: &Self) {
        add(&mut self.accepted, now.accepted, before.accepted);
        add(&mut self.duplicates, now.duplicates, before.duplicates);
        add(&mut self.dead_letters, now.dead_letters, before.dead_letters);
        add(&mut self.unconfirmed, now.unconfirmed, before.unconfirmed);
        for (cause, count) in &now.rejected {
            let before = before.rejected.get(cause).copied().unwrap_or_default();
            add(self.rejected.entry(cause.clone()).or_default(), *count, before);
        }
        add_each(&mut self.confirmations, &now.confirmations, &before.confirmations);
    }
}

impl Answer for ReceiverStatus {
    type Counts = Counts;

    fn instance(&self) -> &str {
        &self.instance
    }

    fn uptime(&self) -> Duration {
        self.uptime.get()
    }

    fn counts(&self) -> Counts {
        Counts::of(self)
    }
}

/// As the wire and the status call it: `eventId`.
fn name(because: RejectedBecause) -> String {
    let name = serde_json::to_value(because).expect("a name");
    name.as_str().unwrap_or_default().to_owned()
}

impl Found {
    /// Whether something does not answer that may answer again at any moment, without anybody changing anything.
    pub fn waits_for_others(&self) -> bool {
        self.cut_off > 0 || self.redis_trouble.is_some()
    }

    /// Whether all shared receivers that answered serve this revision, and at least one did.
    pub fn all_serve(&self, revision: &str) -> bool {
        self.answered > 0 && self.unaware == 0 && self.serving(revision) == self.answered
    }

    /// Shared receivers that serve this revision.
    pub fn serving(&self, revision: &str) -> usize {
        self.revisions.get(revision).copied().unwrap_or_default()
    }

    /// What tells whether shared receivers serve the Webhook differs.
    pub fn is_served_otherwise(&self, before: &Self) -> bool {
        (&self.revisions, self.unaware, &self.configuration_troubles)
            != (&before.revisions, before.unaware, &before.configuration_troubles)
    }

    /// The same with what shared receivers say, also those that do not serve the Webhook yet.
    fn with_shared(mut self, answers: &[Option<ReceiverStatus>]) -> Self {
        for status in answers.iter().flatten() {
            self.configuration_troubles.extend(status.configuration_trouble.clone());
            if status.instance.is_empty() {
                self.unaware += 1;
            } else if !status.revision.is_empty() {
                *self.revisions.entry(status.revision.clone()).or_default() += 1;
            }
        }
        self
    }

    fn of(answers: &[Option<ReceiverStatus>]) -> Self {
        let answered = || answers.iter().flatten();
        Self {
            complete: !answers.is_empty() && answers.iter().all(Option::is_some),
            answered: answered().count(),
            paused: answered().filter(|status| status.paused).count(),
            unusable_secrets: answered().flat_map(|status| status.unusable_secrets.iter().cloned()).collect(),
            redis_trouble: answered().find_map(|status| status.redis_trouble.clone()),
            cut_off: answered().filter(|status| status.kafka_trouble.is_some()).count(),
            kafka_troubles: answered().filter_map(|status| status.kafka_trouble.clone()).collect(),
            credentials_troubles: answered().filter_map(|status| status.credentials_trouble.clone()).collect(),
            window: answered().map(|status| status.deduplication_window.get()).min(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A receiver that has run so long and accepted so many, each within 8 ms.
    #[allow(clippy::unnecessary_wraps, reason = "an answer, as it comes from a receiver that answers")]
    fn receiver(instance: &str, uptime: u64, accepted: u64) -> Option<ReceiverStatus> {
        Some(ReceiverStatus {
            instance: instance.to_owned(),
            uptime: sluice_crds::Duration::from_secs(uptime),
            accepted,
            confirmations: vec![0, 0, 0, accepted],
            last_event: Some(at(0).as_second()),
            ..ReceiverStatus::default()
        })
    }

    #[test]
    fn counts_go_on_from_what_the_status_says() {
        let rejected_by = [("signature".to_owned(), "3".to_owned())].into();
        let status = WebhookStatus { accepted: Some("1.2k".into()), rejected_by, ..WebhookStatus::default() };
        let mut traffic = Traffic::resume(&status, at(0));
        traffic.take(&[receiver("old", 100, 1_234), receiver("new", 2, 5)], at(10));
        let shown = traffic.shown();
        assert_eq!((shown.accepted.as_str(), shown.rejected.as_str()), ("1.2k", "3"));
        assert_eq!(traffic.tally.totals().accepted, 1_205, "only the receiver that is younger than we are is new");
    }

    #[test]
    fn rates_are_unknown_while_a_receiver_is() {
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        traffic.take(&[receiver("a", 100, 0)], at(0));
        assert!(traffic.shown().rates_follow, "one look tells no rate");
        traffic.take(&[receiver("a", 110, 20)], at(10));
        let shown = traffic.shown();
        assert!(!shown.rates_follow);
        assert_eq!((shown.rate.as_deref(), shown.p95.as_deref()), (Some("2.0/s"), Some("8ms")));
        assert_eq!(shown.last_event, Timestamp::from_second(at(0).as_second() / 60 * 60).ok());
        traffic.take(&[None], at(20));
        let shown = traffic.shown();
        assert!(!shown.rates_follow, "nobody knows it");
        assert_eq!((shown.rate, shown.p95, shown.accepted.as_str()), (None, None, "20"));
    }

    #[test]
    fn what_keeps_receivers_from_writing_is_told_once_for_all() {
        let cut_off = |instance: &str, trouble: Option<&str>| {
            let kafka_trouble = trouble.map(str::to_owned);
            Some(ReceiverStatus { kafka_trouble, ..receiver(instance, 100, 0).unwrap() })
        };
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        traffic.take(&[cut_off("a", Some("no answer")), cut_off("b", None), cut_off("c", Some("no answer"))], at(0));
        let found = traffic.shown().found;
        assert_eq!((found.answered, found.cut_off), (3, 2));
        assert_eq!(found.kafka_troubles, ["no answer".to_owned()].into());
        assert!(found.waits_for_others());
        traffic.take(&[cut_off("a", None), cut_off("b", None), cut_off("c", None)], at(10));
        assert_eq!(
            traffic.shown().found,
            Found { complete: true, answered: 3, window: Some(Duration::ZERO), ..Found::default() }
        );
    }

    #[test]
    fn a_shared_receiver_that_does_not_serve_the_webhook_yet_counts_nothing_and_is_told_of() {
        let serving = |revision: &str| {
            Some(ReceiverStatus {
                revision: revision.to_owned(),
                ..receiver(&format!("of {revision}"), 100, 3).unwrap()
            })
        };
        let mut traffic = Traffic::resume(&WebhookStatus::default(), at(0));
        traffic.take(&[serving("2"), Some(ReceiverStatus::default()), None], at(0));
        let before = traffic.shown().found;
        assert_eq!((before.answered, before.unaware, before.serving("2")), (1, 1, 1));
        assert!(!before.complete && !before.all_serve("2"));
        traffic.take(&[serving("2"), serving("1"), None], at(10));
        let between = traffic.shown().found;
        assert!(!between.all_serve("2") && between.is_served_otherwise(&before));
        traffic.take(&[serving("2"), serving("2"), None], at(20));
        assert!(traffic.shown().found.all_serve("2"), "who does not answer is told of by the Deployment");
        assert!(!traffic.shown().found.all_serve("3"));
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
