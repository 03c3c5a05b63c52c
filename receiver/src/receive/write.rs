//! Writes each event once: reserved, written, then confirmed or released.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use sluice_crds::wire::DeferredBecause;
use sluice_kafka::{ErrorCode, OutgoingRecord, SendError};

use super::{
    Receiver,
    answer::{Refused, Taken},
    body::Held,
};
use crate::{
    deduplicate::{Admission, Fingerprint, Reservation},
    event::Event,
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
    /// It was written before.
    Duplicate,
}

/// How long a write may take at most: until it is given up, and as long again until nothing of it is on its way any more.
pub(crate) fn longest(patience: Duration) -> Duration {
    patience * 2 + Duration::from_secs(1)
}

impl Receiver {
    /// Writes the events of a request, those that were not written before. All of them are safe only when this is `Ok`; a
    /// sender that sends them again because some are not meets the others as duplicates.
    pub(super) async fn write_all(
        self: &Arc<Self>,
        events: Vec<Event>,
        headers: Arc<HeaderMap>,
        held: Held,
        at: Timestamp,
    ) -> Result<Taken, Refused> {
        let held = Arc::new(held);
        let writes = events.into_iter().map(|event| {
            let event = Received { event, headers: Arc::clone(&headers), body: held.bytes.clone(), at };
            self.write_once(event, Arc::clone(&held))
        });
        let (mut written, mut duplicates) = (0, 0);
        for outcome in join_all(writes).await {
            match outcome? {
                Once::Written => written += 1,
                Once::Duplicate => duplicates += 1,
            }
        }
        Ok(Taken::Events { written, duplicates })
    }

    /// Writes an event unless it was written before.
    async fn write_once(self: &Arc<Self>, event: Received, held: Arc<Held>) -> Result<Once, Refused> {
        let fingerprint = Fingerprint::of(&event.event.identity());
        let admission = self.deduplicator().reserve(fingerprint, Instant::now());
        let reservation = match admission {
            Admission::Reserved(reservation) => reservation,
            Admission::Duplicate => return Ok(Once::Duplicate),
            Admission::InProgress => return Err(Refused::Deferred(DeferredBecause::InProgress)),
            Admission::Full => return Err(Refused::Deferred(DeferredBecause::Busy)),
        };
        let record = self.endpoint.envelope.record(event);
        let receiver = Arc::clone(self);
        // A sender that hangs up ends its request, but not this task: the event's fate is to be remembered.
        let write = tokio::spawn(async move {
            let fate = receiver.write_shared(fingerprint, record).await;
            receiver.settle(&reservation, &fate);
            drop(held);
            fate
        });
        match write.await.unwrap_or(Fate::Unknown) {
            Fate::Written => Ok(Once::Written),
            Fate::Duplicate => Ok(Once::Duplicate),
            Fate::Failed(refused) => Err(refused),
            Fate::Unknown => Err(Refused::Deferred(DeferredBecause::Unconfirmed)),
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

    async fn write(&self, record: OutgoingRecord) -> Fate {
        let Some(producer) = self.link.borrow().producer.clone() else {
            return Fate::Failed(Refused::Deferred(DeferredBecause::NotWritten));
        };
        match producer.send(record).await {
            Ok(_) => Fate::Written,
            Err(error) => {
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
