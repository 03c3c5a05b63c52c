//! Decides what is to be done next, with which record. Pure: time and chance come in as arguments, and what is to be done is
//! a value.
//!
//! A record that was read is settled at once, or waits in its lane, or is ready, or under way, or waits for its next attempt.
//! Only those under way occupy anybody.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use chrono::{DateTime, Utc};
use slotmap::SlotMap;
use sluice_crds::{
    Delivery, OnDataError, OnDeliveryError,
    wire::{Circuit, HaltedPartition},
};
use sluice_pipeline::{Record, Rejection, Verdict};
use tracing::{debug, info, warn};

use super::{
    gate::{Gate, Pass},
    partition::{ANEW, Known, Limits, Partition, Placement},
    pending::{Done, End, Failing, HoldKey, Pending, RecordKey, Task, UnderWay, Work},
    room::Room,
};
use crate::{
    dead_letters::Failed,
    lanes::lane,
    retry::{Decision, decide, patience},
    sink::DeliveryError,
    source::{Batch, Command, Commit, Extent, PartitionId, Position, Start},
    status::Counts,
    stopwatch::Stopwatch,
    told::Committed,
};

/// All records that are not settled, and what is next for each.
pub(crate) struct Schedule {
    delivery: Delivery,
    /// The sink's name, as stage of its errors.
    sink: &'static str,
    limits: Limits,
    holds: HashMap<PartitionId, HoldKey>,
    partitions: SlotMap<HoldKey, Partition>,
    records: SlotMap<RecordKey, Pending>,
    /// Records that may be delivered now.
    ready: VecDeque<RecordKey>,
    /// Records that may be buried now.
    letters: VecDeque<RecordKey>,
    /// Records that wait for their next attempt.
    later: BinaryHeap<Reverse<(Instant, RecordKey)>>,
    under_way: UnderWay,
    gate: Gate,
    /// How the circuit was when it was looked at last.
    circuit: Circuit,
    /// The time that counts against retry budgets.
    clock: Stopwatch,
    room: Room,
    commands: Vec<Command>,
    counts: Counts,
    committed: Committed,
    /// Whether there is something new to tell about halted partitions.
    halts_changed: bool,
}

/// A moment, as the budget counts it and as people do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) utc: DateTime<Utc>,
}

impl Schedule {
    pub(crate) fn new(delivery: Delivery, sink: &'static str, now: Instant) -> Self {
        let most = usize::try_from(delivery.max_in_flight).unwrap_or(usize::MAX).max(1);
        Self {
            limits: Limits::new(most),
            under_way: UnderWay::new(most),
            gate: Gate::new(&delivery),
            circuit: Circuit::Closed,
            clock: Stopwatch::started(now),
            delivery,
            sink,
            holds: HashMap::new(),
            partitions: SlotMap::with_key(),
            records: SlotMap::with_key(),
            ready: VecDeque::new(),
            letters: VecDeque::new(),
            later: BinaryHeap::new(),
            room: Room::default(),
            commands: Vec::new(),
            counts: Counts::default(),
            committed: Committed::default(),
            halts_changed: false,
        }
    }

    /// A partition is ours from now on.
    pub(crate) fn assign(&mut self, start: Start) {
        let Start { partition: id, committed } = start;
        info!(partition = %id, offset = ?committed.as_ref().map(|commit| commit.offset), "Partition assigned");
        let hold = self.partitions.insert(Partition::new(id.clone(), committed));
        self.holds.insert(id, hold);
        self.share_memory();
        self.pause_or_resume(hold);
    }

    /// Records were read. `judge` says what is to become of each.
    pub(crate) fn receive(&mut self, batch: Batch, now: Moment, judge: impl Fn(&Record) -> Verdict) {
        let Batch { partition: id, records } = batch;
        let Some(hold) = self.holds.get(&id).copied().filter(|hold| !self.partitions[*hold].draining) else {
            debug!(partition = %id, records = records.len(), "Records of a partition that is not ours");
            return;
        };
        for record in records {
            if self.partitions[hold].halted.is_some() {
                break;
            }
            self.meet(hold, record, now, &judge);
        }
        self.pause_or_resume(hold);
    }

