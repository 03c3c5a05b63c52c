//! Takes records from the source, has done what the schedule says, and tells the source how far they are settled.
//!
//! - `schedule`: what is to be done next, with which record. Pure.
//! - `gate`: whether one more attempt may begin: circuit breaker and rate limit. Pure.
//! - `partition`: one hold on a partition. Pure.
//! - `pending`: a record that is not settled, and the work for it.
//! - `room`: whether there is room for more records. Pure.
//!
//! One task owns all of it; each record that is under way is a task of its own.

mod gate;
mod partition;
mod pending;
mod room;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;

use std::{pin::pin, sync::Arc, thread, time::Duration, vec};

use chrono::Utc;
use slotmap::SecondaryMap;
use sluice_pipeline::Record;
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, yield_now},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::{
    partition::{ANEW, Known, Partition, Placement},
    pending::{End, Task},
    room::Wait,
};
use self::{
    pending::{Done, HoldKey, RecordKey, Work},
    schedule::{Moment, Schedule},
};
use crate::{
    alarm::Alarm,
    flow::Flow,
    source::{Batch, Command, CommandSender, Commit, DRAIN, Event, Extent, PartitionId, Place, Source, Start},
};

/// How often it is written down how far records are settled. A crash delivers again at most what was settled since.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Work whose end is looked at in one turn.
const BATCH: usize = 256;
/// How long records are judged in one turn, about, and how many between two looks at the clock: each may take its share of time,
/// and all else waits meanwhile.
const JUDGING: Duration = Duration::from_millis(100);
const JUDGED: usize = 16;

/// The heart of a worker.
struct Engine {
    flow: Arc<Flow>,
    schedule: Schedule,
    commands: CommandSender,
    /// The work that is under way, so that it ends with the hold on its partition.
    under_way: SecondaryMap<RecordKey, (HoldKey, AbortHandle)>,
    ends: Ends,
    drain: Option<Drain>,
    /// What else the source tells comes after them.
    unjudged: Option<Unjudged>,
}

/// Records of one partition that were read and are not judged yet.
struct Unjudged {
    partition: PartitionId,
    records: vec::IntoIter<Record>,
}

type Ends = mpsc::UnboundedSender<Result<Done, Panicked>>;

/// The work for a record panicked; what else is under way is as it was.
#[derive(Debug, thiserror::Error)]
#[error("the delivery of a record panicked")]
struct Panicked;

/// Tells when the task that holds it panics.
struct Watch(Ends);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            // The engine has ended where it does not listen.
            drop(self.0.send(Err(Panicked)));
        }
    }
}

/// Partitions that are about to go.
struct Drain {
    partitions: Vec<PartitionId>,
    deadline: Instant,
    settled: oneshot::Sender<Vec<Commit>>,
}

/// Runs until the source has ended, which it does after `shutdown`. Errors: a task panicked; what it worked on is unsettled.
pub(crate) async fn run(flow: Arc<Flow>, source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Source { mut events, commands } = source;
    let (ends, mut done) = mpsc::unbounded_channel();
    let mut engine = Engine::new(flow, commands, ends);
    let mut commits = interval(COMMIT_INTERVAL);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut ended, mut alarm, mut stopping) = (Vec::with_capacity(BATCH), Alarm::new(), false);
    // One for all turns: each begins and ends with a lock.
    let mut end = pin!(shutdown.cancelled());
    loop {
        engine.go_on();
        tokio::select! {
            event = events.recv(), if engine.unjudged.is_none() && (stopping || engine.schedule.has_room()) => match event {
                Some(event) => engine.handle(event),
                None => return Ok(()),
            },
            // What was begun goes on before more is judged.
            () = yield_now(), if engine.unjudged.is_some() => engine.judge(),
            _ = done.recv_many(&mut ended, BATCH) => engine.finish(ended.drain(..))?,
            () = alarm.at(engine.wakes_at()) => {}
            _ = commits.tick() => engine.commit(),
            () = end.as_mut(), if !stopping => {
                info!("Stopping: records under way get up to {DRAIN:?}");
                stopping = true;
                engine.command(Command::Stop);
            }
        }
    }
}

fn now() -> Moment {
    Moment { at: Instant::now().into_std(), utc: Utc::now() }
}

