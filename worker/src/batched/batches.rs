//! What is written next, and what becomes of it. Pure.
//!
//! A partition's state runs ahead of what is written by one batch at most: the one that is being written, or is written again.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sluice_crds::{Delivery, OnDataError, OnDeliveryError, wire::HaltedPartition};
use sluice_kafka::{CommittedOffset, TopicPartition};
use sluice_pipeline::{Message, Record, Rejection, Verdict};
use tracing::{debug, info};

use crate::{
    dead_letters::Failed,
    engine::{Known, Partition, Placement},
    retry::{Failure, GiveUp, Spent},
    sink::DeliveryError,
    source::{Batch, Command, Commit, Extent, PartitionId, Place, Position, Start},
    status::Counts,
    told::Told,
};

/// What was read and is not written, partition by partition.
pub(crate) struct Batches {
    delivery: Delivery,
    /// The sink's name, as stage of its errors.
    sink: &'static str,
    holds: HashMap<PartitionId, Hold>,
    /// Holds that there were.
    begun: u64,
    /// What the source told and nobody looked at yet, in order.
    waiting: VecDeque<Waiting>,
    /// The memory of the records that wait.
    bytes: usize,
    /// What is being written.
    parts: Vec<Part>,
    look_at_positions: bool,
    paused: bool,
    commands: Vec<Command>,
    counts: Counts,
    halts_changed: bool,
}

/// One hold on a partition; a later one on the same partition has another number.
struct Hold {
    number: u64,
    /// All that was read and judged.
    partition: Partition,
    /// How far all of it is written.
    written: Option<Commit>,
    told: Told,
}

enum Waiting {
    Records(u64, Batch),
    Reached(Vec<Position>),
}

/// What is written of one partition.
struct Part {
    hold: u64,
    commit: Commit,
    outputs: Vec<Output>,
    skipped: u64,
}

/// A record and what becomes of it.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) record: Record,
    pub(crate) fate: Fate,
}

/// What was made of records that were read.
#[derive(Default)]
struct Judged {
    outputs: Vec<Output>,
    skipped: u64,
}

/// Why a topic does not take a record.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What becomes of a record.
#[derive(Debug)]
pub(crate) enum Fate {
    Deliver(Message),
    Bury(Box<Failed>),
}

/// Records of one batch, about: more take longer than a rebalance should wait, fewer cost more for each.
const RECORDS: usize = 5_000;
/// Bytes of records that wait, before the source is told to read no more; it goes on at half of it.
const BYTES: usize = 16 * 1024 * 1024;

