//! What is counted: every event or refused request once, by what became of it.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::Timestamp;

use prometheus_client::{
    encoding::{EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, histogram::exponential_buckets},
    registry::Registry,
};
use sluice_crds::{
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

/// The counts since the start.
#[derive(Debug)]
pub(crate) struct Counters {
    accepted: Counter,
    duplicates: Counter,
    dead_letters: Counter,
    challenges: Counter,
    unchecked: Counter,
    rejected: ByCause<RejectedBecause>,
    deferred: ByCause<DeferredBecause>,
    refusals: ByCause<Refusal>,
    confirmation: DurationHistogram,
    /// The same for the operator.
    confirmations: Durations,
    /// In seconds since 1970; 0 before the first.
    last_event: AtomicI64,
}

/// One count for each cause.
type ByCause<T> = Family<[(&'static str, Cause<T>); 1], Counter>;

/// A value of the label `reason`: the name of an enum's variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cause<T>(T);

impl<T: fmt::Debug> EncodeLabelValue for Cause<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_fmt(format_args!("{:?}", self.0))
    }
}

fn label<T>(because: T) -> [(&'static str, Cause<T>); 1] {
    [("reason", Cause(because))]
}

impl Counters {
    /// All at 0. Times name traces where this tracer makes any.
    pub(crate) fn new(tracer: &Tracer) -> Self {
        // 1 ms to 8 s: from a broker next door to the longest patience that makes sense.
        let confirmation = DurationHistogram::new(exponential_buckets(0.001, 2.0, 14), tracer);
        let counters = Self {
            accepted: Counter::default(),
            duplicates: Counter::default(),
            dead_letters: Counter::default(),
            challenges: Counter::default(),
            unchecked: Counter::default(),
            rejected: Family::default(),
            deferred: Family::default(),
            refusals: Family::default(),
            confirmation,
            confirmations: Durations::default(),
            last_event: AtomicI64::new(0),
        };
        // A series that begins with 0 has a rate from its first event on.
        for because in RejectedBecause::ALL {
            drop(counters.rejected.get_or_create(&label(because)));
        }
        for because in DeferredBecause::ALL {
            drop(counters.deferred.get_or_create(&label(because)));
        }
        for refusal in Refusal::ALL {
            drop(counters.refusals.get_or_create(&label(refusal)));
        }
        counters
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

    /// Counts an event that Redis was not asked about.
    pub(crate) fn unchecked(&self) {
        self.unchecked.inc();
    }

    fn count_refused(&self, refused: &Refused) {
        match refused.because() {
            Because::Rejected(because) => self.rejected.get_or_create(&label(because)).inc(),
            Because::Deferred(because) => self.deferred.get_or_create(&label(because)).inc(),
        };
        if let Refused::Signature(refusal) = refused {
            self.refusals.get_or_create(&label(*refusal)).inc();
        }
    }

    /// The counts as the operator reads them.
    pub(super) fn status(&self) -> ReceiverStatus {
        let rejected =
            RejectedBecause::ALL.map(|because| (because, self.rejected.get_or_create(&label(because)).get()));
        let deferred =
            DeferredBecause::ALL.map(|because| (because, self.deferred.get_or_create(&label(because)).get()));
        ReceiverStatus {
            accepted: self.accepted.get(),
            duplicates: self.duplicates.get(),
            dead_letters: self.dead_letters.get(),
            unchecked: self.unchecked.get(),
            confirmations: self.confirmations.counts(),
            last_event: Some(self.last_event.load(Ordering::Relaxed)).filter(|second| *second > 0),
            rejected: rejected.into_iter().filter(|(_, count)| *count > 0).collect(),
            deferred: deferred.into_iter().filter(|(_, count)| *count > 0).collect(),
            ..ReceiverStatus::default()
        }
    }

    /// Makes the counts part of what Prometheus reads.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self {
            accepted,
            duplicates,
            dead_letters,
            challenges,
            unchecked,
            rejected,
            deferred,
            refusals,
            confirmation,
            ..
        } = self;
        registry.define(&defined::EVENTS_ACCEPTED, accepted.clone());
        registry.define(&defined::EVENTS_DUPLICATE, duplicates.clone());
        registry.define(&defined::EVENTS_UNCHECKED, unchecked.clone());
        registry.define(&defined::DEAD_LETTERS, dead_letters.clone());
        registry.define(&defined::CHALLENGES_ANSWERED, challenges.clone());
        registry.define(&defined::REQUESTS_REJECTED, rejected.clone());
        registry.define(&defined::REQUESTS_DEFERRED, deferred.clone());
        registry.define(&defined::SIGNATURES_REFUSED, refusals.clone());
        registry.define(&defined::CONFIRMATION_DURATION, confirmation.clone());
    }
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
    fn every_request_is_counted_once_by_what_became_of_it() {
        let counters = Counters::new(&Tracer::default());
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
