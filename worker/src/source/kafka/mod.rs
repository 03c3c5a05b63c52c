//! Reads Kafka topics as a member of a consumer group, on a thread of its own.
//!
//! - `rebalance`: partitions come and go.
//! - `start`: where to begin in a partition without a committed offset, or with one that no longer exists.
//! - `lists`: librdkafka's lists of partitions, and what is done with them.
//! - `probe`: what keeps the consumer from working, in words.
//! - `record`: librdkafka's messages as records.

mod lists;
mod probe;
mod rebalance;
mod record;
mod start;

use std::{
    collections::BTreeSet,
    slice,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sluice_crds::{KafkaConnection, StartFrom};
use sluice_kafka::{
    consumer::{
        BaseConsumer, ClientError, Consumer as _, ConsumerSettings, FromClientConfigAndContext as _, Membership,
        Offset, RDKafkaErrorCode, consumer_config,
    },
    credentials_fingerprint,
};
use sluice_pipeline::Record;
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use self::{
    lists::{commit_held, hand_out, id, ids, list},
    rebalance::Group,
    record::Topics,
};
use super::{Batch, Command, Event, Extent, PartitionId, Place, Position, SourceEnd};
use crate::status::{Area, Status};

/// What is read.
pub(super) struct Settings {
    pub(super) connection: KafkaConnection,
    pub(super) topics: Vec<String>,
    pub(super) group: String,
    pub(super) start_from: StartFrom,
    pub(super) prefetch_kib: u32,
}

/// librdkafka's consumer with our part in its rebalances.
type GroupConsumer = BaseConsumer<Group>;

/// Records that are told at once, at most, and their bytes, about.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 512 * 1024;
/// How long a command may wait while no record comes.
const POLL: Duration = Duration::from_millis(50);
/// How often it is looked whether trouble is over.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a consumer may take to become a member of its group. librdkafka can wait for ever for commits that were under way when it lost
/// its coordinator, and was seen not to find a broker that had come back.
const ABSENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether credentials were rotated, and how often those are tried that Kafka did not take: the reading waits for
/// its answer.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
const RENEWAL_RETRY: Duration = Duration::from_secs(30);

/// How long the end of a rebalance is waited for before the group is left: it lasts until a member that was killed is missed, 10 s, and a little
/// more.
const LEAVING: Duration = Duration::from_secs(12);

/// How long librdkafka's own thread may take for a seek, which asks no broker.
const SEEK_PATIENCE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends after [`Command::Stop`], or when nobody listens any more.
pub(super) fn start(settings: Settings, end: SourceEnd, status: Arc<Status>) -> anyhow::Result<()> {
    let (topics, misplaced) = (Topics::default(), BTreeSet::new());
    let reader = Reader { settings, end, status, topics, misplaced, credentials: 0 };
    thread::Builder::new().name("kafka-source".into()).spawn(move || reader.run()).context("no thread for Kafka")?;
    Ok(())
}

struct Reader {
    settings: Settings,
    end: SourceEnd,
    status: Arc<Status>,
    topics: Topics,
    /// Partitions that may have to be handed out anew, as librdkafka has given up on one of them.
    misplaced: BTreeSet<PartitionId>,
    /// The fingerprint of the credentials that the consumer was made from.
    credentials: u64,
}

/// What a membership of the group ended with.
enum End {
    /// It was told to stop.
    Stopped,
    /// It was told to begin anew.
    Anew,
    /// The consumer is beyond repair; another one may work.
    Broken,
    /// The consumer does not become a member of its group.
    Absent,
}

/// Whether the consumer can be made anew with other credentials.
enum Renewal {
    NotNeeded,
    Possible,
    Impossible(String),
}

/// What to do after the polls of one round.
#[derive(Default)]
struct Findings {
    /// The end of a partition was reached.
    at_end: bool,
    suspicion: Suspicion,
    /// The consumer is beyond repair.
    broken: bool,
}

/// What should be looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Suspicion {
    #[default]
    None,
    /// A broker cannot be reached: perhaps none can, which librdkafka does not always tell.
    Unreachable,
    /// A partition has no valid offset to read from.
    Misplaced,
}

/// What was read in one round: records of one partition come in rows.
#[derive(Default)]
struct Batches {
    each: Vec<Batch>,
    records: usize,
    bytes: usize,
}

