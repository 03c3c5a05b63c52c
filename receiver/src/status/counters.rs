//! What is counted: every event or refused request once, by what became of it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write as _},
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use prometheus_client::{
    encoding::{EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::exponential_buckets,
    },
    registry::Registry,
};
use sluice_crds::{
    NamespacedName,
    metrics::receiver as defined,
    wire::{DeferredBecause, ReceiverStatus, RejectedBecause},
};
use sluice_telemetry::{
    DurationHistogram, Durations,
    metrics::Define as _,
    traces::{Span, Tracer},
};

use crate::{
    receive::{Because, Refused, Taken, Tally},
    verify::Refusal,
};

/// What is counted in a process, as Prometheus reads it: by Webhook. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Families {
    accepted: Family<Of, Counter>,
    duplicates: Family<Of, Counter>,
    dead_letters: Family<Of, Counter>,
    challenges: Family<Of, Counter>,
    unchecked: Family<Of, Counter>,
    rejected: ByCause<RejectedBecause>,
    deferred: ByCause<DeferredBecause>,
    refusals: ByCause<Refusal>,
    confirmation: Family<Of, DurationHistogram, Buckets>,
    remembered: Family<Of, Gauge>,
    window: Family<Of, Gauge>,
    unusable_secrets: Family<Of, Gauge>,
    /// Requests for no Webhook that is known.
    unknown: Counter,
}

/// The counts of a Webhook since the start. They are made once: what is still counted of one that was forgotten brings no series back.
#[derive(Debug)]
pub(crate) struct Counters {
    of: Of,
    families: Families,
    accepted: Counter,
    duplicates: Counter,
    dead_letters: Counter,
    challenges: Counter,
    unchecked: Counter,
    rejected: HashMap<RejectedBecause, Counter>,
    deferred: HashMap<DeferredBecause, Counter>,
    refusals: HashMap<Refusal, Counter>,
    remembered: Gauge,
    window: Gauge,
    unusable_secrets: Gauge,
    confirmation: DurationHistogram,
    /// The same for the operator.
    confirmations: Durations,
    /// In seconds since 1970; 0 before the first.
    last_event: AtomicI64,
    /// Tells these counts from those of the process before.
    instance: String,
    started: Instant,
}

/// What is counted of a Webhook at this moment, as gauges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) remembered: usize,
    pub(super) window: Duration,
    pub(super) unusable_secrets: usize,
}

