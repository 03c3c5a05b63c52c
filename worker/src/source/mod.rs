//! What a worker reads from. A source runs on its own and speaks by two channels: it sends [`Event`]s and obeys
//! [`Command`]s. A new kind of source is a file here, a variant of `SourceConfig` and an arm of [`start`].

mod kafka;

use std::{fmt, sync::Arc, time::Duration};

use sluice_crds::wire::SourceConfig;
use sluice_kafka::consumer::Membership;
use sluice_pipeline::Record;
use tokio::sync::{mpsc, oneshot};

use crate::status::Status;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionId {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A partition and an offset in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: PartitionId,
    pub(crate) offset: i64,
}

/// How far a partition is settled: everything before the offset, and what the note says of the records after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: PartitionId,
    pub(crate) offset: i64,
    pub(crate) note: String,
}

/// A partition that is ours from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) partition: PartitionId,
    /// What was last committed, where it is known and the partition is read from there.
    pub(crate) committed: Option<Commit>,
}

/// Records of one partition, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) partition: PartitionId,
    pub(crate) records: Vec<Record>,
}

/// What a source tells, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// The group has been rebalanced and takes commits again; those of the time before may be lost. It comes before the partitions, with what
    /// the worker shows as a member from then on, unless it has lost its place again.
    Rebalanced(Option<Membership>),
    /// These partitions are ours from now on.
    Assigned(Vec<Start>),
    /// Records of an assigned partition.
    Records(Batch),
    /// All records before these positions were told.
    Reached(Vec<Position>),
    /// These partitions go to somebody else once the answer is there: how far they are settled. The source waits for it at
    /// most a little longer than [`DRAIN`].
    Revoked(Vec<PartitionId>, oneshot::Sender<Vec<Commit>>),
    /// These partitions are somebody else's already: nothing about them may be committed.
    Lost(Vec<PartitionId>),
    /// A partition cannot be read where it was. The source waits for the answer.
    Misplaced(Extent, oneshot::Sender<Place>),
}

/// What there is of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) partition: PartitionId,
    /// The offset of its first record.
    pub(crate) low: i64,
    /// The offset after its last record.
    pub(crate) high: i64,
    /// What is committed.
    pub(crate) committed: Option<Commit>,
}

/// Where a partition is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    From {
        offset: i64,
        paused: bool,
    },
    /// It ends before what was read of it, which has to be settled first.
    Later,
    /// It is not ours.
    Nowhere,
}

/// What a source is told to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Read no more from a partition until it is resumed.
    Pause(PartitionId),
    /// Read on.
    Resume(PartitionId),
    /// Write down how far partitions are settled.
    Commit(Vec<Commit>),
    /// Give all partitions back, and begin anew with what is committed.
    Rejoin,
    /// Give all partitions back, in order, and end.
    Stop,
}

/// The source ended although nobody told it to.
#[derive(Debug, thiserror::Error)]
#[error("the source ended by itself, as after a panic of its thread; what is not settled is read again")]
pub(crate) struct Died;

/// How long records under way may take to be settled when their partition is revoked.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// How long an engine that has no room for more records leaves them with the source, before it has partitions paused.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// Batches of records that may wait for the engine.
const EVENTS: usize = 16;

/// A source has a thread of its own, which waits for commands with a deadline.
pub(crate) type CommandSender = std::sync::mpsc::Sender<Command>;
pub(crate) type CommandReceiver = std::sync::mpsc::Receiver<Command>;

/// Both ends of the channels to a source that runs.
pub(crate) struct Source {
    /// Ends when the source has ended.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Never blocks: commands are few, at most a handful for each partition and commit.
    pub(crate) commands: CommandSender,
}

/// The ends of the channels that a source holds.
pub(crate) struct SourceEnd {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) commands: CommandReceiver,
}

/// The channels between an engine and a source.
pub(crate) fn channels() -> (Source, SourceEnd) {
    let (event_sender, event_receiver) = mpsc::channel(EVENTS);
    let (command_sender, command_receiver) = std::sync::mpsc::channel();
    let source = Source { events: event_receiver, commands: command_sender };
    (source, SourceEnd { events: event_sender, commands: command_receiver })
}

/// Starts the source of this configuration, which fetches so much ahead of what is told, and as much again while that is on its way.
/// Errors: it can never work, whatever the world does.
pub(crate) fn start(config: &SourceConfig, prefetch_kib: u32, status: &Arc<Status>) -> anyhow::Result<Source> {
    let (source, end) = channels();
    match config {
        SourceConfig::Kafka { connection, topics, group, start_from } => {
            let settings = kafka::Settings {
                connection: connection.clone(),
                topics: topics.clone(),
                group: group.clone(),
                start_from: *start_from,
                prefetch_kib,
            };
            kafka::start(settings, end, Arc::clone(status))?;
        }
    }
    Ok(source)
}