impl Batches {
    fn add(&mut self, record: Record) {
        self.records += 1;
        self.bytes += record.memory();
        match self.each.last_mut() {
            Some(Batch { partition, records })
                if partition.partition == record.partition && partition.topic == record.topic =>
            {
                records.push(record);
            }
            _ => {
                let partition = PartitionId { topic: Arc::clone(&record.topic), partition: record.partition };
                self.each.push(Batch { partition, records: vec![record] });
            }
        }
    }
}

impl Reader {
    fn run(mut self) {
        while let Some(consumer) = self.join() {
            match self.read(&consumer) {
                End::Stopped => break,
                End::Absent => {
                    warn!("The Kafka consumer does not join its group; continuing with a new one");
                    self.retire(consumer);
                }
                End::Broken => warn!("The Kafka consumer failed for good; continuing with a new one"),
                End::Anew => info!("Joining anew, and reading from what is committed"),
            }
            // Dropping the consumer gives its partitions back, leaves the group and waits for both.
        }
        info!("Source ended");
    }

    /// Becomes a member of the group, once Kafka answers and has the topics; `None` when told to stop before.
    fn join(&mut self) -> Option<GroupConsumer> {
        loop {
            self.status.beat();
            match self.try_join() {
                Ok(consumer) => {
                    info!(group = self.settings.group, topics = ?self.settings.topics, "Reading from Kafka");
                    self.status.well(Area::Credentials);
                    return Some(consumer);
                }
                Err(message) => self.status.trouble(Area::Source, message),
            }
            if !self.wait(PROBE_INTERVAL) {
                return None;
            }
        }
    }

