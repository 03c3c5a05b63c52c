//! Writes each event once, and the events of a request in their order: reserved, written, then confirmed or released.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::future::{join_all, maybe_done};
use http::HeaderMap;
use jiff::Timestamp;
use sluice_crds::wire::DeferredBecause;
use sluice_kafka::{ErrorCode, OutgoingRecord, Position, SendError};
use sluice_pipeline::Rejection;
use sluice_telemetry::traces::{TRACE_HEADERS, TraceContext, messaging};
use tokio::time::timeout;

use super::{
    Receiver,
    answer::{Refused, Tally},
    body::Held,
    finish::Finish,
    judge::Judged,
};
use crate::{
    contract::Contract,
    deduplicate::{Admission, Fingerprint, Reservation},
    record::Received,
    remembered::Remembered,
    shared::{Answer, Claim},
};

/// What became of a write.
#[derive(Debug)]
enum Fate {
    Written,
    /// Certainly not written.
    Failed(Refused),
    /// Perhaps written, perhaps yet to be written.
    Unknown,
}

/// What to do with an event.
enum Turn {
    Write(Admitted),
    /// There is nothing to write, or not now.
    Over(Result<Once, Refused>),
}

/// An event that is to be written, and the right to do so.
struct Admitted {
    record: OutgoingRecord,
    reservation: Reservation,
    /// The right among all receivers, where they share anything.
    claim: Option<Claim>,
    /// What the event is when it is written.
    written: Once,
}

/// An event that is safe.
enum Once {
    Written,
    /// Its body is not as it must be.
    DeadLetter,
    /// It was written before.
    Duplicate,
}

/// How long Kafka is asked to write an event, whether its sender still waits or not. Only when that has an end does anybody know whether
/// it is there: a record that is given up while a broker stands still may be written when the broker goes on, and once more when it is sent
/// again. Kafka finds another leader in less; what is under way is held in memory meanwhile. No longer, as librdkafka's idempotent producer
/// was seen to stand still after such a broker went on, until the oldest record timed out.
pub(crate) const KAFKA_PATIENCE: Duration = Duration::from_secs(30);

/// How long a write may still be on its way in Kafka that nobody is behind any more: its receiver has died, or has given it up.
pub(crate) fn longest(patience: Duration) -> Duration {
    patience * 2 + Duration::from_secs(1)
}

impl Receiver {
    /// Writes the events of a request in their order, those that were not written before. All of them are safe only where nothing is
    /// refused; a sender that sends them again because some are not meets the others as duplicates. They are counted at the end.
    pub(super) fn write_all(
        self: &Arc<Self>,
        events: Vec<Judged>,
        headers: Arc<HeaderMap>,
        held: Arc<Held>,
        at: Timestamp,
    ) -> Finish<(Tally, Option<Refused>)> {
        let receiver = Arc::clone(self);
        // A sender that hangs up or is sent back ends its request, but not this: what becomes of the events is to be remembered.
        Finish::new(&self.late_writes, async move {
            let all = events.into_iter().map(|Judged { event, mismatch }| {
                let body = held.bytes.clone();
                (Received { event, headers: Arc::clone(&headers), body, at }, mismatch)
            });
            let (tally, first_refused) = sum(receiver.write_each(all.collect()).await);
            receiver.counters.events(&tally);
            (tally, first_refused)
        })
    }

    /// First all rights, then all writes: Redis answers in any order, and the producer is to get the events in theirs.
    async fn write_each(&self, mut events: Vec<(Received, Option<Rejection>)>) -> Vec<Result<Once, Refused>> {
        // Most requests have one, which needs no lists of what is to be done.
        if events.len() == 1 {
            let (event, mismatch) = events.remove(0);
            let turn = self.admit(event, mismatch).await;
            return vec![self.take_turn(turn).await];
        }
        let turns = events.into_iter().map(|(event, mismatch)| self.admit(event, mismatch));
        let turns = in_order(turns.collect()).await;
        in_order(turns.into_iter().map(|turn| self.take_turn(turn)).collect()).await
    }