/// The labels that name a Webhook.
type Of = [(&'static str, Arc<String>); 2];

/// One count for each cause.
type ByCause<T> = Family<(Of, [(&'static str, Cause<T>); 1]), Counter>;

/// A value of the label `reason`: the name of an enum's variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cause<T>(T);

impl<T: fmt::Debug> EncodeLabelValue for Cause<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_fmt(format_args!("{:?}", self.0))
    }
}

/// How long confirmations take, naming traces where this tracer makes any.
#[derive(Clone, Debug)]
struct Buckets(Tracer);

impl MetricConstructor<DurationHistogram> for Buckets {
    fn new_metric(&self) -> DurationHistogram {
        // 1 ms to 8 s: from a broker next door to the longest patience that makes sense.
        DurationHistogram::new(exponential_buckets(0.001, 2.0, 14), &self.0)
    }
}

impl Families {
    /// Nothing is counted yet. Times name traces where this tracer makes any.
    pub(crate) fn new(tracer: &Tracer) -> Self {
        Self {
            accepted: Family::default(),
            duplicates: Family::default(),
            dead_letters: Family::default(),
            challenges: Family::default(),
            unchecked: Family::default(),
            rejected: Family::default(),
            deferred: Family::default(),
            refusals: Family::default(),
            confirmation: Family::new_with_constructor(Buckets(tracer.clone())),
            remembered: Family::default(),
            window: Family::default(),
            unusable_secrets: Family::default(),
            unknown: Counter::default(),
        }
    }

    /// Counts a request for no Webhook that is known.
    pub(crate) fn unknown(&self) {
        self.unknown.inc();
    }

    /// Makes the counts part of what Prometheus reads.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.define(&defined::EVENTS_ACCEPTED, self.accepted.clone());
        registry.define(&defined::EVENTS_DUPLICATE, self.duplicates.clone());
        registry.define(&defined::EVENTS_UNCHECKED, self.unchecked.clone());
        registry.define(&defined::DEAD_LETTERS, self.dead_letters.clone());
        registry.define(&defined::CHALLENGES_ANSWERED, self.challenges.clone());
        registry.define(&defined::REQUESTS_REJECTED, self.rejected.clone());
        registry.define(&defined::REQUESTS_DEFERRED, self.deferred.clone());
        registry.define(&defined::SIGNATURES_REFUSED, self.refusals.clone());
        registry.define(&defined::CONFIRMATION_DURATION, self.confirmation.clone());
        registry.define(&defined::EVENTS_REMEMBERED, self.remembered.clone());
        registry.define(&defined::DEDUPLICATION_WINDOW, self.window.clone());
        registry.define(&defined::SECRETS_UNUSABLE, self.unusable_secrets.clone());
        registry.define(&defined::REQUESTS_UNKNOWN, self.unknown.clone());
    }
}

/// A count for each cause: a series that begins with 0 has a rate from its first event on.
fn by_cause<T: Copy + Eq + Hash, const N: usize>(family: &ByCause<T>, of: &Of, all: [T; N]) -> HashMap<T, Counter> {
    all.into_iter().map(|cause| (cause, family.get_or_create_owned(&because(of, cause)))).collect()
}

fn because<T>(of: &Of, cause: T) -> (Of, [(&'static str, Cause<T>); 1]) {
    (of.clone(), [("reason", Cause(cause))])
}

/// The causes that occurred.
fn occurred<T: Copy + Ord>(counts: &HashMap<T, Counter>) -> BTreeMap<T, u64> {
    counts.iter().map(|(cause, count)| (*cause, count.get())).filter(|(_, count)| *count > 0).collect()
}

impl Counters {
    /// All at 0.
    pub(crate) fn new(families: &Families, webhook: &NamespacedName) -> Self {
        let [namespace, name] = [&webhook.namespace, &webhook.name].map(|text| Arc::new(text.clone()));
        let of = [("namespace", namespace), ("webhook", name)];
        Self {
            accepted: families.accepted.get_or_create_owned(&of),
            duplicates: families.duplicates.get_or_create_owned(&of),
            dead_letters: families.dead_letters.get_or_create_owned(&of),
            challenges: families.challenges.get_or_create_owned(&of),
            unchecked: families.unchecked.get_or_create_owned(&of),
            rejected: by_cause(&families.rejected, &of, RejectedBecause::ALL),
            deferred: by_cause(&families.deferred, &of, DeferredBecause::ALL),
            refusals: by_cause(&families.refusals, &of, Refusal::ALL),
            remembered: families.remembered.get_or_create_owned(&of),
            window: families.window.get_or_create_owned(&of),
            unusable_secrets: families.unusable_secrets.get_or_create_owned(&of),
            confirmation: families.confirmation.get_or_create_owned(&of),
            confirmations: Durations::default(),
            last_event: AtomicI64::new(0),
            instance: format!("{:016x}", fastrand::u64(..)),
            started: Instant::now(),
            families: families.clone(),
            of,
        }
    }

    /// Prometheus is told no more of a Webhook that is gone.
    pub(crate) fn forget(&self) {
        let Families {
            accepted,
            duplicates,
            dead_letters,
            challenges,
            unchecked,
            rejected,
            deferred,
            refusals,
            confirmation,
            remembered,
            window,
            unusable_secrets,
            unknown: _,
        } = &self.families;
        for counts in [accepted, duplicates, dead_letters, challenges, unchecked] {
            counts.remove(&self.of);
        }
        for numbers in [remembered, window, unusable_secrets] {
            numbers.remove(&self.of);
        }
        confirmation.remove(&self.of);
        for cause in RejectedBecause::ALL {
            rejected.remove(&because(&self.of, cause));
        }
        for cause in DeferredBecause::ALL {
            deferred.remove(&because(&self.of, cause));
        }
        for cause in Refusal::ALL {
            refusals.remove(&because(&self.of, cause));
        }
    }

    /// Counts the events of a request that are safe, whatever became of its others.
    pub(crate) fn events(&self, tally: &Tally) {
        self.accepted.inc_by(tally.written);
        self.dead_letters.inc_by(tally.dead_letters);
        self.duplicates.inc_by(tally.duplicates);
        if tally.written + tally.dead_letters > 0 {
            self.last_event.store(Timestamp::now().as_second(), Ordering::Relaxed);
        }
    }

    /// Counts a request by its answer and, where something was written, the time that it took.
    pub(crate) fn count(&self, outcome: &Result<Taken, Refused>, took: Duration, span: &Span) {
        match outcome {
            Ok(Taken::Events(tally)) => {
                if tally.written + tally.dead_letters > 0 {
                    self.confirmation.observe(took, span.exemplar());
                    self.confirmations.observe(took);
                }
            }
            Ok(Taken::Challenge(_)) => drop(self.challenges.inc()),
            Err(refused) => self.count_refused(refused),
        }
    }

    /// Counts an event that was written, and that Redis did not judge before or does not know of after.
    pub(crate) fn unchecked(&self) {
        self.unchecked.inc();
    }

    fn count_refused(&self, refused: &Refused) {
        match refused.because() {
            Because::Rejected(because) => self.rejected[&because].inc(),
            Because::Deferred(because) => self.deferred[&because].inc(),
        };
        if let Refused::Signature(refusal) = refused {
            self.refusals[refusal].inc();
        }
    }

    /// The counts as the operator reads them.
    pub(super) fn status(&self) -> ReceiverStatus {
        ReceiverStatus {
            instance: self.instance.clone(),
            uptime: super::duration(self.started.elapsed()),
            accepted: self.accepted.get(),
            duplicates: self.duplicates.get(),
            dead_letters: self.dead_letters.get(),
            unchecked: self.unchecked.get(),
            confirmations: self.confirmations.counts(),
            last_event: Some(self.last_event.load(Ordering::Relaxed)).filter(|second| *second > 0),
            rejected: occurred(&self.rejected),
            deferred: occurred(&self.deferred),
            ..ReceiverStatus::default()
        }
    }

    /// Writes down the moment's numbers for Prometheus.
    pub(super) fn note(&self, moment: Moment) {
        self.remembered.set(number(moment.remembered));
        self.window.set(number(moment.window.as_secs()));
        self.unusable_secrets.set(number(moment.unusable_secrets));
    }
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use sluice_crds::metrics::labels::REFUSED_REASON;

    use super::*;

    #[test]
    fn causes_of_refusals_are_all_listed() {
        assert_eq!(REFUSED_REASON.listed(), Refusal::ALL.map(|refusal| format!("{refusal:?}")));
    }

    #[test]
    fn what_is_counted_of_a_webhook_that_was_forgotten_is_told_to_nobody() {
        let families = Families::new(&Tracer::default());
        let mut registry = Registry::default();
        families.register(&mut registry);
        let webhook = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let counters = Counters::new(&families, &webhook);
        let tells_of_it = || sluice_telemetry::metrics::text(&registry).contains("github");
        assert!(tells_of_it());
        counters.forget();
        // A request that is under way ends, the operator asks, and Prometheus does.
        counters.count(&Err(Refused::Signature(Refusal::SignatureWrong)), Duration::ZERO, &Span::default());
        assert_eq!(counters.status().rejected, [(RejectedBecause::Signature, 1)].into());
        counters.note(Moment { remembered: 1, window: Duration::ZERO, unusable_secrets: 1 });
        assert!(!tells_of_it());
    }

    #[test]
    fn every_request_is_counted_once_by_what_became_of_it() {
        let webhook = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let counters = Counters::new(&Families::new(&Tracer::default()), &webhook);
        let tally = Tally { written: 2, dead_letters: 3, duplicates: 1 };
        counters.events(&tally);
        let outcomes = [
            Ok(Taken::Events(tally)),
            Err(Refused::BodyLate),
            Err(Refused::Signature(Refusal::SignatureWrong)),
            Err(Refused::Deferred(DeferredBecause::Unconfirmed)),
        ];
        for outcome in &outcomes {
            counters.count(outcome, Duration::from_millis(3), &Span::default());
        }
        let status = counters.status();
        assert!(status.last_event.is_some());
        let confirmations = Durations::default();
        confirmations.observe(Duration::from_millis(3));
        let expected = ReceiverStatus {
            instance: status.instance.clone(),
            uptime: status.uptime,
            confirmations: confirmations.counts(),
            last_event: status.last_event,
            accepted: 2,
            duplicates: 1,
            dead_letters: 3,
            rejected: [(RejectedBecause::Body, 1), (RejectedBecause::Signature, 1)].into(),
            deferred: [(DeferredBecause::Unconfirmed, 1)].into(),
            ..ReceiverStatus::default()
        };
        assert_eq!(status, expected);
    }
}
