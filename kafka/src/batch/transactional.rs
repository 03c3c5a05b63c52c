//! Writes records and commits the offsets of a consumer group together, or neither (KIP-98, KIP-447).

use std::{
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError as ClientError, KafkaResult, RDKafkaError},
    producer::Producer as _,
};
use sluice_crds::KafkaConnection;
use tokio::{task, time::timeout};
use tracing::{debug, warn};

use super::{
    PATIENCE,
    queue::{Failure, NotQueued, Queue, left, lock},
};
use crate::{
    CommittedOffset, Compression, Error, ErrorCode, KafkaError, OutgoingRecord, TopicPartition,
    consumer::{Membership, offset_list},
    trouble::Trouble,
};

/// Writes transactions, one after the other.
///
/// Of all producers with one `id` only the youngest can write: another one is refused from then on, and what it had begun is undone.
#[derive(Clone)]
pub struct TransactionalProducer {
    shared: Arc<Shared>,
}

/// What is written together.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Written in this order.
    pub records: Vec<OutgoingRecord>,
    /// Committed for the group of the member who shows itself.
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// Why a transaction was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// This record cannot be written, by its place among the records, and never will as it is. Nothing was written.
    #[error("record {record} of the transaction: {error}")]
    Refused {
        /// Its place.
        record: usize,
        /// What is wrong with it.
        error: KafkaError,
    },
    /// Nothing was written. The same may be written later.
    #[error("nothing was written to Kafka: {error}")]
    Aborted {
        /// A record that failed, by its place, where one did.
        record: Option<usize>,
        /// Why.
        error: KafkaError,
    },
    /// Nobody can tell whether it was written but the committed offsets: everything is to be read anew from there.
    #[error("it is not known whether Kafka has the transaction: {0}")]
    Unknown(KafkaError),
}

struct Shared {
    config: ClientConfig,
    trouble: Arc<Trouble>,
    next: Mutex<Next>,
}

/// What the next transaction is written with.
struct Next {
    state: State,
    /// Transactions that were begun. What comes back from an earlier one than the last is too late.
    begun: u64,
}

/// Whether the producer can begin a transaction.
enum State {
    /// What earlier producers of its id have left is not undone yet.
    New(Queue),
    Ready(Queue),
    /// It had an error that no producer survives; another one takes its place.
    Dead,
}

/// How records are sent.
#[derive(Clone, Copy)]
enum Manner {
    Together,
    /// Each is confirmed before the next is sent, so that one that is refused has no others refused with it.
    OneByOne,
}

/// How an attempt ended that did not write its transaction.
enum Failed {
    /// It was undone.
    Undone(KafkaError),
    /// The producer is of no use any more. Whatever was not yet to be committed is undone with it.
    Dead { error: KafkaError, committing: bool },
}

/// Kafka undoes a transaction that takes longer than this, so that readers need not wait for a writer that died.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A transaction that takes longer is given up, and its producer with it: librdkafka waits for the coordinator of a group without looking at
/// its own timeout (confluentinc/librdkafka#5456). All else is bounded by shorter ones.
const LONGEST: Duration = Duration::from_mins(1);
/// What librdkafka says of records that an abort takes from its queue, or from requests under way: `_PURGE_QUEUE`, `_PURGE_INFLIGHT`.
const THROWN_AWAY: [i32; 2] = [-152, -151];

