//! Delivers to Kafka: records are written in batches, exactly once where that is asked for.
//!
//! - `batches`: what is written next, and what becomes of it. Pure.
//! - `record`: what is written of a record.
//! - `traced`: what a trace says of the records of a batch.
//!
//! What was not written is written again as it was, until it is, or until its partition is somebody else's. Partitions of which all was
//! written go on meanwhile. No retry budget is needed: sink, dead letters and source are one and the same Kafka cluster. With [`Guarantee::ExactlyOnce`] what the records of a batch
//! become and how far their partitions are then read is written in one transaction, or not at all.
//!
//! [`Guarantee::ExactlyOnce`]: sluice_crds::Guarantee::ExactlyOnce

mod batches;
mod record;
#[cfg(test)]
mod tests;
mod traced;

use std::{mem, sync::Arc, time::Duration};

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use sluice_kafka::{
    BatchProducer, ErrorCode, KafkaError, OutgoingRecord, Renewed, Transaction, TransactionError,
    TransactionalProducer, Unwritten, consumer::Membership,
};
use sluice_pipeline::{Pipeline, Record};
use sluice_telemetry::traces::Exemplar;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    batches::{Batches, Fate, Output, Refusal},
    record::written,
    traced::Traced,
};
use crate::{
    alarm::Alarm,
    config::Job,
    dead_letters::Letters,
    retry::{Failure, patience},
    sink::DeliveryError,
    source::{Command, CommandSender, Commit, DRAIN, Died, Event, PartitionId, Source},
    spans::Spans,
    status::{Area, Status},
    usage,
};

/// What all batches of a worker have in common.
pub(crate) struct Delivering {
    pub(crate) pipeline: Pipeline,
    /// Where records are delivered to.
    pub(crate) topic: Arc<str>,
    pub(crate) letters: Letters,
    pub(crate) writer: Writer,
    pub(crate) status: Arc<Status>,
    pub(crate) spans: Spans,
}

/// What writes them.
pub(crate) enum Writer {
    AtLeastOnce(Arc<Renewed<BatchProducer>>),
    ExactlyOnce(Arc<Renewed<TransactionalProducer>>),
}

/// How often it is written down how far partitions are written, as far as no transaction does it, and where not so many records are
/// written before that it is done at once. A crash writes again at most what was written since, and the batch that was being written.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long records are judged for one batch, about: each may take its share of time, and events wait meanwhile.
const JUDGING: Duration = Duration::from_millis(200);
/// How long the group may take to tell its members of a new generation, before this one joins anew.
const OUTDATED: Duration = Duration::from_secs(30);

/// A batch that is being written.
struct Writing {
    begin: Instant,
    end: BoxFuture<'static, End>,
    traced: Vec<Traced>,
}

/// A batch that was being written.
struct Attempt {
    took: Duration,
    traced: Vec<Traced>,
}

/// What became of a batch.
enum End {
    Batch(Unwritten),
    Transaction(Result<(), TransactionError>),
}

/// Partitions that go once nothing is being written, or their time is over.
struct Leaving {
    partitions: Vec<PartitionId>,
    deadline: Instant,
    settled: oneshot::Sender<Vec<Commit>>,
}

struct Engine {
    delivering: Delivering,
    batches: Batches,
    commands: CommandSender,
    member: Option<Membership>,
    writing: Option<Writing>,
    leaving: Option<Leaving>,
    /// Failures since all was written.
    failures: u32,
    /// When that is written again which was not.
    again_at: Option<Instant>,
    /// Whether it is written again partition by partition: one of them fails, and in a transaction all others with it.
    apart: bool,
    /// Since when Kafka does not take us for a member.
    outdated: Option<Instant>,
}

/// Runs until the source has ended, which it does after `shutdown`. Errors: it ended by itself.
pub(crate) async fn run(
    job: &Job,
    delivering: Delivering,
    source: Source,
    shutdown: CancellationToken,
) -> Result<(), Died> {
    let Source { events, commands } = source;
    Engine::new(job, delivering, commands).run(events, shutdown).await
}