impl Batches {
    pub(crate) fn new(delivery: Delivery, sink: &'static str) -> Self {
        Self {
            delivery,
            sink,
            holds: HashMap::new(),
            begun: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            parts: Vec::new(),
            look_at_positions: false,
            paused: false,
            commands: Vec::new(),
            counts: Counts::default(),
            halts_changed: false,
        }
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// A partition is ours from now on.
    pub(crate) fn assign(&mut self, Start { partition: id, committed }: Start) {
        info!(partition = %id, offset = ?committed.as_ref().map(|commit| commit.offset), "Partition assigned");
        self.begun += 1;
        let partition = Partition::new(id.clone(), committed.clone());
        if self.paused {
            self.commands.push(Command::Pause(id.clone()));
        }
        self.holds.insert(id, Hold { number: self.begun, partition, written: committed, told: Told::default() });
    }

    /// Records were read.
    pub(crate) fn receive(&mut self, batch: Batch) {
        let Some(hold) = self.holds.get(&batch.partition).map(|hold| hold.number) else {
            return debug!(partition = %batch.partition, "Records of a partition that is not ours");
        };
        self.bytes += memory(&batch);
        self.waiting.push_back(Waiting::Records(hold, batch));
        self.pause_or_resume();
    }

    /// The source has told all records before these positions.
    pub(crate) fn reach(&mut self, positions: Vec<Position>) {
        self.waiting.push_back(Waiting::Reached(positions));
    }

    /// Positions that were reached without a record are worth a commit now.
    pub(crate) fn look_at_positions(&mut self) {
        self.look_at_positions = true;
    }

    /// Where a partition is read on that cannot be read where it was.
    pub(crate) fn place(&mut self, extent: &Extent) -> Place {
        let Some(hold) = self.holds.get_mut(&extent.partition) else { return Place::Nowhere };
        let number = hold.number;
        let is_its = |waiting: &Waiting| matches!(waiting, Waiting::Records(hold, _) if *hold == number);
        if self.waiting.iter().any(is_its) || self.parts.iter().any(|part| part.hold == number) {
            return Place::Later;
        }
        match hold.partition.place(extent) {
            Placement::Later => Place::Later,
            Placement::From { offset, gone } => {
                self.counts.gone += gone;
                Place::From { offset, paused: self.paused || hold.partition.halted.is_some() }
            }
            Placement::Anew => {
                let committed = Commit { partition: extent.partition.clone(), offset: extent.low, note: String::new() };
                drop(self.release(std::slice::from_ref(&extent.partition)));
                self.assign(Start { partition: extent.partition.clone(), committed: Some(committed) });
                Place::From { offset: extent.low, paused: self.paused }
            }
        }
    }

    /// These partitions are no longer ours; says how far they are written. What is being written of them may be written all the same.
    pub(crate) fn release(&mut self, ids: &[PartitionId]) -> Vec<Commit> {
        let released: Vec<_> = ids.iter().filter_map(|id| self.holds.remove(id)).collect();
        for Hold { partition, .. } in &released {
            self.halts_changed |= partition.halted.is_some();
            info!(partition = %partition.id, "Partition given back");
        }
        released.into_iter().filter_map(|hold| hold.written).collect()
    }

    /// What is to be written down of how far partitions are written.
    pub(crate) fn commits(&mut self, now: Instant) -> Vec<Commit> {
        let due = |hold: &mut Hold| {
            let Hold { written, told, .. } = hold;
            written.as_ref().filter(|commit| told.is_due(commit, now)).cloned()
        };
        self.holds.values_mut().filter_map(due).collect()
    }

    /// No partition is ours any more, and nothing is being written.
    pub(crate) fn release_all(&mut self) {
        let all: Vec<_> = self.holds.keys().cloned().collect();
        drop(self.release(&all));
    }

    /// Whether there is something to write: what was not written before, or else what waits. `judge` says what is to become of a
    /// record, and `is_enough` when others should have their turn.
    pub(crate) fn next(
        &mut self,
        now: DateTime<Utc>,
        judge: impl Fn(&Record) -> Verdict,
        is_enough: impl Fn() -> bool,
    ) -> bool {
        self.forget_what_is_gone();
        if self.parts.is_empty() && (self.look_at_positions || !self.waiting.is_empty()) {
            self.fill(now, &judge, is_enough);
            self.pause_or_resume();
        }
        !self.parts.is_empty()
    }

    /// What is being written, in order.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.parts.iter().flat_map(|part| &part.outputs)
    }

    /// How far the partitions are then read.
    pub(crate) fn offsets(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let offset = |part: &Part| {
            let Commit { partition: PartitionId { topic, partition }, offset, note } = part.commit.clone();
            (TopicPartition { topic: topic.to_string(), partition }, CommittedOffset { offset, metadata: note })
        };
        self.parts.iter().map(offset).collect()
    }

    /// It was written.
    pub(crate) fn succeed(&mut self) {
        for Part { hold, commit, outputs, skipped } in std::mem::take(&mut self.parts) {
            self.counts.skipped += skipped;
            for output in &outputs {
                self.count(output);
            }
            if let Some(held) = self.holds.get_mut(&commit.partition).filter(|held| held.number == hold) {
                held.written = Some(commit);
            }
        }
    }