impl Engine {
    fn new(flow: Arc<Flow>, commands: CommandSender, ends: Ends) -> Self {
        let schedule = Schedule::new(flow.delivery.clone(), flow.sink.name(), Instant::now().into_std());
        Self { flow, schedule, commands, under_way: SecondaryMap::new(), ends, drain: None, unjudged: None }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Assigned(starts) => starts.into_iter().for_each(|start| self.schedule.assign(start)),
            Event::Records(Batch { partition, records }) => {
                self.unjudged = Some(Unjudged { partition, records: records.into_iter() });
            }
            Event::Reached(positions) => self.schedule.reach(&positions),
            Event::Revoked(partitions, settled) => {
                self.schedule.drain(&partitions);
                self.drain = Some(Drain { partitions, deadline: Instant::now() + DRAIN, settled });
            }
            Event::Lost(partitions) => drop(self.release(&partitions)),
            // Offsets are committed by the source itself.
            Event::Joined(_) => {}
            // A source that no longer listens is gone, and its partitions with it.
            Event::Misplaced(extent, place) => drop(place.send(self.place(extent))),
        }
    }

    /// Judges some of the records that were read.
    fn judge(&mut self) {
        let Some(Unjudged { partition, mut records }) = self.unjudged.take() else { return };
        let begin = Instant::now();
        while begin.elapsed() < JUDGING && !records.as_slice().is_empty() {
            let some = Batch { partition: partition.clone(), records: records.by_ref().take(JUDGED).collect() };
            self.schedule.receive(some, now(), |record| self.flow.judge(record));
        }
        self.unjudged = (!records.as_slice().is_empty()).then_some(Unjudged { partition, records });
    }

    fn place(&mut self, extent: Extent) -> Place {
        match self.schedule.place(&extent) {
            None => Place::Nowhere,
            Some(Placement::Later) => Place::Later,
            Some(Placement::From { offset, .. }) => {
                Place::From { offset, paused: self.schedule.is_paused(&extent.partition) }
            }
            Some(Placement::Anew) => {
                let Extent { partition, low, .. } = extent;
                self.release(std::slice::from_ref(&partition));
                let committed = Some(Commit { partition: partition.clone(), offset: low, note: String::new() });
                self.schedule.assign(Start { partition, committed });
                Place::From { offset: low, paused: false }
            }
        }
    }

    /// Begins whatever can begin now, and tells what there is to tell.
    fn go_on(&mut self) {
        let now = Instant::now().into_std();
        while let Some(work) = self.schedule.next(now) {
            self.begin(work);
        }
        self.schedule.mind_room(now);
        let commands: Vec<_> = self.schedule.commands().collect();
        for command in commands {
            self.command(command);
        }
        self.end_drain();
        self.tell();
    }

    fn tell(&mut self) {
        self.flow.status.publish(self.schedule.counts(), self.schedule.sink_failure());
        if let Some(halted) = self.schedule.halts() {
            self.flow.status.halted(halted);
        }
    }

    fn begin(&mut self, Work { key, hold, record, task, mut span }: Work) {
        let (flow, ends) = (Arc::clone(&self.flow), self.ends.clone());
        let work = tokio::spawn(async move {
            let watch = Watch(ends);
            let end = flow.carry_out(&record, &task, &mut span).await;
            drop(watch.0.send(Ok(Done { key, record, span, end })));
        });
        self.under_way.insert(key, (hold, work.abort_handle()));
    }

    fn finish(&mut self, done: impl Iterator<Item = Result<Done, Panicked>>) -> anyhow::Result<()> {
        let now = now();
        for done in done {
            let done = done?;
            self.under_way.remove(done.key);
            self.schedule.finish(done, now, fastrand::f64());
        }
        Ok(())
    }

    /// Ends all work for a hold: nobody waits for it any more.
    fn abandon(&mut self, hold: HoldKey) {
        self.under_way.retain(|_, (of, work)| {
            let is_abandoned = *of == hold;
            if is_abandoned {
                work.abort();
            }
            !is_abandoned
        });
    }

    /// When there may be something to do although nothing happens.
    fn wakes_at(&self) -> Option<Instant> {
        let drained = self.drain.as_ref().map(|drain| drain.deadline);
        self.schedule.wakes_at(Instant::now().into_std()).map(Instant::from_std).into_iter().chain(drained).min()
    }

    fn commit(&mut self) {
        let commits = self.schedule.commits(Instant::now().into_std());
        if !commits.is_empty() {
            self.command(Command::Commit(commits));
        }
    }

    /// Gives partitions back that are about to go, once what is under way there has come to its end, or its time is over.
    fn end_drain(&mut self) {
        let Some(Drain { partitions, deadline, .. }) = &self.drain else { return };
        let under_way = self.schedule.under_way_in(partitions);
        if under_way > 0 && Instant::now() < *deadline {
            return;
        }
        if under_way > 0 {
            warn!(records = under_way, "Records given back before they were settled: the sink is slow");
        }
        let Some(Drain { partitions, settled, .. }) = self.drain.take() else { return };
        let commits = self.release(&partitions);
        // A source that no longer listens is gone, and its partitions with it.
        drop(settled.send(commits));
    }

    fn release(&mut self, partitions: &[PartitionId]) -> Vec<Commit> {
        let now = Instant::now().into_std();
        let mut commits = Vec::new();
        for (hold, commit) in partitions.iter().filter_map(|id| self.schedule.release(id, now)).collect::<Vec<_>>() {
            self.abandon(hold);
            commits.extend(commit);
        }
        commits
    }

    fn command(&self, command: Command) {
        // A source that no longer listens has ended, which the end of its events tells.
        drop(self.commands.send(command));
    }
}
