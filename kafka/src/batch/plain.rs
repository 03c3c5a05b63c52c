//! Writes batches of records, and says which of them are not written.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Instant,
};

use rdkafka::ClientConfig;
use sluice_crds::KafkaConnection;
use tokio::task;

use super::{
    PATIENCE,
    queue::{Failure, NotQueued, Queue, lock},
};
use crate::{Compression, Error, ErrorCode, KafkaError, OutgoingRecord, trouble::Trouble};

/// Writes batches, one after the other, each confirmed by all in-sync replicas.
#[derive(Clone)]
pub struct BatchProducer {
    shared: Arc<Shared>,
}

/// What is not written of a batch; all else is. Both lists go by the places of the records, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Records that cannot be written, and never will as they are.
    pub refused: Vec<(usize, KafkaError)>,
    /// Records that may be written later; some of them may be there already.
    pub failed: Vec<(usize, KafkaError)>,
}

struct Shared {
    config: ClientConfig,
    trouble: Arc<Trouble>,
    /// `None` after an error that a producer does not survive.
    queue: Mutex<Option<Queue>>,
}

impl BatchProducer {
    /// Makes a producer. It connects in the background.
    ///
    /// Errors: [`Error::File`] and [`Error::Settings`], as [`crate::client_config`].
    pub fn connect(connection: &KafkaConnection, compression: Compression) -> Result<Self, Error> {
        let config = super::config(connection, compression)?;
        let trouble = Arc::default();
        let queue = Mutex::new(Some(Queue::start(&config, &trouble)?));
        Ok(Self { shared: Arc::new(Shared { config, trouble, queue }) })
    }

    /// Writes records in order and waits for all of them. A record that fails for a while may come behind the next ones of its
    /// partition: who wants the order writes again from the first that failed.
    pub async fn write(&self, records: Vec<OutgoingRecord>) -> Unwritten {
        let shared = Arc::clone(&self.shared);
        let number = records.len();
        let written = task::spawn_blocking(move || shared.write(&records)).await;
        written.unwrap_or_else(|_| Unwritten {
            failed: all(0..number, &KafkaError::local(ErrorCode::DESTROYED, "the process ends")),
            ..Unwritten::default()
        })
    }
}

impl Shared {
    /// Takes its time: librdkafka's calls wait.
    fn write(&self, records: &[OutgoingRecord]) -> Unwritten {
        let mut kept = lock(&self.queue);
        let queue = match kept.take().map_or_else(|| Queue::start(&self.config, &self.trouble), Ok) {
            Ok(queue) => queue,
            Err(error) => {
                let failed = all(0..records.len(), &KafkaError::of_client(&error));
                return Unwritten { failed, ..Unwritten::default() };
            }
        };
        let (failures, dead) = together(&queue, records);
        let (mut refused, mut failed): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|(_, error)| error.is_about_the_record());
        if !dead && !refused.is_empty() {
            // Kafka refuses a request as a whole, for one record in it or for all of them together: alone each has its own answer.
            let again = one_by_one(&queue, records, &refused);
            let (still, later): (Vec<_>, Vec<_>) =
                again.into_iter().partition(|(_, error)| error.is_about_the_record());
            refused = still;
            failed.extend(later);
        }
        refused.sort_unstable_by_key(|(place, _)| *place);
        failed.sort_unstable_by_key(|(place, _)| *place);
        // What is still in the queue must not come behind what is written next.
        *kept = (!dead && failed.is_empty()).then_some(queue);
        Unwritten { refused, failed }
    }
}

/// These records, by their places, each with this error.
fn all(places: Range<usize>, error: &KafkaError) -> Vec<Failure> {
    places.map(|place| (place, error.clone())).collect()
}

/// Sends all records, and waits for their reports. Gives what is not written, and whether the producer can do nothing more.
fn together(queue: &Queue, records: &[OutgoingRecord]) -> (Vec<Failure>, bool) {
    let deadline = Instant::now() + PATIENCE;
    for (place, record) in records.iter().enumerate() {
        if let Err(NotQueued { error, dead }) = queue.send(place, record, deadline)
            && (dead || !error.is_about_the_record())
        {
            let mut failures = ended(queue, deadline, 0..place);
            failures.extend(all(place + 1..records.len(), &error));
            return (failures, dead);
        }
    }
    (ended(queue, deadline, 0..records.len()), false)
}

/// What is not written of the records that were sent, once all of them are reported.
fn ended(queue: &Queue, deadline: Instant, sent: Range<usize>) -> Vec<Failure> {
    match queue.flush(deadline + PATIENCE) {
        Ok(()) => queue.take_failures(),
        Err(error) => all(sent, &error),
    }
}

fn one_by_one(queue: &Queue, records: &[OutgoingRecord], refused: &[Failure]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (place, _) in refused {
        let deadline = Instant::now() + PATIENCE;
        // Its failure is among those that are taken.
        drop(queue.send(*place, &records[*place], deadline));
        failures.extend(ended(queue, deadline, *place..place + 1));
    }
    failures
}
