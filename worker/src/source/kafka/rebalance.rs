//! The worker's part in a rebalance: what is under way is settled and committed before a partition goes.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sluice_crds::StartFrom;
use sluice_kafka::{
    consumer::{
        BaseConsumer, ClientContext, ClientError, CommitMode, Connections, Consumer as _, ConsumerContext, Membership,
        RDKafkaErrorCode, RDKafkaLogLevel, Rebalance, TopicPartitionList,
    },
    write_log_line,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::{
    GroupConsumer,
    lists::{commit, ids},
    start,
};
use crate::source::{Event, PartitionId};

/// Called by librdkafka on the thread that polls.
pub(super) struct Group {
    events: mpsc::Sender<Event>,
    start_from: StartFrom,
    /// How it stands with the connections.
    pub(super) connections: Connections,
    /// Whether another consumer has taken its place, and nothing that it tells is heard any more.
    retired: AtomicBool,
    /// Partitions that came, and of which Kafka did not say what is committed.
    unknown: Mutex<BTreeSet<PartitionId>>,
}

impl Group {
    pub(super) fn new(events: mpsc::Sender<Event>, start_from: StartFrom) -> Self {
        let (connections, retired) = (Connections::default(), AtomicBool::new(false));
        Self { events, start_from, connections, retired, unknown: Mutex::default() }
    }

    /// Partitions that came, and of which Kafka did not say what is committed. What the lock guards is whole after each statement.
    pub(super) fn unknown(&self) -> MutexGuard<'_, BTreeSet<PartitionId>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another consumer takes its place.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Writes down where to begin before the first record is read: librdkafka then finds it as the committed offset, and so
    /// does everybody who asks for the lag.
    fn assign(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        if let Err(error) = start::commit_beginnings(consumer, partitions, self.start_from) {
            // The partitions without an offset then report that they have none, and it is tried again. So do those of a new group
            // in which another member begins.
            warn!("Where to begin could not be written down yet: {error}");
        }
    }

    fn revoke(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        if consumer.assignment_lost() {
            warn!(partitions = partitions.count(), "Partitions lost: the group went on without this worker");
            self.tell(Event::Lost(ids(partitions)));
            return;
        }
        let (settled, settlement) = oneshot::channel();
        self.tell(Event::Revoked(ids(partitions), settled));
        let Ok(commits) = settlement.blocking_recv() else { return };
        if let Err(error) = commit(consumer, &commits, CommitMode::Sync) {
            warn!("Settled records could not be written down and will be delivered again: {error}");
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more while the worker ends.
        drop(self.events.blocking_send(event));
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        write_log_line(level, facility, line);
    }

    /// Each error is also what the poll returns, which is where it is judged; the end of a partition is none.
    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            debug!("Kafka consumer: {error}: {reason}");
            self.connections.failed(&error, reason);
        }
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            _ if self.retired.load(Ordering::Relaxed) => {}
            Rebalance::Assign(partitions) => self.assign(consumer, partitions),
            Rebalance::Revoke(partitions) => self.revoke(consumer, partitions),
            Rebalance::Error(error) => warn!("Rebalance failed: {error}"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let (Rebalance::Assign(partitions), false) = (rebalance, self.retired.load(Ordering::Relaxed)) {
            // One that was paused when it was taken away may still be.
            if let Err(error) = consumer.resume(partitions) {
                warn!("Partitions cannot be resumed: {error}");
            }
            // It is called after each rebalance, also where no partition comes.
            self.tell(Event::Rebalanced(Membership::of(consumer)));
            let committed = start::committed(consumer, partitions);
            if committed.is_none() {
                self.unknown().extend(ids(partitions));
            }
            self.tell(Event::Assigned(start::starts(partitions, &committed.unwrap_or_default())));
        }
    }
}