    /// It was written but for these, by their places. Of each partition what comes behind one that failed is written again with it, so
    /// that what is kept in order ends in order. `false`: one that is refused is a dead letter already.
    pub(crate) fn succeed_but(&mut self, refused: &[(usize, Refusal)], failed: &[usize], now: DateTime<Utc>) -> bool {
        let mut taken = true;
        let refused: HashMap<usize, &Refusal> = refused.iter().map(|(place, refusal)| (*place, refusal)).collect();
        let mut first = 0;
        for number in 0..self.parts.len() {
            let length = self.parts[number].outputs.len();
            let again_from = failed.iter().copied().find(|place| (first..first + length).contains(place));
            let outputs = std::mem::take(&mut self.parts[number].outputs);
            for (place, output) in (first..).zip(outputs) {
                let again = again_from.is_some_and(|from| place >= from);
                match refused.get(&place) {
                    None if again => self.parts[number].outputs.push(output),
                    None => self.count(&output),
                    Some(refusal) => {
                        self.parts[number].outputs.push(output);
                        let at = self.parts[number].outputs.len() - 1;
                        taken &= self.refuse_at(number, at, refusal, now);
                        if self.is_halted(number) {
                            break;
                        }
                    }
                }
            }
            first += length;
        }
        taken
    }

    /// This one of what was to be written is not taken; nothing was written. `false`: it is a dead letter already.
    pub(crate) fn refuse(&mut self, index: usize, refusal: &Refusal, now: DateTime<Utc>) -> bool {
        let Some((part, place)) = self.find(index) else { return true };
        self.refuse_at(part, place, refusal, now)
    }

    fn refuse_at(&mut self, part: usize, place: usize, refusal: &Refusal, now: DateTime<Utc>) -> bool {
        let Output { record, fate } = &mut self.parts[part].outputs[place];
        if let Fate::Bury(_) = fate {
            return false;
        }
        let spent = Spent { attempts: 1, elapsed: Duration::ZERO, first_failed_at: now };
        let Refusal { code, message } = refusal.clone();
        let error = DeliveryError { failure: Failure::Refusal, code, message };
        let failed = Failed::to_deliver(self.sink, error, GiveUp::Refused, &spent);
        match self.delivery.on_delivery_error {
            OnDeliveryError::DeadLetter => *fate = Fate::Bury(Box::new(failed)),
            OnDeliveryError::Halt => {
                let offset = record.offset;
                self.halt_at(part, place, offset, &failed);
            }
        }
        true
    }

    /// Drops what was not written of partitions that are no longer ours.
    pub(crate) fn forget_what_is_gone(&mut self) {
        let holds = &self.holds;
        let is_ours = |part: &Part| holds.get(&part.commit.partition).is_some_and(|hold| hold.number == part.hold);
        let (ours, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parts).into_iter().partition(is_ours);
        self.parts = ours;
        self.counts.returned += gone.iter().map(|part| count(part.outputs.len()) + part.skipped).sum::<u64>();
    }

    /// What the source is to be told.
    pub(crate) fn commands(&mut self) -> impl Iterator<Item = Command> {
        self.commands.drain(..)
    }

    pub(crate) fn counts(&self) -> Counts {
        let halted = self.holds.values().filter(|hold| hold.partition.halted.is_some()).count();
        let in_flight = count(self.outputs().count());
        Counts { partitions: count(self.holds.len()), halted: count(halted), in_flight, ..self.counts }
    }

    /// The partitions that stopped at a record, where that is news.
    pub(crate) fn halts(&mut self) -> Option<Vec<HaltedPartition>> {
        let halted = || self.holds.values().filter_map(|hold| hold.partition.told_as_halted()).collect();
        std::mem::take(&mut self.halts_changed).then(halted)
    }