    fn try_join(&mut self) -> Result<GroupConsumer, String> {
        // Before they are read, so that a change in between is seen.
        self.credentials = credentials_fingerprint(&self.settings.connection);
        let consumer = self.connect()?;
        let topics: Vec<_> = self.settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| format!("Kafka takes no subscription to {topics:?}: {error}"))?;
        Ok(consumer)
    }

    /// A consumer that Kafka has let in and told of the topics, and that is no member yet.
    fn connect(&self) -> Result<GroupConsumer, String> {
        let Settings { connection, topics, group, start_from, prefetch_kib } = &self.settings;
        let settings = consumer_settings(*prefetch_kib);
        let mut config = consumer_config(connection, group, &settings).map_err(|e| e.to_string())?;
        // New partitions are found within half a minute; librdkafka's default is 5 minutes.
        config.set("enable.partition.eof", "true").set("topic.metadata.refresh.interval.ms", "30000");
        let context = Group::new(self.end.events.clone(), *start_from);
        let consumer = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| format!("the settings of the Kafka consumer are wrong: {error}"))?;
        probe::topics(&consumer, connection, topics)?;
        Ok(consumer)
    }

    /// Whether other credentials are there than the consumer was made from, and Kafka takes them. With the former ones it goes on
    /// otherwise: connections that are there outlive their password.
    fn may_renew(&self) -> Renewal {
        if credentials_fingerprint(&self.settings.connection) == self.credentials {
            return Renewal::NotNeeded;
        }
        match self.connect() {
            Ok(_) => Renewal::Possible,
            Err(message) => Renewal::Impossible(message),
        }
    }

    /// Leaves the group where it is to be joined with other credentials, and gives `None`; else when to look again.
    fn renew(&self, consumer: &GroupConsumer) -> Option<Duration> {
        match self.may_renew() {
            Renewal::NotNeeded => self.status.well(Area::Credentials),
            Renewal::Possible => {
                info!("The Kafka credentials have changed: leaving the group to join it with the new ones");
                self.leave(consumer);
                return None;
            }
            Renewal::Impossible(message) => {
                let told = "the Kafka credentials have changed and cannot be used, so the former ones are";
                self.status.trouble(Area::Credentials, format!("{told}: {message}"));
                return Some(RENEWAL_RETRY);
            }
        }
        Some(RENEWAL_INTERVAL)
    }

    /// Waits, unless told to stop: then it says `false`. There is nothing to pause or commit before the group is joined.
    fn wait(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.end.commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Leaves a consumer that may never end to a thread of its own.
    fn retire(&self, consumer: GroupConsumer) {
        consumer.context().retire();
        self.tell(Event::Lost(consumer.assignment().iter().flat_map(ids).collect()));
        // Where there is no thread for it, it is dropped here.
        drop(thread::Builder::new().name("kafka-retired".into()).spawn(move || drop(consumer)));
    }

    /// Gives all partitions back, in order. While the group is being rebalanced librdkafka puts it off until that is over, and is right:
    /// Kafka takes no commit meanwhile. To drop the consumer would not wait, and what is settled would be delivered again.
    fn leave(&self, consumer: &GroupConsumer) {
        consumer.unsubscribe();
        let deadline = Instant::now() + LEAVING;
        while Instant::now() < deadline && consumer.assignment().is_ok_and(|held| held.count() > 0) {
            self.status.beat();
            // A record that comes now is read by whoever has its partition next.
            drop(consumer.poll(POLL));
        }
    }

    fn read(&mut self, consumer: &GroupConsumer) -> End {
        let (mut next_probe, mut next_renewal, mut next_roll_call) = (Instant::now(), Instant::now(), Instant::now());
        let (mut suspicious, mut absent_since) = (false, Some(Instant::now()));
        loop {
            self.status.beat();
            match self.obey(consumer) {
                None => {}
                Some(End::Stopped) => {
                    self.leave(consumer);
                    return End::Stopped;
                }
                Some(end) => return end,
            }
            if Instant::now() >= next_renewal {
                let Some(wait) = self.renew(consumer) else { return End::Anew };
                next_renewal = Instant::now() + wait;
            }
            let findings = self.poll(consumer);
            if findings.broken {
                return End::Broken;
            }
            // Absent, it is looked at each time: readiness follows at once.
            if absent_since.is_some() || Instant::now() >= next_roll_call {
                next_roll_call = Instant::now() + PROBE_INTERVAL;
                if Membership::of(consumer).is_some() {
                    absent_since = None;
                    self.status.ready();
                } else if absent_since.get_or_insert_with(Instant::now).elapsed() > ABSENCE {
                    return End::Absent;
                }
            }
            suspicious |= findings.suspicion > Suspicion::None || !consumer.context().unknown().is_empty();
            if findings.suspicion == Suspicion::Misplaced {
                self.misplaced.extend(consumer.assignment().iter().flat_map(ids));
            }
            if findings.at_end {
                self.tell_positions(consumer);
            }
            let troubled = absent_since.is_some()
                || suspicious
                || !self.misplaced.is_empty()
                || self.status.is_troubled(Area::Source);
            if troubled && Instant::now() >= next_probe {
                self.repair(consumer);
                suspicious = false;
                next_probe = Instant::now() + PROBE_INTERVAL;
            }
        }
    }

    /// Carries out all commands that wait; says so where one of them ends the membership.
    fn obey(&mut self, consumer: &GroupConsumer) -> Option<End> {
        loop {
            let obeyed = match self.end.commands.try_recv() {
                Ok(Command::Pause(partition)) => consumer.pause(&list(&[partition])),
                Ok(Command::Resume(partition)) => self.resume(consumer, partition),
                Ok(Command::Commit(commits)) => commit_held(consumer, commits),
                Ok(Command::Rejoin) => return Some(End::Anew),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Some(End::Stopped),
                Err(TryRecvError::Empty) => return None,
            };
            // Of a partition that was taken away in the meantime, or a commit that is told again.
            if let Err(error) = obeyed {
                debug!("Kafka: {error}");
            }
        }
    }

    /// Reads what is there, at most a batch, and tells it.
    fn poll(&mut self, consumer: &GroupConsumer) -> Findings {
        let mut findings = Findings::default();
        let mut batches = Batches::default();
        let mut patience = POLL;
        while batches.records < BATCH && batches.bytes < BATCH_BYTES {
            match consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => batches.add(self.topics.record(&message)),
                Some(Err(error)) => self.note(&error, &mut findings),
            }
            patience = Duration::ZERO;
        }
        batches.each.into_iter().for_each(|batch| self.tell(Event::Records(batch)));
        findings
    }

    fn note(&self, error: &ClientError, findings: &mut Findings) {
        match error {
            ClientError::PartitionEOF(_) => findings.at_end = true,
            ClientError::MessageConsumptionFatal(code) => {
                error!("Kafka consumer: {code}");
                findings.broken = true;
            }
            ClientError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                findings.suspicion = Suspicion::Misplaced;
            }
            // Another broker may answer all the same: the probe tells, and why none does.
            ClientError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::SSL,
            ) => {
                findings.suspicion = findings.suspicion.max(Suspicion::Unreachable);
            }
            ClientError::MessageConsumption(code) => {
                if let Some(trouble) = probe::trouble(*code, &self.settings.connection) {
                    self.status.trouble(Area::Source, trouble);
                } else {
                    debug!("Kafka consumer: {code}");
                }
            }
            other => debug!("Kafka consumer: {other}"),
        }
    }

    /// Tells how far each partition was read: beyond its last record where transaction markers follow it.
    fn tell_positions(&self, consumer: &GroupConsumer) {
        let Ok(positions) = consumer.position() else { return };
        let reached = |element: &sluice_kafka::consumer::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some(Position { partition: id(element.topic(), element.partition()), offset }),
            _ => None,
        };
        self.tell(Event::Reached(positions.elements().iter().filter_map(reached).collect()));
    }

    /// Looks whether Kafka works, and puts partitions back to where they can be read.
    fn repair(&mut self, consumer: &GroupConsumer) {
        let Settings { connection, topics, .. } = &self.settings;
        let works = probe::topics(consumer, connection, topics)
            .and_then(|()| self.place(consumer))
            .and_then(|()| self.ask_for_start(consumer));
        match works {
            Ok(()) if Membership::of(consumer).is_some() => self.status.well(Area::Source),
            // Kafka answers, and has yet to take the worker into its group.
            Ok(()) => {}
            Err(message) => self.status.trouble(Area::Source, message),
        }
    }

    /// librdkafka has given up on some of these partitions and does not say on which: all of them are handed out anew, where
    /// the engine says. Records that were read stay with the engine. A partition in which another member is yet to begin is looked at
    /// again.
    fn place(&mut self, consumer: &GroupConsumer) -> Result<(), String> {
        if self.misplaced.is_empty() {
            return Ok(());
        }
        let unplaced = |error| format!("partitions cannot be read from a valid offset: {error}");
        let wanted: Vec<_> = self.misplaced.iter().cloned().collect();
        let extents = start::extents(consumer, &wanted, self.settings.start_from).map_err(unplaced)?;
        let mut waiting = Vec::new();
        for extent in extents {
            let (partition, high) = (extent.partition.clone(), extent.high);
            match self.ask(extent) {
                Place::From { offset, paused } => hand_out(consumer, &partition, offset, paused).map_err(unplaced)?,
                Place::Nowhere => {}
                Place::Later => {
                    waiting.push(format!("{partition} ends at offset {high}, before what was read of it"));
                    continue;
                }
            }
            self.misplaced.remove(&partition);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let waiting = waiting.join(", ");
        Err(format!(
            "{waiting}: it was shortened or made again, and is read from its first record once that is settled"
        ))
    }

    /// Partitions of which it is not known what is committed are not read before it is.
    fn ask_for_start(&self, consumer: &GroupConsumer) -> Result<(), String> {
        let held: BTreeSet<_> = consumer.assignment().iter().flat_map(ids).collect();
        let unknown: Vec<_> = consumer.context().unknown().intersection(&held).cloned().collect();
        if !unknown.is_empty() {
            start::are_known(consumer, &unknown).map_err(|error| {
                format!(
                    "Kafka does not say which offsets group {:?} has committed: {error}. Where it answers otherwise, a transaction that \
                     commits some is undecided, and `kafka-transactions.sh find-hanging` finds one that stays so",
                    self.settings.group
                )
            })?;
        }
        consumer.context().unknown().clear();
        Ok(())
    }

    /// Where the engine reads on.
    fn ask(&self, extent: Extent) -> Place {
        let (place, answer) = oneshot::channel();
        self.tell(Event::Misplaced(extent, place));
        answer.blocking_recv().unwrap_or(Place::Nowhere)
    }

    /// A pause drops what librdkafka had to say of a partition, be it that it gave up on it: a seek finds out.
    fn resume(&mut self, consumer: &GroupConsumer, partition: PartitionId) -> Result<(), ClientError> {
        consumer.resume(&list(slice::from_ref(&partition)))?;
        let positions = consumer.position()?;
        let found = positions.find_partition(&partition.topic, partition.partition);
        let Some(position) = found.map(|found| found.offset()).filter(|found| matches!(found, Offset::Offset(_)))
        else {
            return Ok(());
        };
        consumer.seek(&partition.topic, partition.partition, position, SEEK_PATIENCE).inspect_err(|_| {
            self.misplaced.insert(partition);
        })
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the commands tell so too, and are read next.
        drop(self.end.events.blocking_send(event));
    }
}

/// After a crash nobody reads the worker's partitions for the session timeout. Heartbeats come from a thread that nothing
/// holds up, so a short one is safe.
fn consumer_settings(prefetch_kib: u32) -> ConsumerSettings {
    let session_timeout = Duration::from_secs(10);
    ConsumerSettings { prefetch_kib, session_timeout, ..ConsumerSettings::default() }
}
