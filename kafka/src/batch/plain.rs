//! Writes batches of records, and says which of them are not written.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use rdkafka::ClientConfig;
use sluice_crds::KafkaConnection;
use tokio::task;
use tracing::info;

use super::{
    PATIENCE,
    pace::Pace,
    queue::{Failure, NotQueued, Queue, lock},
    sharing::{Outcome, Sharing},
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
    next: Mutex<Next>,
}

/// What the next batch is written with.
struct Next {
    /// `None` where the last one is of no use any more.
    queue: Option<Queue>,
    /// How large its requests are. They become smaller where a topic takes none of their size, and stay so.
    bytes: usize,
}

/// librdkafka's own `batch.size`, which is a little less than what Kafka takes unless it is told otherwise.
const LARGEST_REQUEST: usize = 1_000_000;

impl BatchProducer {
    /// Makes a producer. It connects in the background.
    ///
    /// Errors: [`Error::File`] and [`Error::Settings`], as [`crate::client_config`].
    pub fn connect(connection: &KafkaConnection, compression: Compression) -> Result<Self, Error> {
        let config = super::config(connection, compression)?;
        let trouble = Arc::default();
        let queue = Queue::start(&Sharing::UpTo(LARGEST_REQUEST).configure(&config), &trouble)?;
        let next = Mutex::new(Next { queue: Some(queue), bytes: LARGEST_REQUEST });
        Ok(Self { shared: Arc::new(Shared { config, trouble, next }) })
    }

    /// Writes records in order and waits for all of them. A record that fails for a while may come behind the next ones of its
    /// partition: who wants the order writes again from the first that failed.
    ///
    /// What is refused in a request with others is written again with all that comes behind it in its topic, so that some of these are there
    /// twice, but the last of each key is the last. Where that is done one by one and takes too long, the rest is not written, and fails.
    pub async fn write(&self, records: Vec<OutgoingRecord>) -> Unwritten {
        // No broker answers, so what connections failed with is not forgotten.
        if records.is_empty() {
            return Unwritten::default();
        }
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
        let mut next = lock(&self.next);
        let deadline = Instant::now() + PATIENCE;
        let mut places: Vec<_> = (0..records.len()).collect();
        let mut sharing = Sharing::UpTo(next.bytes);
        let mut unwritten = Unwritten::default();
        loop {
            let outcome = self.attempt(&mut next, records, &places, sharing);
            places = outcome.again(&places, records);
            if !places.is_empty() {
                sharing = sharing.after(&outcome.in_company);
            }
            if let Sharing::UpTo(bytes) = sharing
                && bytes < next.bytes
            {
                info!(bytes, "Requests to Kafka become smaller: a topic takes none of their size");
                *next = Next { queue: None, bytes };
            }
            unwritten.refused.extend(outcome.refused);
            unwritten.failed = outcome.failed;
            if places.is_empty() {
                break;
            }
            if !unwritten.failed.is_empty() || Instant::now() >= deadline {
                // Who writes again from there on gets to know more.
                unwritten.failed.extend(outcome.in_company);
                break;
            }
        }
        unwritten.refused.sort_unstable_by_key(|(place, _)| *place);
        unwritten.failed.sort_unstable_by_key(|(place, _)| *place);
        unwritten
    }

    /// Sends the records at these places once.
    fn attempt(&self, next: &mut Next, records: &[OutgoingRecord], places: &[usize], sharing: Sharing) -> Outcome {
        let kept = match sharing {
            Sharing::UpTo(_) => next.queue.take(),
            Sharing::Alone => None,
        };
        let start = || Queue::start(&sharing.configure(&self.config), &self.trouble);
        let queue = match kept.map_or_else(start, Ok) {
            Ok(queue) => queue,
            Err(error) => {
                let failed = all(places.iter().copied(), &KafkaError::of_client(&error));
                return Outcome { failed, ..Outcome::default() };
            }
        };
        let failures = match sharing {
            Sharing::UpTo(_) => send(&queue, records, places),
            Sharing::Alone => send_alone(&queue, records, places),
        };
        let outcome = Outcome::of(failures, records, sharing);
        // What is still in the queue must not come behind what is written next.
        if let Sharing::UpTo(_) = sharing
            && outcome.failed.is_empty()
        {
            next.queue = Some(queue);
        }
        outcome
    }
}

/// These records, by their places, each with this error.
fn all(places: impl IntoIterator<Item = usize>, error: &KafkaError) -> Vec<Failure> {
    places.into_iter().map(|place| (place, error.clone())).collect()
}

/// Sends these records, and waits for their reports. Gives what is not written.
fn send(queue: &Queue, records: &[OutgoingRecord], places: &[usize]) -> Vec<Failure> {
    let deadline = Instant::now() + PATIENCE;
    for (before, place) in places.iter().enumerate() {
        let record = &records[*place];
        if let Err(NotQueued { error, .. }) = queue.send(*place, record, deadline)
            && !error.is_about(record)
        {
            let (tried, others) = places.split_at(before + 1);
            let mut failures = ended(queue, deadline, tried);
            failures.extend(all(others.iter().copied(), &error));
            return failures;
        }
    }
    ended(queue, deadline, places)
}

/// Sends these records, no more together than get their answers in time: all at once, those at the end would time out, and come again. One
/// that fails may come behind the next ones, so none of those is sent. Gives what is not written.
fn send_alone(queue: &Queue, records: &[OutgoingRecord], places: &[usize]) -> Vec<Failure> {
    let deadline = Instant::now() + PATIENCE;
    let (mut pace, mut left, mut failures) = (Pace::SLOWEST, places, Vec::<Failure>::new());
    while !left.is_empty() {
        let (next, later) = pace.split(left);
        let begin = Instant::now();
        failures.extend(send(queue, records, next));
        let failed = failures.iter().find(|(place, error)| !error.is_about(&records[*place]));
        let failed = failed.map(|(_, error)| error.clone());
        let is_late = || KafkaError::local(ErrorCode::TIMED_OUT, "the records before it took all the time");
        if let Some(error) = failed.or_else(|| (Instant::now() >= deadline).then(is_late)) {
            failures.extend(all(later.iter().copied(), &error));
            break;
        }
        (pace, left) = (pace.after(begin.elapsed()), later);
    }
    failures
}

/// What is not written of the records that were sent, once all of them are reported.
fn ended(queue: &Queue, deadline: Instant, sent: &[usize]) -> Vec<Failure> {
    match queue.flush(deadline + PATIENCE) {
        Ok(()) => queue.take_failures(),
        Err(error) => all(sent.iter().copied(), &error),
    }
}