    /// The source has told all records before these positions.
    pub(crate) fn reach(&mut self, positions: &[Position]) {
        for Position { partition, offset } in positions {
            if let Some(hold) = self.holds.get(partition) {
                self.partitions[*hold].reach(*offset);
            }
        }
    }

    /// A partition cannot be read where it was: where it is read on. `None`: it is not ours.
    pub(crate) fn place(&mut self, extent: &Extent) -> Option<Placement> {
        let partition = &mut self.partitions[*self.holds.get(&extent.partition)?];
        // It knows of all that was read.
        let placement = partition.place(extent, None);
        let Extent { partition: id, low, high, .. } = extent;
        match placement {
            Placement::From { offset, gone } => {
                debug!(partition = %id, offset, "Reading on");
                self.counts.gone += gone;
            }
            Placement::Anew => warn!(partition = %id, low, high, "{ANEW}"),
            Placement::Later => {}
        }
        self.pause_or_resume(self.holds[id]);
        Some(placement)
    }

    /// Whether nothing is read from a partition for now.
    pub(crate) fn is_paused(&self, id: &PartitionId) -> bool {
        self.holds.get(id).is_some_and(|hold| self.partitions[*hold].paused)
    }

    /// What is to be done now, as long as there is anything.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Work> {
        self.wake(now);
        self.follow_gate(now);
        self.next_letter().or_else(|| self.next_delivery(now))
    }

    /// When there may be something to do although nothing happens. `now` is that of the last [`Schedule::next`], which has seen what comes
    /// until then.
    pub(crate) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let later = self.later.peek().map(|Reverse((at, _))| *at);
        later.into_iter().chain(self.gate.wakes_at(now)).chain(self.room.ends_at()).min()
    }

    /// Whether more records may be received.
    pub(crate) fn has_room(&self) -> bool {
        self.room.is_there()
    }

    /// Has partitions paused that have been full for too long.
    pub(crate) fn mind_room(&mut self, now: Instant) {
        let (partitions, limits) = (&self.partitions, &self.limits);
        let is_full =
            |hold| partitions.get(hold).is_some_and(|partition| !partition.paused && partition.is_full(limits));
        for hold in self.room.look(now, is_full) {
            self.pause(hold);
        }
    }

    /// Work has come to its end; that of a partition that is gone changes nothing. `chance` is a random number from 0 to 1.
    pub(crate) fn finish(&mut self, done: Done, now: Moment, chance: f64) {
        let Done { key, record, span, end } = done;
        let Some(pending) = self.records.get_mut(key) else { return };
        self.under_way.end(&pending.task);
        (pending.record, pending.span) = (Some(record), span);
        self.partitions[pending.hold].under_way -= 1;
        match end {
            End::Delivered => {
                self.gate.judge(key, None, now.at);
                self.counts.delivered += 1;
                self.settle(key);
            }
            End::Buried => {
                self.counts.dead_lettered += 1;
                self.settle(key);
            }
            End::Failed(error) => self.fail(key, error, now, chance),
            End::NotBuried => self.bury_later(key, now.at, chance),
        }
    }

    /// Nothing new begins for these partitions.
    pub(crate) fn drain(&mut self, ids: &[PartitionId]) {
        for hold in ids.iter().filter_map(|id| self.holds.get(id)) {
            self.partitions[*hold].draining = true;
        }
    }

    /// Records of these partitions that are under way.
    pub(crate) fn under_way_in(&self, ids: &[PartitionId]) -> usize {
        ids.iter().filter_map(|id| self.holds.get(id)).map(|hold| self.partitions[*hold].under_way).sum()
    }

    /// Ends the hold on a partition; says how far it is settled.
    pub(crate) fn release(&mut self, id: &PartitionId, now: Instant) -> Option<(HoldKey, Option<Commit>)> {
        let hold = self.holds.remove(id)?;
        let mut partition = self.partitions.remove(hold)?;
        let clock = self.clock.read(now);
        let commit = partition.commit(|key| self.records.get(key)?.spent(clock));
        let unsettled = partition.offsets.unsettled();
        if partition.halted.is_some() {
            self.counts.halted -= 1;
            self.halts_changed = true;
        }
        info!(partition = %id, unsettled, "Partition given back");
        for key in partition.offsets.window().filter_map(|(_, key)| key.copied()) {
            self.forget(key);
        }
        self.counts.returned += count(unsettled);
        self.share_memory();
        Some((hold, commit))
    }

    /// What the sink last failed with.
    pub(crate) fn sink_failure(&self) -> &str {
        self.gate.failure()
    }

    /// Whether there is something to tell beside counts, where the circuit was told to be like this.
    pub(crate) fn has_news(&self, told: Circuit) -> bool {
        self.circuit != told || self.halts_changed
    }

    /// The partitions that stopped at a record, where that is news.
    pub(crate) fn halts(&mut self) -> Option<Vec<HaltedPartition>> {
        let halted = || self.partitions.values().filter_map(Partition::told_as_halted).collect();
        std::mem::take(&mut self.halts_changed).then(halted)
    }

    /// What is to be written down of how far partitions are settled.
    pub(crate) fn commits(&mut self, now: Instant) -> Vec<Commit> {
        self.committed.at(self.counts.settled());
        let (records, clock) = (&self.records, self.clock.read(now));
        let spent = |key| records.get(key)?.spent(clock);
        let commits = self.partitions.values_mut().filter_map(|partition| partition.next_commit(now, spent)).collect();
        for hold in self.partitions.keys().collect::<Vec<_>>() {
            self.pause_or_resume(hold);
        }
        commits
    }

    /// What was told of how far partitions are settled may not have been written down: all of it is worth a commit again.
    pub(crate) fn tell_anew(&mut self) {
        self.partitions.values_mut().for_each(Partition::tell_anew);
    }

    /// Whether so many are settled since that commits do not wait for their time.
    pub(crate) fn owes_commits(&self) -> bool {
        self.committed.is_far_behind(self.counts.settled())
    }

    /// What the source is to be told.
    pub(crate) fn commands(&mut self) -> impl Iterator<Item = Command> {
        self.commands.drain(..)
    }

    pub(crate) fn counts(&self) -> Counts {
        let in_flight = count(self.under_way.deliveries);
        Counts { partitions: count(self.partitions.len()), circuit: self.circuit, in_flight, ..self.counts }
    }

    fn meet(&mut self, hold: HoldKey, record: Record, now: Moment, judge: impl Fn(&Record) -> Verdict) {
        let partition = &mut self.partitions[hold];
        let spent = match partition.meet(record.offset) {
            Known::New => None,
            Known::Failing(spent) => Some(spent),
            Known::Settled => return partition.pass(record.offset),
            Known::Begun => return debug!(partition = %partition.id, offset = record.offset, "Record read twice"),
        };
        let verdict = judge(&record);
        if let (Verdict::Reject(rejection), OnDataError::Halt) = (&verdict, self.delivery.on_data_error) {
            // It is not begun: the wall stays before it, and whoever reads it next judges it anew.
            return self.halt(hold, record.offset, &Failed::to_process(rejection.clone(), now.utc));
        }
        self.counts.received += 1;
        match verdict {
            Verdict::Deliver(message) => {
                let failing = spent.map(|spent| Failing { spent, since: self.clock.read(now.at) });
                self.enter(hold, record, Task::Deliver(message), failing);
            }
            Verdict::Skip { .. } => self.skip(hold, record.offset),
            Verdict::Reject(rejection) => self.reject(hold, record, rejection, now),
        }
    }

    fn skip(&mut self, hold: HoldKey, offset: i64) {
        self.partitions[hold].pass(offset);
        self.counts.skipped += 1;
    }

    fn reject(&mut self, hold: HoldKey, record: Record, rejection: Rejection, now: Moment) {
        match self.delivery.on_data_error {
            OnDataError::DeadLetter | OnDataError::Halt => {
                let letter = Arc::new(Failed::to_process(rejection, now.utc));
                self.enter(hold, record, Task::Bury(letter, 0), None);
            }
            OnDataError::Drop => {
                debug!(offset = record.offset, stage = rejection.stage, "Record dropped: {}", rejection.message);
                self.skip(hold, record.offset);
            }
        }
    }

    /// A record has begun. It takes its turn in its lane, so that dead letters are in order too.
    fn enter(&mut self, hold: HoldKey, record: Record, task: Task, failing: Option<Failing>) {
        let lane = lane(self.delivery.ordering, &record);
        let pending = Pending { failing, ..Pending::new(hold, lane.clone(), task, record) };
        let (offset, size) = (pending.offset, pending.size);
        let key = self.records.insert(pending);
        let partition = &mut self.partitions[hold];
        partition.begin(offset, size, key);
        let first = lane.map_or(Some(key), |lane| partition.lanes.enter(&lane, key));
        if let Some(key) = first {
            self.take_turn(key);
        }
    }

    /// Nothing before this record holds it up any more.
    fn take_turn(&mut self, key: RecordKey) {
        let pending = &self.records[key];
        match (&pending.task, pending.failing.map(|failing| failing.spent)) {
            (Task::Bury(..), _) => self.bury(key),
            (Task::Deliver(_), Some(spent)) if spent.attempts >= self.delivery.retry.max_attempts => {
                self.give_up(key, Failed::before(self.sink, &spent));
            }
            (Task::Deliver(_), _) => self.ready.push_back(key),
        }
    }

    /// Puts those whose time has come among those that may begin.
    fn wake(&mut self, now: Instant) {
        while let Some(Reverse((at, key))) = self.later.peek().copied() {
            if at > now {
                return;
            }
            self.later.pop();
            let Some(pending) = self.records.get(key) else { continue };
            match pending.task {
                // Those that waited come before those that never began: they are what the wall waits for.
                Task::Deliver(_) => self.ready.push_front(key),
                Task::Bury(..) if self.partitions[pending.hold].draining => {}
                Task::Bury(..) => self.bury(key),
            }
        }
    }

    fn next_letter(&mut self) -> Option<Work> {
        while self.under_way.has_room_for_burials() {
            let key = self.letters.pop_front()?;
            if self.records.contains_key(key) {
                self.under_way.burials += 1;
                return Some(self.work(key));
            }
        }
        None
    }

    fn next_delivery(&mut self, now: Instant) -> Option<Work> {
        while self.ready.front().is_some_and(|key| !self.may_begin(*key)) {
            self.ready.pop_front();
        }
        if self.ready.is_empty() || !self.under_way.has_room_for_deliveries() {
            return None;
        }
        let key = match self.gate.pass(now) {
            Pass::Any => self.ready.pop_front()?,
            Pass::Probe => self.next_probe()?,
            Pass::Nothing => return None,
        };
        self.partitions[self.records[key].hold].under_way += 1;
        self.under_way.deliveries += 1;
        Some(self.work(key))
    }

    /// One that never failed tells more of the sink than one that always does.
    fn next_probe(&mut self) -> Option<RecordKey> {
        let is_fresh = |key: &RecordKey| self.may_begin(*key) && self.records[*key].failing.is_none();
        let index = self.ready.iter().position(is_fresh).unwrap_or_default();
        let key = self.ready.remove(index)?;
        self.gate.probe_with(key);
        Some(key)
    }

    fn may_begin(&self, key: RecordKey) -> bool {
        self.records.get(key).is_some_and(|pending| self.partitions[pending.hold].may_begin(pending.offset))
    }

    /// The budgets' clock stands still while the circuit is not closed or the sink wants nothing, and nothing is read while the
    /// circuit is open.
    fn follow_gate(&mut self, now: Instant) {
        let before = std::mem::replace(&mut self.circuit, self.gate.circuit(now));
        self.clock.run(self.circuit == Circuit::Closed && !self.gate.leaves_alone(now), now);
        if before != self.circuit {
            for hold in self.partitions.keys().collect::<Vec<_>>() {
                self.pause_or_resume(hold);
            }
        }
    }

    fn work(&mut self, key: RecordKey) -> Work {
        let pending = &mut self.records[key];
        let record = pending.record.take().expect("a record is not under way twice");
        Work { key, hold: pending.hold, record, task: pending.task.clone(), span: std::mem::take(&mut pending.span) }
    }

    fn fail(&mut self, key: RecordKey, error: DeliveryError, now: Moment, chance: f64) {
        let passing = error.failure.is_passing();
        let was_probe = self.gate.judge(key, passing.then_some(&*error.message), now.at);
        self.gate.leave_alone(error.failure.hold(), now.at);
        self.follow_gate(now.at);
        if was_probe && passing {
            // It found out about the sink and nothing about the record, whose budget stays as it was.
            self.ready.push_back(key);
            return;
        }
        let spent = self.records[key].spend(now, self.clock.read(now.at));
        match decide(&self.delivery.retry, &spent, error.failure, chance) {
            Decision::Retry { after } => {
                self.counts.retries += 1;
                self.later.push(Reverse((now.at + after, key)));
            }
            Decision::GiveUp(reason) => self.give_up(key, Failed::to_deliver(self.sink, error, reason, &spent)),
        }
    }

    fn give_up(&mut self, key: RecordKey, failed: Failed) {
        match self.delivery.on_delivery_error {
            OnDeliveryError::DeadLetter => {
                self.records[key].task = Task::Bury(Arc::new(failed), 0);
                self.bury(key);
            }
            OnDeliveryError::Halt => {
                let pending = &mut self.records[key];
                // Whoever goes on with it has the whole budget.
                pending.failing = None;
                // Nothing is done with it here any more.
                std::mem::take(&mut pending.span).fail(|| failed.code.clone());
                let (hold, offset) = (pending.hold, pending.offset);
                self.halt(hold, offset, &failed);
            }
        }
    }

    /// The partition stops at this record. What is under way in it comes to its end.
    fn halt(&mut self, hold: HoldKey, offset: i64, failed: &Failed) {
        let partition = &mut self.partitions[hold];
        self.counts.halted += u64::from(partition.halted.is_none());
        partition.halt(offset, failed);
        self.halts_changed = true;
        self.pause_or_resume(hold);
    }

    /// Its dead letter is to be written. It counts as under way, so that a partition that goes waits for it.
    fn bury(&mut self, key: RecordKey) {
        self.partitions[self.records[key].hold].under_way += 1;
        self.letters.push_back(key);
    }

    /// Tries for as long as it takes: a record that is neither delivered nor a confirmed dead letter is not settled.
    fn bury_later(&mut self, key: RecordKey, now: Instant, chance: f64) {
        let Task::Bury(_, failures) = &mut self.records[key].task else { return };
        *failures += 1;
        let wait = patience(&self.delivery.retry.backoff, *failures, chance);
        self.later.push(Reverse((now + wait, key)));
    }

    fn settle(&mut self, key: RecordKey) {
        let Some(Pending { hold, offset, size, lane, .. }) = self.records.remove(key) else { return };
        let partition = &mut self.partitions[hold];
        partition.settle(offset, size);
        if let Some(next) = lane.and_then(|lane| partition.lanes.leave(&lane)) {
            self.take_turn(next);
        }
        self.pause_or_resume(hold);
    }

    /// Its partition is gone, and what is under way for it with it.
    fn forget(&mut self, key: RecordKey) {
        let Some(pending) = self.records.remove(key) else { return };
        self.gate.forget(key);
        if pending.record.is_none() {
            self.under_way.end(&pending.task);
        }
    }

    fn pause_or_resume(&mut self, hold: HoldKey) {
        let closed = self.circuit == Circuit::Open;
        let partition = &mut self.partitions[hold];
        if partition.may_resume(&self.limits, closed) {
            partition.paused = false;
            self.commands.push(Command::Resume(partition.id.clone()));
        } else if !partition.paused && partition.must_wait(closed) {
            self.pause(hold);
        } else if !partition.paused && partition.is_full(&self.limits) {
            self.room.fill(hold);
        }
    }

    fn pause(&mut self, hold: HoldKey) {
        let partition = &mut self.partitions[hold];
        partition.paused = true;
        self.commands.push(Command::Pause(partition.id.clone()));
    }

    fn share_memory(&mut self) {
        self.limits.share(self.partitions.len());
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