/// The end of what is being written; never without it.
async fn ended(writing: &mut Option<Writing>) -> (Attempt, End) {
    let Some(Writing { begin, end, traced }) = writing else { return std::future::pending().await };
    let end = end.await;
    let mut attempt = Attempt { took: begin.elapsed(), traced: mem::take(traced) };
    traced::note_failures(&mut attempt.traced, &end);
    *writing = None;
    (attempt, end)
}

impl Attempt {
    /// What names the record at this place beside a metric.
    fn exemplar(&self, place: usize) -> Option<Exemplar> {
        self.traced.get(place).and_then(Traced::exemplar)
    }
}

impl Engine {
    fn new(job: &Job, delivering: Delivering, commands: CommandSender) -> Self {
        Self {
            batches: Batches::new(job.config.delivery.clone(), "kafka"),
            delivering,
            commands,
            member: None,
            writing: None,
            leaving: None,
            failures: 0,
            again_at: None,
            apart: false,
            outdated: None,
        }
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>, shutdown: CancellationToken) -> Result<(), Died> {
        let mut commits = interval(COMMIT_INTERVAL);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut again, mut pause, mut drain, mut stopping) = (Alarm::new(), Alarm::new(), Alarm::new(), false);
        loop {
            self.go_on();
            tokio::select! {
                event = events.recv(), if stopping || self.batches.has_room() => match event {
                    Some(event) => self.handle(event),
                    None => return if stopping { Ok(()) } else { Err(Died) },
                },
                (attempt, end) = ended(&mut self.writing) => self.finish(&attempt, end),
                () = again.at(self.again_at) => self.again_at = None,
                () = pause.at(self.batches.pauses_at().map(Instant::from_std)) => {}
                () = drain.at(self.leaving.as_ref().map(|leaving| leaving.deadline)) => {}
                _ = commits.tick() => self.commit(),
                () = shutdown.cancelled(), if !stopping => {
                    info!("Stopping: the batch under way gets up to {DRAIN:?}");
                    stopping = true;
                    self.command(Command::Stop);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Rebalanced(member) => {
                // One that has lost its place again is refused with what it showed before, and joins anew where that lasts.
                self.member = member.or(self.member.take());
                self.batches.tell_anew();
                self.write_down();
            }
            Event::Assigned(starts) => starts.into_iter().for_each(|start| self.batches.assign(start)),
            Event::Records(batch) => self.batches.receive(batch),
            Event::Reached(positions) => self.batches.reach(positions),
            Event::Revoked(partitions, settled) => {
                self.leaving = Some(Leaving { partitions, deadline: Instant::now() + DRAIN, settled });
            }
            Event::Lost(partitions) => drop(self.batches.release(&partitions)),
            // A source that no longer listens is gone, and its partitions with it.
            Event::Misplaced(extent, place) => drop(place.send(self.batches.place(&extent))),
        }
    }

    /// Lets partitions go, or begins the next transaction, where it can; and tells what there is to tell.
    fn go_on(&mut self) {
        self.let_go();
        if self.writing.is_none() {
            self.begin();
        } else if self.leaving.is_none() {
            self.prepare();
        }
        self.batches.pause_or_resume(Instant::now().into_std());
        let commands: Vec<_> = self.batches.commands().collect();
        for command in commands {
            self.command(command);
        }
        self.delivering.status.publish(self.batches.counts(), "");
        if let Some(halted) = self.batches.halts() {
            self.delivering.status.halted(halted);
        }
    }

    /// Lets partitions go once nothing is being written, or their time is over. What becomes of the batch under way then counts for no
    /// later hold on them, and in a transaction Kafka takes no offsets from a member of an earlier generation.
    fn let_go(&mut self) {
        let is_writing = self.writing.is_some();
        let may_go = |leaving: &mut Leaving| !is_writing || Instant::now() >= leaving.deadline;
        let Some(Leaving { partitions, settled, .. }) = self.leaving.take_if(may_go) else { return };
        if is_writing {
            warn!(partitions = partitions.len(), "Partitions given back while a batch is being written: Kafka is slow");
        }
        let commits = self.batches.release(&partitions);
        let committed = matches!(self.delivering.writer, Writer::ExactlyOnce(_));
        // A source that no longer listens is gone, and its partitions with it.
        drop(settled.send(if committed { Vec::new() } else { commits }));
    }

    fn begin(&mut self) {
        if !self.fill() {
            return;
        }
        let mut records = Vec::<OutgoingRecord>::with_capacity(self.batches.outputs().count());
        records.extend(self.batches.outputs().map(|output| self.record(output)));
        let traced = traced::begin(&self.delivering.spans, self.batches.outputs(), &mut records);
        let end = match &self.delivering.writer {
            Writer::AtLeastOnce(producer) => {
                let producer = producer.client();
                async move { End::Batch(producer.write(records).await) }.boxed()
            }
            Writer::ExactlyOnce(producer) => {
                let (producer, Some(member)) = (producer.client(), self.member.clone()) else { return };
                let transaction = Transaction { records, offsets: self.batches.offsets() };
                async move { End::Transaction(producer.write(transaction, member).await) }.boxed()
            }
        };
        self.writing = Some(Writing { begin: Instant::now(), end, traced });
    }

    /// Whether there is something to write: what was not written comes first, once its time has come.
    fn fill(&mut self) -> bool {
        if self.member.is_none() && matches!(self.delivering.writer, Writer::ExactlyOnce(_)) {
            return false;
        }
        if self.again_at.is_none() && self.batches.next_stuck(if self.apart { 1 } else { usize::MAX }) {
            return true;
        }
        self.prepare();
        self.batches.next()
    }

    /// Judges what waits.
    fn prepare(&mut self) {
        let Delivering { pipeline, spans, .. } = &self.delivering;
        let begin = Instant::now();
        let judge = |record: &Record| {
            let verdict = pipeline.apply(record, usage::METER);
            spans.note_skip(record, &verdict);
            verdict
        };
        self.batches.prepare(Utc::now(), judge, || begin.elapsed() > JUDGING);
    }

    fn commit(&mut self) {
        self.batches.look_at_positions();
        self.write_down();
    }

    fn write_down(&mut self) {
        if let Writer::AtLeastOnce(_) = self.delivering.writer {
            let commits = self.batches.commits(Instant::now().into_std());
            if !commits.is_empty() {
                self.command(Command::Commit(commits));
            }
        }
    }

    fn record(&self, Output { record, fate }: &Output) -> OutgoingRecord {
        match fate {
            Fate::Deliver(message) => written(&self.delivering.topic, record, message),
            Fate::Bury(failed) => self.delivering.letters.letter(record, failed),
        }
    }

    fn finish(&mut self, attempt: &Attempt, end: End) {
        match end {
            End::Batch(unwritten) if unwritten == Unwritten::default() => self.succeed(attempt),
            End::Batch(unwritten) => self.succeed_but(attempt, &unwritten),
            End::Transaction(Ok(())) => self.succeed(attempt),
            End::Transaction(Err(TransactionError::Refused { record, error })) => {
                if !self.batches.refuse(record, &self.refusal(&error), Utc::now()) {
                    self.tell_not_buried(&error);
                    self.try_later(attempt.took);
                }
            }
            End::Transaction(Err(TransactionError::Aborted { record, error })) => self.abort(attempt, record, &error),
            End::Transaction(Err(TransactionError::Unknown(error))) => {
                self.batches.fail();
                warn!("Reading anew what is committed: it is not known whether the last transaction is: {error}");
                self.rejoin();
            }
        }
        self.batches.forget_what_is_gone();
    }

    fn succeed(&mut self, attempt: &Attempt) {
        let status = &self.delivering.status;
        let delivered =
            self.batches.outputs().enumerate().filter(|(_, output)| matches!(output.fate, Fate::Deliver(_)));
        status.succeeded(attempt.took, delivered.map(|(place, _)| attempt.exemplar(place)));
        self.batches.succeed();
        self.outdated = None;
        if !self.batches.has_stuck() {
            status.well(Area::Writing);
            status.well(Area::DeadLetters);
            (self.failures, self.apart) = (0, false);
        }
        if self.batches.owes_commits() {
            self.write_down();
        }
    }

    fn succeed_but(&mut self, attempt: &Attempt, Unwritten { refused, failed }: &Unwritten) {
        // Which of them are dead letters is known only until then.
        let is_letter = |(place, _): &&(usize, KafkaError)| self.batches.is_letter(*place);
        let letter = refused.iter().chain(failed).find(is_letter);
        let record = failed.iter().find(|failure| !is_letter(failure));
        let told = |(place, error): &(usize, KafkaError)| (*place, self.refusal(error));
        let told: Vec<_> = refused.iter().map(told).collect();
        let places: Vec<_> = failed.iter().map(|(place, _)| *place).collect();
        self.batches.succeed_but(&told, &places, Utc::now());
        if let Some((_, error)) = letter {
            self.tell_not_buried(error);
        }
        if let Some((place, error)) = record {
            self.tell_not_written(attempt, *place, error);
        }
        if letter.or(record).is_some() {
            self.try_later(attempt.took);
        }
    }

    /// Nothing was written, as one record failed, or Kafka did not answer; or the group is being rebalanced: then the next generation is
    /// told soon.
    fn abort(&mut self, attempt: &Attempt, record: Option<usize>, error: &KafkaError) {
        // What becomes of the record is known only until then.
        let is_letter = record.is_some_and(|place| self.batches.is_letter(place));
        self.batches.fail();
        if is_outdated(error.code) {
            let since = *self.outdated.get_or_insert_with(Instant::now);
            if since.elapsed() > OUTDATED {
                warn!("Joining anew: Kafka does not take this worker for a member of its group: {error}");
                self.rejoin();
            }
        } else if is_letter {
            self.tell_not_buried(error);
        } else {
            self.tell_not_written(attempt, record.unwrap_or_default(), error);
        }
        self.try_later(attempt.took);
    }

    fn refusal(&self, error: &KafkaError) -> Refusal {
        Refusal { code: error.code.name(), message: format!("topic {:?}: {error}", self.delivering.topic) }
    }

    /// Records for which there is not even a dead letter wait.
    fn tell_not_buried(&self, error: &KafkaError) {
        self.delivering.status.trouble(Area::DeadLetters, self.delivering.letters.not_written(error));
    }

    /// Kafka does not take records for now, as the one at this place shows.
    fn tell_not_written(&self, attempt: &Attempt, place: usize, error: &KafkaError) {
        let Delivering { status, topic, .. } = &self.delivering;
        let Refusal { code, message } = self.refusal(error);
        let failed = DeliveryError { failure: Failure::Passing { retry_after: None }, code, message };
        status.attempted(attempt.took, attempt.exemplar(place), Some(&failed));
        status.trouble(Area::Writing, format!("records cannot be written to topic {topic:?}, so they wait: {error}"));
    }

    /// Others have at least as much time until then as the attempt took, or they would wait for most of it.
    fn try_later(&mut self, took: Duration) {
        self.apart = matches!(self.delivering.writer, Writer::ExactlyOnce(_));
        self.failures = self.failures.saturating_add(1);
        let wait = patience(&self.batches.delivery().retry.backoff, self.failures, fastrand::f64());
        let least = if self.batches.are_all_stuck() { Duration::ZERO } else { took };
        self.again_at = Some(Instant::now() + wait.max(least));
    }

    fn rejoin(&mut self) {
        self.batches.release_all();
        (self.member, self.outdated) = (None, None);
        self.command(Command::Rejoin);
    }

    fn command(&self, command: Command) {
        // A source that no longer listens has ended, which the end of its events tells.
        drop(self.commands.send(command));
    }
}

/// Whether offsets were refused because whoever commits them is no member, or one of an earlier generation:
/// `ILLEGAL_GENERATION`, `UNKNOWN_MEMBER_ID`, `REBALANCE_IN_PROGRESS`, `FENCED_INSTANCE_ID`.
fn is_outdated(code: ErrorCode) -> bool {
    [22, 25, 27, 82].contains(&code.number())
}
