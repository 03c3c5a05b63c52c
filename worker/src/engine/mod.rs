//! Takes records from the source, has done what the schedule says, and tells the source how far they are settled.
//!
//! - `schedule`: what is to be done next, with which record. Pure.
//! - `gate`: whether one more attempt may begin: circuit breaker and rate limit. Pure.
//! - `partition`: one hold on a partition. Pure.
//! - `pending`: a record that is not settled, and the work for it.
//! - `room`: whether there is room for more records. Pure.
//!
//! Whoever has the lock decides what is next: the loop of [`run`], which hears the source and the clock, and each task whose work has come
//! to its end, which then does the next itself. So nobody is woken between one record and the next.
//!
//! Who does the work changes nothing about its order: all that happens to the schedule happens under the lock, and it gives out a record
//! only once the one before it in its lane has ended. Nor is work lost: who ends a task takes the record that it works on from what is
//! under way, and a task takes another record only where it finds its own there. So none is ended that has taken another one since.

mod gate;
mod partition;
mod pending;
mod room;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    pin::pin,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant as StdInstant},
    vec,
};

use chrono::Utc;
use slotmap::SecondaryMap;
use sluice_crds::wire::Circuit;
use sluice_pipeline::Record;
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
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
    source::{Batch, Command, CommandSender, Commit, DRAIN, Died, Event, Extent, PartitionId, Place, Source, Start},
};

/// How often it is written down how far records are settled, where not so many are settled before that it is done at once. A crash
/// delivers again at most what was settled since.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long records are judged in one turn, about, and how many between two looks at the clock: each may take its share of time,
/// and all else waits meanwhile.
const JUDGING: Duration = Duration::from_millis(100);
const JUDGED: usize = 16;

/// What the loop and the tasks have in common.
struct Shared {
    engine: Mutex<Engine>,
    /// The loop waits for something else than before.
    news: Notify,
}

/// The heart of a worker.
struct Engine {
    flow: Arc<Flow>,
    schedule: Schedule,
    commands: CommandSender,
    /// The work that is under way, so that it ends with the hold on its partition.
    under_way: SecondaryMap<RecordKey, (HoldKey, AbortHandle)>,
    panics: Panics,
    drain: Option<Drain>,
    /// What else the source tells comes after them.
    unjudged: Option<Unjudged>,
    /// What the loop waits for.
    awaited: Awaited,
    /// How the circuit was when it was told last.
    told: Circuit,
}

/// Something that may come by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Awaited {
    /// Whether more records may come.
    records: bool,
    time: Option<Instant>,
}

/// Records of one partition that were read and are not judged yet.
struct Unjudged {
    partition: PartitionId,
    records: vec::IntoIter<Record>,
}

/// The work for a record panicked; what else is under way is as it was.
#[derive(Debug, thiserror::Error)]
#[error("the delivery of a record panicked")]
struct Panicked;

type Panics = mpsc::UnboundedSender<Panicked>;

/// Tells when the task that holds it panics.
struct Watch(Panics);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            // The engine has ended where it does not listen.
            drop(self.0.send(Panicked));
        }
    }
}

/// Partitions that are about to go.
struct Drain {
    partitions: Vec<PartitionId>,
    deadline: Instant,
    settled: oneshot::Sender<Vec<Commit>>,
}

/// Runs until the source has ended, which it does after `shutdown`. Errors: a task panicked, and what it worked on is unsettled; or the
/// source ended by itself.
pub(crate) async fn run(flow: Arc<Flow>, source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Source { mut events, commands } = source;
    let (panics, mut panicked) = mpsc::unbounded_channel();
    // The tasks have it only for as long as they look what is next: once this has ended they take no more records.
    let shared = Arc::new(Shared { engine: Mutex::new(Engine::new(flow, commands, panics)), news: Notify::new() });
    let mut commits = interval(COMMIT_INTERVAL);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut alarm, mut stopping) = (Alarm::new(), false);
    // One for all turns: each begins and ends with a lock.
    let mut end = pin!(shutdown.cancelled());
    loop {
        let (Awaited { records, time }, judges) = shared.engine.lock().await.turn(&shared);
        tokio::select! {
            // What is seldom comes first, so that a source that always has more hides none of it. What only brings the next turn comes
            // last: whatever happens brings it.
            biased;
            Some(panic) = panicked.recv() => return Err(panic.into()),
            () = end.as_mut(), if !stopping => {
                info!("Stopping: records under way get up to {DRAIN:?}");
                stopping = true;
                shared.engine.lock().await.command(Command::Stop);
            }
            _ = commits.tick() => shared.engine.lock().await.commit(),
            event = events.recv(), if !judges && (stopping || records) => match event {
                Some(event) => shared.engine.lock().await.handle(event),
                None if stopping => return Ok(()),
                None => return Err(Died.into()),
            },
            // What was begun goes on before more is judged.
            () = yield_now(), if judges => shared.engine.lock().await.judge(),
            () = alarm.at(time) => {}
            () = shared.news.notified() => {}
        }
    }
}

