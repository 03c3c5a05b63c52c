//! Writes each event once: reserved, written, then confirmed or released.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use sluice_crds::wire::DeferredBecause;
use sluice_kafka::{ErrorCode, OutgoingRecord, Position, SendError};
use sluice_pipeline::Rejection;
use sluice_telemetry::traces::{TRACE_HEADERS, TraceContext, messaging};

use super::{
    Judged, Receiver,
    answer::{Refused, Tally},
    body::Held,
};
use crate::{
    contract::Contract,
    deduplicate::{Admission, Fingerprint, Reservation},
    record::Received,
    shared::Answer,
};

/// What became of a write.
#[derive(Debug)]
enum Fate {
    Written,
    /// It was written before, by this receiver or another one.
    Duplicate,
    /// Certainly not written.
    Failed(Refused),
    /// Perhaps written, perhaps yet to be written.
    Unknown,
}

/// An event that is safe.
enum Once {
    Written,
    /// Its body is not as it must be.
    DeadLetter,
    /// It was written before.
    Duplicate,
}

/// How long a write may take at most: until it is given up, and as long again until nothing of it is on its way any more.
pub(crate) fn longest(patience: Duration) -> Duration {
    patience * 2 + Duration::from_secs(1)
}

impl Receiver {
    /// Writes the events of a request, those that were not written before. All of them are safe only where nothing is refused; a
    /// sender that sends them again because some are not meets the others as duplicates.
    pub(super) async fn write_all(
        self: &Arc<Self>,
        events: Vec<Judged>,
        headers: Arc<HeaderMap>,
        held: Held,
        at: Timestamp,
    ) -> (Tally, Option<Refused>) {
        let held = Arc::new(held);
        let writes = events.into_iter().map(|Judged { event, mismatch }| {
            let event = Received { event, headers: Arc::clone(&headers), body: held.bytes.clone(), at };
            self.write_once(event, mismatch, Arc::clone(&held))
        });
        let (mut tally, mut first_refused) = (Tally::default(), None);
        for outcome in join_all(writes).await {
            match outcome {
                Ok(Once::Written) => tally.written += 1,
                Ok(Once::DeadLetter) => tally.dead_letters += 1,
                Ok(Once::Duplicate) => tally.duplicates += 1,
                Err(refused) => first_refused = first_refused.or(Some(refused)),
            }
        }
        (tally, first_refused)
    }

    /// Writes an event unless it was written before.
    async fn write_once(
        self: &Arc<Self>,
        event: Received,
        mismatch: Option<Rejection>,
        held: Arc<Held>,
    ) -> Result<Once, Refused> {
        let fingerprint = Fingerprint::of(&event.event.identity());
        let admission = self.deduplicator().reserve(fingerprint, Instant::now());
        let reservation = match admission {
            Admission::Reserved(reservation) => reservation,
            Admission::Duplicate => return Ok(Once::Duplicate),
            Admission::InProgress => return Err(Refused::Deferred(DeferredBecause::InProgress)),
            Admission::Full => return Err(Refused::Deferred(DeferredBecause::Busy)),
        };
        let written = if mismatch.is_some() { Once::DeadLetter } else { Once::Written };
        let record = self.record(event, mismatch.as_ref());
        let receiver = Arc::clone(self);
        // A sender that hangs up ends its request, but not this task: the event's fate is to be remembered.
        let write = tokio::spawn(async move {
            let fate = receiver.write_shared(fingerprint, record).await;
            receiver.settle(&reservation, &fate);
            drop(held);
            fate
        });
        match write.await.unwrap_or(Fate::Unknown) {
            Fate::Written => Ok(written),
            Fate::Duplicate => Ok(Once::Duplicate),
            Fate::Failed(refused) => Err(refused),
            Fate::Unknown => Err(Refused::Deferred(DeferredBecause::Unconfirmed)),
        }
    }

    fn record(&self, event: Received, mismatch: Option<&Rejection>) -> OutgoingRecord {
        let at = event.at;
        let record = self.endpoint.envelope.record(event);
        let dead_letters = self.endpoint.contract.as_ref().and_then(Contract::dead_letters);
        match (mismatch, dead_letters) {
            (Some(mismatch), Some(dead_letters)) => dead_letters.letter(record, mismatch, at),
            _ => record,
        }
    }

    /// Writes an event unless another receiver did; the others know of it before the sender does.
    async fn write_shared(&self, fingerprint: Fingerprint, record: OutgoingRecord) -> Fate {
        let Some(shared) = &self.shared else { return self.write(record).await };
        let claim = match shared.reserve(fingerprint).await {
            Answer::Reserved(claim) => claim,
            Answer::InProgress => return Fate::Failed(Refused::Deferred(DeferredBecause::InProgress)),
            Answer::Duplicate => return Fate::Duplicate,
            Answer::Nothing => {
                self.counters.unchecked();
                return self.write(record).await;
            }
        };
        let fate = self.write(record).await;
        match &fate {
            Fate::Written | Fate::Duplicate => shared.confirm(&claim).await,
            Fate::Failed(_) => shared.release(&claim).await,
            Fate::Unknown => {}
        }
        fate
    }

    /// The record's parent in its trace is the request until here, and this write from here on.
    async fn write(&self, mut record: OutgoingRecord) -> Fate {
        let Some(producer) = self.link.borrow().producer.clone() else {
            return Fate::Failed(Refused::Deferred(DeferredBecause::NotWritten));
        };
        let mut span = self.tracer.begin(|| {
            let parent = TraceContext::read(|name| record.headers_named(name));
            messaging::send(&record.topic).child_of(parent)
        });
        if let Some(context) = span.context() {
            record.replace_headers(&TRACE_HEADERS, context.headers());
        }
        match producer.send(record).await {
            Ok(Position { partition, offset }) => {
                span.written(partition, offset);
                Fate::Written
            }
            Err(error) => {
                span.fail(&error.name());
                self.log.write_failed(&error);
                fate(&error)
            }
        }
    }

    fn settle(&self, reservation: &Reservation, fate: &Fate) {
        match fate {
            Fate::Written | Fate::Duplicate => self.deduplicator().confirm(reservation, Instant::now()),
            Fate::Failed(_) => self.deduplicator().release(reservation),
            // The reservation stays until no part of the write can be on its way any more.
            Fate::Unknown => {}
        }
    }
}

fn fate(error: &SendError) -> Fate {
    match error {
        SendError::Busy => Fate::Failed(Refused::Deferred(DeferredBecause::Busy)),
        // The topic takes no records of this size: sending again would not help.
        SendError::NotWritten(error) if error.code == ErrorCode::MESSAGE_TOO_LARGE => Fate::Failed(Refused::Size),
        SendError::NotWritten(_) => Fate::Failed(Refused::Deferred(DeferredBecause::NotWritten)),
        SendError::Unknown(_) => Fate::Unknown,
    }
}