    /// Asks for the right to write an event, here and then of the other receivers.
    async fn admit(&self, event: Received, mismatch: Option<Rejection>) -> Turn {
        let fingerprint = Fingerprint::of(&event.event.identity());
        let admission = self.remembered.reserve(fingerprint, Instant::now());
        let reservation = match admission {
            Admission::Reserved(reservation) => reservation,
            Admission::Duplicate => return Turn::Over(Ok(Once::Duplicate)),
            Admission::InProgress => return Turn::Over(Err(Refused::Deferred(DeferredBecause::InProgress))),
            Admission::Full => return Turn::Over(Err(Refused::Deferred(DeferredBecause::Busy))),
        };
        let answer = match &self.shared {
            Some(shared) => Some(shared.reserve(fingerprint).await),
            None => None,
        };
        let claim = match answer {
            None => None,
            Some(Answer::Write(claim)) => Some(claim),
            Some(Answer::Duplicate) => {
                self.remembered.confirm(&reservation, Instant::now());
                return Turn::Over(Ok(Once::Duplicate));
            }
            Some(Answer::InProgress) => {
                self.remembered.release(&reservation);
                return Turn::Over(Err(Refused::Deferred(DeferredBecause::InProgress)));
            }
        };
        let written = if mismatch.is_some() { Once::DeadLetter } else { Once::Written };
        Turn::Write(Admitted { record: self.record(event, mismatch.as_ref()), reservation, claim, written })
    }