    fn fill(&mut self, now: DateTime<Utc>, judge: &impl Fn(&Record) -> Verdict, is_enough: impl Fn() -> bool) {
        let mut read = HashMap::<PartitionId, Judged>::new();
        let mut records = 0;
        while records < RECORDS
            && (records == 0 || !is_enough())
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Records(number, batch) => {
                    self.bytes -= memory(&batch);
                    records += batch.records.len();
                    let Some(held) = self.holds.get(&batch.partition).filter(|held| held.number == number) else {
                        continue;
                    };
                    if held.partition.halted.is_none() {
                        let id = batch.partition.clone();
                        let Judged { outputs, skipped } = self.judge(batch, now, judge);
                        let all = read.entry(id).or_default();
                        all.outputs.extend(outputs);
                        all.skipped += skipped;
                    }
                }
                Waiting::Reached(positions) => {
                    for Position { partition, offset } in positions {
                        if let Some(held) = self.holds.get_mut(&partition) {
                            held.partition.reach(offset);
                        }
                    }
                }
            }
        }
        let all = std::mem::take(&mut self.look_at_positions);
        for (id, held) in &mut self.holds {
            let Judged { outputs, skipped } = read.remove(id).unwrap_or_default();
            let Some(commit) = held.partition.commit(|_| None) else { continue };
            let moved = held.written.as_ref() != Some(&commit);
            if !outputs.is_empty() || moved && (all || skipped > 0) {
                self.parts.push(Part { hold: held.number, commit, outputs, skipped });
            }
        }
    }

    fn judge(
        &mut self,
        Batch { partition: id, records }: Batch,
        now: DateTime<Utc>,
        judge: &impl Fn(&Record) -> Verdict,
    ) -> Judged {
        let mut judged = Judged::default();
        let Some(Hold { partition, .. }) = self.holds.get_mut(&id) else { return judged };
        for record in records {
            let offset = record.offset;
            match partition.meet(offset) {
                // What earlier workers attempted without transactions counts for nothing here.
                Known::New | Known::Failing(_) => {}
                Known::Settled => {
                    partition.pass(offset);
                    continue;
                }
                Known::Begun => continue,
            }
            let fate = match judge(&record) {
                Verdict::Deliver(message) => Some(Fate::Deliver(message)),
                Verdict::Skip { .. } => None,
                Verdict::Reject(rejection) => match self.delivery.on_data_error {
                    OnDataError::Drop => {
                        debug!(offset, stage = rejection.stage, "Record dropped: {}", rejection.message);
                        None
                    }
                    OnDataError::DeadLetter => Some(bury(rejection, now)),
                    OnDataError::Halt => {
                        partition.halt(offset, &Failed::to_process(rejection, now));
                        self.halts_changed = true;
                        self.commands.push(Command::Pause(id));
                        return judged;
                    }
                },
            };
            partition.pass(offset);
            self.counts.received += 1;
            match fate {
                Some(fate) => judged.outputs.push(Output { record, fate }),
                None => judged.skipped += 1,
            }
        }
        judged
    }

    /// The partition stops at this record; what is before it is written.
    fn halt_at(&mut self, part: usize, place: usize, offset: i64, failed: &Failed) {
        let part = &mut self.parts[part];
        let after = part.outputs.split_off(place);
        self.counts.returned += count(after.len());
        let id = part.commit.partition.clone();
        part.commit = Commit { partition: id.clone(), offset, note: String::new() };
        if let Some(held) = self.holds.get_mut(&id) {
            held.partition = Partition::new(id.clone(), Some(part.commit.clone()));
            held.partition.halt(offset, failed);
        }
        self.halts_changed = true;
        self.commands.push(Command::Pause(id));
    }

    fn is_halted(&self, part: usize) -> bool {
        self.holds.get(&self.parts[part].commit.partition).is_some_and(|hold| hold.partition.halted.is_some())
    }

    fn count(&mut self, output: &Output) {
        match output.fate {
            Fate::Deliver(_) => self.counts.delivered += 1,
            Fate::Bury(_) => self.counts.dead_lettered += 1,
        }
    }

    /// The part and the place in it of one of the outputs.
    fn find(&self, mut index: usize) -> Option<(usize, usize)> {
        for (number, part) in self.parts.iter().enumerate() {
            if index < part.outputs.len() {
                return Some((number, index));
            }
            index -= part.outputs.len();
        }
        None
    }

    fn pause_or_resume(&mut self) {
        let paused = if self.paused { self.bytes > BYTES / 2 } else { self.bytes > BYTES };
        if paused == self.paused {
            return;
        }
        self.paused = paused;
        let moving = self.holds.iter().filter(|(_, hold)| hold.partition.halted.is_none()).map(|(id, _)| id.clone());
        let command = if paused { Command::Pause } else { Command::Resume };
        self.commands.extend(moving.map(command));
    }
}

fn bury(rejection: Rejection, now: DateTime<Utc>) -> Fate {
    Fate::Bury(Box::new(Failed::to_process(rejection, now)))
}

fn memory(batch: &Batch) -> usize {
    batch.records.iter().map(Record::memory).sum()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