/// Does one thing after the other, as long as there is something to do.
async fn work(flow: Arc<Flow>, shared: Weak<Shared>, panics: Panics, mut next: Work) {
    let _watch = Watch(panics);
    loop {
        let Work { key, record, task, mut span, .. } = next;
        let end = flow.carry_out(&record, &task, &mut span).await;
        let Some(shared) = shared.upgrade() else { return };
        let done = Done { key, record, span, end };
        let more = shared.engine.lock().await.finish(done, &shared);
        match more {
            Some(work) => next = work,
            None => return,
        }
    }
}

fn now() -> Moment {
    Moment { at: Instant::now().into_std(), utc: Utc::now() }
}

impl Engine {
    fn new(flow: Arc<Flow>, commands: CommandSender, panics: Panics) -> Self {
        let schedule = Schedule::new(flow.delivery.clone(), flow.sink.name(), Instant::now().into_std());
        Self {
            flow,
            schedule,
            commands,
            under_way: SecondaryMap::new(),
            panics,
            drain: None,
            unjudged: None,
            awaited: Awaited { records: true, time: None },
            told: Circuit::Closed,
        }
    }

    /// One turn of the loop: what it waits for then, and whether there is something to judge.
    fn turn(&mut self, shared: &Arc<Shared>) -> (Awaited, bool) {
        let now = Instant::now().into_std();
        self.go_on(shared, now);
        self.tell();
        self.awaited = self.awaits(now);
        (self.awaited, self.unjudged.is_some())
    }

    /// `now` is when it went on last: a time that has come since is still to be waited for.
    fn awaits(&self, now: StdInstant) -> Awaited {
        Awaited { records: self.schedule.has_room(), time: self.wakes_at(now) }
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
            // Offsets are committed by the source itself: nothing has to be shown for them.
            Event::Rebalanced(_) => self.commit_anew(),
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

    /// Begins whatever can begin now, and commands what there is to command.
    fn go_on(&mut self, shared: &Arc<Shared>, now: StdInstant) {
        while let Some(work) = self.schedule.next(now) {
            self.begin(work, shared);
        }
        if self.schedule.owes_commits() {
            self.commit();
        }
        self.schedule.mind_room(now);
        let commands: Vec<_> = self.schedule.commands().collect();
        for command in commands {
            self.command(command);
        }
        self.end_drain();
    }

    /// Counts are told once in each turn of the loop, which comes at least with the time for commits: to do so with each record costs a
    /// lock for a number that nobody reads.
    fn tell(&mut self) {
        let counts = self.schedule.counts();
        self.told = counts.circuit;
        self.flow.status.publish(counts, self.schedule.sink_failure());
        if let Some(halted) = self.schedule.halts() {
            self.flow.status.halted(halted);
        }
    }

    fn begin(&mut self, next: Work, shared: &Arc<Shared>) {
        let (key, hold) = (next.key, next.hold);
        let (flow, shared) = (Arc::clone(&self.flow), Arc::downgrade(shared));
        let task = tokio::spawn(work(flow, shared, self.panics.clone(), next));
        self.under_way.insert(key, (hold, task.abort_handle()));
    }

    /// Work has come to its end. Gives the next to the task that did it; none where its own was given up, as its partition is gone.
    fn finish(&mut self, done: Done, shared: &Arc<Shared>) -> Option<Work> {
        let (_, task) = self.under_way.remove(done.key)?;
        let now = now();
        self.schedule.finish(done, now, fastrand::f64());
        let next = self.schedule.next(now.at);
        if let Some(Work { key, hold, .. }) = &next {
            self.under_way.insert(*key, (*hold, task));
        }
        self.go_on(shared, now.at);
        if self.schedule.has_news(self.told) {
            self.tell();
        }
        if self.awaits(now.at) != self.awaited {
            shared.news.notify_one();
        }
        // A partition that went just now took it along.
        next.filter(|next| self.under_way.contains_key(next.key))
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
    fn wakes_at(&self, now: StdInstant) -> Option<Instant> {
        let drained = self.drain.as_ref().map(|drain| drain.deadline);
        self.schedule.wakes_at(now).map(Instant::from_std).into_iter().chain(drained).min()
    }

    fn commit(&mut self) {
        let commits = self.schedule.commits(Instant::now().into_std());
        if !commits.is_empty() {
            self.command(Command::Commit(commits));
        }
    }

    /// Commits all that is settled, be it told before or not.
    fn commit_anew(&mut self) {
        self.schedule.tell_anew();
        self.commit();
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
        self.tell();
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