impl TransactionalProducer {
    /// Makes a producer. It connects with its first transaction.
    ///
    /// Errors: [`Error::File`] and [`Error::Settings`], as [`crate::client_config`].
    pub fn connect(connection: &KafkaConnection, id: &str, compression: Compression) -> Result<Self, Error> {
        let mut config = super::config(connection, compression)?;
        config.set("transactional.id", id).set("transaction.timeout.ms", TIMEOUT.as_millis().to_string());
        let trouble = Arc::default();
        let state = State::New(Queue::start(&config, &trouble)?);
        let shared = Shared { config, trouble, next: Mutex::new(Next { state, begun: 0 }) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes the records and commits the offsets, or does neither. Nobody who reads committed records sees a part of it.
    pub async fn write(&self, transaction: Transaction, member: Membership) -> Result<(), TransactionError> {
        let shared = Arc::clone(&self.shared);
        let writing = task::spawn_blocking(move || shared.write(&transaction, &member));
        let unknown = |code, message| Err(TransactionError::Unknown(KafkaError::local(code, message)));
        match timeout(LONGEST, writing).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => unknown(ErrorCode::DESTROYED, "the process ends".to_owned()),
            // The next producer of the id undoes what this one has begun.
            Err(_) => unknown(ErrorCode::TIMED_OUT, format!("it did not end within {LONGEST:?}")),
        }
    }
}

impl Shared {
    /// Takes its time: librdkafka's calls wait, and one of them perhaps for ever. What it takes is nobody else's meanwhile.
    fn write(&self, transaction: &Transaction, member: &Membership) -> Result<(), TransactionError> {
        let (state, number) = {
            let mut next = lock(&self.next);
            next.begun += 1;
            (mem::replace(&mut next.state, State::Dead), next.begun)
        };
        let (state, written) = self.write_with(state, transaction, member);
        let mut next = lock(&self.next);
        if next.begun == number {
            next.state = state;
        }
        written
    }

    /// Gives what the next transaction is written with, too. A producer that had a record refused is not used again: the next transaction of
    /// it may fail, as its sequence numbers have a gap.
    fn write_with(
        &self,
        state: State,
        transaction: &Transaction,
        member: &Membership,
    ) -> (State, Result<(), TransactionError>) {
        let begun = match state {
            State::Ready(queue) => Ok(queue),
            State::New(queue) => self.begin(queue),
            State::Dead => self.start(),
        };
        let mut queue = match begun {
            Ok(queue) => queue,
            Err(error) => return (State::Dead, Err(TransactionError::Aborted { record: None, error })),
        };
        let mut manner = Manner::Together;
        loop {
            let failed = match (Attempt { queue: &queue, transaction, member }).write(manner) {
                Ok(()) => return (State::Ready(queue), Ok(())),
                Err(failed) => failed,
            };
            let mut refused = queue.take_failures();
            let is_cause = |(_, error): &&Failure| !THROWN_AWAY.contains(&error.code.number());
            let record = refused.iter().find(is_cause).map(|(place, _)| *place);
            refused.retain(|(place, error)| error.is_about(&transaction.records[*place]));
            let (state, error) = match (failed, refused.pop(), manner) {
                (Failed::Dead { error, committing: true }, ..) => (State::Dead, TransactionError::Unknown(error)),
                (Failed::Dead { error, committing: false }, ..) => {
                    (State::Dead, TransactionError::Aborted { record, error })
                }
                (Failed::Undone(_), Some(_), Manner::Together) if !refused.is_empty() => match self.start() {
                    Ok(another) => {
                        (queue, manner) = (another, Manner::OneByOne);
                        continue;
                    }
                    Err(error) => (State::Dead, TransactionError::Aborted { record: None, error }),
                },
                (Failed::Undone(_), Some((record, error)), _) => {
                    (State::Dead, TransactionError::Refused { record, error })
                }
                (Failed::Undone(error), None, _) => (State::Ready(queue), TransactionError::Aborted { record, error }),
            };
            return (state, Err(error));
        }
    }

    fn start(&self) -> Result<Queue, KafkaError> {
        self.begin(Queue::start(&self.config, &self.trouble).map_err(|error| KafkaError::of_client(&error))?)
    }

    /// Connects, and undoes what an earlier producer of this id has left.
    fn begin(&self, queue: Queue) -> Result<Queue, KafkaError> {
        let begun = queue.producer.init_transactions(PATIENCE);
        begun.map_err(|error| KafkaError::of_client(&error).with_cause(self.trouble.latest()))?;
        Ok(queue)
    }
}

/// One attempt to write a transaction.
struct Attempt<'a> {
    queue: &'a Queue,
    transaction: &'a Transaction,
    member: &'a Membership,
}