    /// Writes an event whose turn it is; the other receivers know of it before the sender does.
    async fn take_turn(&self, turn: Turn) -> Result<Once, Refused> {
        let Admitted { record, reservation, claim, written } = match turn {
            Turn::Write(admitted) => admitted,
            Turn::Over(outcome) => return outcome,
        };
        let fate = self.write_claimed(record, claim.as_ref()).await;
        if let (Some(shared), Some(claim)) = (&self.shared, &claim) {
            match &fate {
                Fate::Written => {
                    let is_known = shared.confirm(claim).await;
                    if !is_known {
                        self.counters.unchecked();
                    }
                }
                Fate::Failed(_) => shared.release(claim).await,
                Fate::Unknown => shared.renew(claim).await,
            }
        }
        settle(&self.remembered, &reservation, &fate, Instant::now());
        match fate {
            Fate::Written => Ok(written),
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

    /// Writes a record. The other receivers are told for as long as it takes that it is on its way.
    async fn write_claimed(&self, record: OutgoingRecord, claim: Option<&Claim>) -> Fate {
        let (Some(shared), Some(claim)) = (&self.shared, claim) else { return self.write(record).await };
        let mut writing = pin!(self.write(record));
        loop {
            match timeout(shared.renew_every(), writing.as_mut()).await {
                Ok(fate) => return fate,
                Err(_) => shared.renew(claim).await,
            }
        }
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
        let topic = Arc::clone(&record.topic);
        match producer.send(record).await {
            Ok(Position { partition, offset }) => {
                span.written(partition, offset);
                self.last_refusal.forget();
                Fate::Written
            }
            Err(error) => {
                span.fail(|| error.name());
                self.log.write_failed(&error);
                if let SendError::NotWritten(error) = &error
                    && error.is_about_the_content()
                {
                    self.last_refusal.note(&topic, error, Instant::now());
                }
                fate(&error)
            }
        }
    }
}

/// What is remembered of an event after its write.
fn settle(remembered: &Remembered, reservation: &Reservation, fate: &Fate, now: Instant) {
    match fate {
        Fate::Written => remembered.confirm(reservation, now),
        Fate::Failed(_) => remembered.release(reservation),
        // The reservation stays until no part of the write can be on its way any more.
        Fate::Unknown => {}
    }
}

/// What became of the events, and why the first one was refused that was.
fn sum(outcomes: Vec<Result<Once, Refused>>) -> (Tally, Option<Refused>) {
    let (mut tally, mut first_refused) = (Tally::default(), None);
    for outcome in outcomes {
        match outcome {
            Ok(Once::Written) => tally.written += 1,
            Ok(Once::DeadLetter) => tally.dead_letters += 1,
            Ok(Once::Duplicate) => tally.duplicates += 1,
            Err(refused) => first_refused = first_refused.or(Some(refused)),
        }
    }
    (tally, first_refused)
}

/// Begins each before the next one, and gives what becomes of them in the same order.
async fn in_order<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut begun: Vec<_> = all.into_iter().map(|one| Box::pin(maybe_done(one))).collect();
    let once = poll_fn(|context| {
        for one in &mut begun {
            // What is done already keeps its outcome until it is taken.
            let _ = one.as_mut().poll(context);
        }
        Poll::Ready(())
    });
    once.await;
    join_all(begun.iter_mut().map(Pin::as_mut)).await;
    begun.into_iter().map(|mut one| one.as_mut().take_output().expect("it was waited for")).collect()
}

fn fate(error: &SendError) -> Fate {
    match error {
        SendError::Busy => Fate::Failed(Refused::Deferred(DeferredBecause::Busy)),
        // The topic takes no records of this size: sending again would not help.
        SendError::NotWritten(error) if error.code == ErrorCode::MESSAGE_TOO_LARGE => Fate::Failed(Refused::Size),
        // It would, once the topic is another one or the Webhook gives its events a key: the event is not the sender's to mend.
        SendError::NotWritten(error) if error.is_about_the_content() => {
            Fate::Failed(Refused::Deferred(DeferredBecause::Refused))
        }
        SendError::NotWritten(_) => Fate::Failed(Refused::Deferred(DeferredBecause::NotWritten)),
        SendError::Unknown(_) => Fate::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::yield_now;

    use super::*;
    use crate::{config::tests::endpoint, receive::limits, remembered::Total};

    #[test]
    fn an_event_of_unknown_fate_may_be_written_again_when_nothing_of_it_can_be_on_its_way() {
        const SOON: Duration = Duration::from_millis(1);
        let (endpoint, start) = (endpoint(), Instant::now());
        let after = |fate: Fate, waited: Duration| {
            let remembered = Remembered::new(limits(&endpoint), &Total::of(10));
            let event = Fingerprint::of("e-1");
            let Admission::Reserved(reservation) = remembered.reserve(event, start) else { panic!("it is new") };
            settle(&remembered, &reservation, &fate, start + waited.min(KAFKA_PATIENCE));
            match remembered.reserve(event, start + waited) {
                Admission::Reserved(_) => "write",
                Admission::InProgress => "in progress",
                Admission::Duplicate => "duplicate",
                Admission::Full => "full",
            }
        };
        let end = KAFKA_PATIENCE + longest(endpoint.patience);
        assert_eq!(end, Duration::from_secs(36));
        assert_eq!(after(Fate::Unknown, end.saturating_sub(SOON)), "in progress");
        assert_eq!(after(Fate::Unknown, end), "write");
        assert_eq!(after(Fate::Failed(Refused::Size), SOON), "write");
        assert_eq!(after(Fate::Written, endpoint.window), "duplicate");
    }

    #[tokio::test]
    async fn each_begins_before_the_next_one_whenever_it_ends() {
        let begun = Mutex::new(Vec::new());
        let one = |number: usize| {
            let begun = &begun;
            async move {
                begun.lock().unwrap().push(number);
                for _ in 0..(number * 7) % 5 {
                    yield_now().await;
                }
                number
            }
        };
        let all: Vec<usize> = (0..200).collect();
        assert_eq!(in_order(all.iter().copied().map(one).collect()).await, all);
        assert_eq!(*begun.lock().unwrap(), all);
        assert_eq!(in_order(vec![one(7)]).await, [7]);
    }
}