impl Attempt<'_> {
    fn write(&self, manner: Manner) -> Result<(), Failed> {
        drop(self.queue.take_failures());
        let begun = self.queue.producer.begin_transaction();
        begun.map_err(|error| Failed::Dead { error: KafkaError::of_client(&error), committing: false })?;
        let deadline = Instant::now() + PATIENCE;
        self.prepare(manner, deadline).and_then(|()| self.commit(deadline)).map_err(|ended| self.undo(ended))
    }

    fn prepare(&self, manner: Manner, deadline: Instant) -> Result<(), Ended> {
        for (place, record) in self.transaction.records.iter().enumerate() {
            self.queue.send(place, record, deadline).map_err(Ended::queueing)?;
            if let Manner::OneByOne = manner {
                self.queue.flush(deadline).map_err(Ended::before_commit)?;
            }
            if let Some(error) = self.queue.first_failure() {
                return Err(Ended::before_commit(error));
            }
        }
        if self.transaction.offsets.is_empty() {
            return Ok(());
        }
        let offsets = offset_list(self.transaction.offsets.iter().map(|(place, committed)| {
            (place.topic.as_str(), place.partition, committed.offset, committed.metadata.as_str())
        }));
        let send = || self.queue.producer.send_offsets_to_transaction(&offsets, self.member.shown(), left(deadline));
        until(deadline, send).map_err(|error| Ended::of(&error, false))
    }

    /// Only an answer tells whether it is committed: it is asked again for as long as Kafka itself may wait.
    fn commit(&self, deadline: Instant) -> Result<(), Ended> {
        // librdkafka does it too, but rdkafka before it, in its own way.
        self.queue.flush(deadline + PATIENCE).map_err(Ended::before_commit)?;
        // Also one that librdkafka takes for written.
        if let Some(error) = self.queue.first_failure() {
            return Err(Ended::before_commit(error));
        }
        let commit = || self.queue.producer.commit_transaction(PATIENCE);
        until(deadline + TIMEOUT, commit).map_err(|error| Ended::of(&error, true))
    }

    /// What began is undone, where the producer still can.
    fn undo(&self, ended: Ended) -> Failed {
        let Ended { error, committing, dead } = ended;
        if dead {
            return Failed::Dead { error, committing };
        }
        match until(Instant::now() + PATIENCE, || self.queue.producer.abort_transaction(PATIENCE)) {
            Ok(()) => Failed::Undone(error),
            Err(undoing) => {
                warn!("A transaction could not be undone, which Kafka does by itself in {TIMEOUT:?}: {undoing}");
                Failed::Dead { error, committing }
            }
        }
    }
}

/// How a part of a transaction ended that failed.
struct Ended {
    error: KafkaError,
    /// Whether Kafka may have committed it.
    committing: bool,
    /// Whether the producer can do nothing more.
    dead: bool,
}

impl Ended {
    fn before_commit(error: KafkaError) -> Self {
        Self { error, committing: false, dead: false }
    }

    fn queueing(NotQueued { error, dead }: NotQueued) -> Self {
        Self { error, committing: false, dead }
    }

    /// An error that asks for an abort says that nothing was committed.
    fn of(error: &ClientError, committing: bool) -> Self {
        let told = told(error);
        let dead = told.is_some_and(RDKafkaError::is_fatal);
        let undone = told.is_some_and(RDKafkaError::txn_requires_abort);
        Self {
            error: KafkaError::of_client(error),
            committing: committing && !undone,
            dead: dead || committing && !undone,
        }
    }
}

/// Repeats what librdkafka says is worth repeating.
fn until(deadline: Instant, act: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    loop {
        match act() {
            Err(error) if told(&error).is_some_and(RDKafkaError::is_retriable) && Instant::now() < deadline => {
                debug!("Transaction: {error}");
            }
            outcome => return outcome,
        }
    }
}

/// What librdkafka says of an error of a transaction.
fn told(error: &ClientError) -> Option<&RDKafkaError> {
    if let ClientError::Transaction(told) = error { Some(told) } else { None }
}
