//! What is written next, and what becomes of it. Pure.
//!
//! A partition's state runs ahead of what is written by two batches at most: the one that is being written, or is stuck and written
//! again, and the one that is prepared meanwhile. While it is stuck no more is read of it, and the other partitions go on, until too much
//! is stuck.
//!
//! - `fill`: the next batch of what waits.

mod fill;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sluice_crds::{Delivery, OnDeliveryError, wire::HaltedPartition};
use sluice_kafka::{CommittedOffset, TopicPartition};
use sluice_pipeline::{Message, Record, Verdict};
use tracing::{debug, info, warn};

use crate::{
    dead_letters::Failed,
    engine::{ANEW, Partition, Placement, Wait},
    retry::{Failure, GiveUp, Spent},
    sink::DeliveryError,
    source::{Batch, Command, Commit, Extent, PartitionId, Place, Position, Start},
    status::Counts,
    told::{Committed, Told},
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
    /// What is written next.
    prepared: Vec<Part>,
    /// What is being written.
    parts: Vec<Part>,
    /// What was not written and is written again.
    stuck: VecDeque<Part>,
    look_at_positions: bool,
    wait: Wait,
    paused: bool,
    commands: Vec<Command>,
    counts: Counts,
    committed: Committed,
    halts_changed: bool,
}

/// One hold on a partition; a later one on the same partition has another number.
struct Hold {
    number: u64,
    /// All that was read and judged.
    partition: Partition,
    /// How far all of it is written.
    written: Option<Commit>,
    /// How far it will be, once all that is prepared is written.
    ahead: Option<Commit>,
    told: Told,
    /// The memory of what is written again before any more is, as long as there is some.
    stuck: Option<usize>,
    /// The memory of its records that wait.
    waiting: usize,
    /// The position that was told last.
    reached: Option<i64>,
}

/// What was told of the hold with this number: a later hold on the same partition may begin before it.
enum Waiting {
    Records(u64, Batch),
    Reached(u64, Position),
}

/// What is written of one partition.
struct Part {
    hold: u64,
    commit: Commit,
    outputs: Vec<Output>,
    skipped: u64,
    /// The memory of its outputs.
    bytes: usize,
}

/// A record and what becomes of it.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) record: Record,
    pub(crate) fate: Fate,
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

/// Bytes of one batch, about: of its records and of what is made of them, as one may become many times as large.
///
/// As many bytes of records may wait, beside the batch that is prepared and the one that is being written, before no more are received,
/// and partitions are paused where that lasts. librdkafka drops what it fetched ahead of a partition that is paused, and fetches it again.
/// They are resumed at half of it.
const BYTES: usize = 8 * 1024 * 1024;
/// Bytes of what is stuck, with what was made of its records, or waits behind that, before nothing more is read of any partition: while
/// nothing can be written, each that is read gets stuck too, with what was prepared behind it. More than one partition brings along by
/// itself, which shall hold up no other.
const HELD_UP: usize = 32 * 1024 * 1024;

impl Batches {
    pub(crate) fn new(delivery: Delivery, sink: &'static str) -> Self {
        Self {
            delivery,
            sink,
            holds: HashMap::new(),
            begun: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            prepared: Vec::new(),
            parts: Vec::new(),
            stuck: VecDeque::new(),
            look_at_positions: false,
            wait: Wait::default(),
            paused: false,
            commands: Vec::new(),
            counts: Counts::default(),
            committed: Committed::default(),
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
        let hold = Hold {
            number: self.begun,
            partition,
            ahead: committed.clone(),
            written: committed,
            told: Told::default(),
            stuck: None,
            waiting: 0,
            reached: None,
        };
        self.holds.insert(id, hold);
    }

    /// Records were read.
    pub(crate) fn receive(&mut self, batch: Batch) {
        let Some(hold) = self.holds.get_mut(&batch.partition) else {
            return debug!(partition = %batch.partition, "Records of a partition that is not ours");
        };
        let bytes = memory(&batch);
        hold.waiting += bytes;
        self.bytes += bytes;
        self.waiting.push_back(Waiting::Records(hold.number, batch));
    }

    /// The source has told all records before these positions. One that was told before says nothing: while a partition is stuck it is told
    /// again and again, and nobody looks.
    pub(crate) fn reach(&mut self, positions: Vec<Position>) {
        for position in positions {
            let Some(held) = self.holds.get_mut(&position.partition) else { continue };
            if held.reached.replace(position.offset) != Some(position.offset) {
                self.waiting.push_back(Waiting::Reached(held.number, position));
            }
        }
    }

    /// Positions that were reached without a record are worth a commit now.
    pub(crate) fn look_at_positions(&mut self) {
        self.look_at_positions = true;
    }

    /// Where a partition is read on that cannot be read where it was.
    pub(crate) fn place(&mut self, extent: &Extent) -> Place {
        let Some(hold) = self.holds.get_mut(&extent.partition) else { return Place::Nowhere };
        let number = hold.number;
        let told = self.waiting.iter().filter_map(|waiting| waiting.end(number)).max();
        let mut parts = self.parts.iter().chain(&self.prepared).chain(&self.stuck);
        match hold.partition.place(extent, told) {
            Placement::From { offset, gone } => {
                self.counts.gone += gone;
                let paused = self.paused || hold.is_stuck() || hold.partition.halted.is_some();
                if told.is_some() {
                    self.reach(vec![Position { partition: extent.partition.clone(), offset }]);
                }
                Place::From { offset, paused }
            }
            Placement::Later => Place::Later,
            Placement::Anew if parts.any(|part| part.hold == number) => Place::Later,
            Placement::Anew => {
                self.begin_anew(&extent.partition, extent.low);
                Place::From { offset: extent.low, paused: self.paused }
            }
        }
    }

    /// A partition is read from its first record, as if nothing of it were known. That is worth a commit: what is committed does not
    /// exist.
    fn begin_anew(&mut self, id: &PartitionId, low: i64) {
        warn!(partition = %id, low, "{ANEW}");
        let committed = Commit { partition: id.clone(), offset: low, note: String::new() };
        drop(self.release(std::slice::from_ref(id)));
        self.assign(Start { partition: id.clone(), committed: Some(committed) });
        if let Some(hold) = self.holds.get_mut(id) {
            hold.ahead = None;
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
        self.committed.at(self.counts.settled());
        let due = |hold: &mut Hold| {
            let Hold { written, told, .. } = hold;
            written.as_ref().filter(|commit| told.is_due(commit, now)).cloned()
        };
        self.holds.values_mut().filter_map(due).collect()
    }

    /// What was told of how far partitions are written may not have been written down: all of it is worth a commit again.
    pub(crate) fn tell_anew(&mut self) {
        self.holds.values_mut().for_each(|hold| hold.told = Told::default());
    }

    /// Whether so many are written since that commits do not wait for their time.
    pub(crate) fn owes_commits(&self) -> bool {
        self.committed.is_far_behind(self.counts.settled())
    }

    /// No partition is ours any more, and nothing is being written.
    pub(crate) fn release_all(&mut self) {
        let all: Vec<_> = self.holds.keys().cloned().collect();
        drop(self.release(&all));
    }

    /// Whether something is prepared, which is then to be written.
    pub(crate) fn next(&mut self) -> bool {
        self.forget_what_is_gone();
        self.parts = std::mem::take(&mut self.prepared);
        !self.parts.is_empty()
    }

    /// Judges what waits, as far as it has room in one batch. `judge` says what is to become of a record, and `is_enough` when others
    /// should have their turn.
    pub(crate) fn prepare(
        &mut self,
        now: DateTime<Utc>,
        judge: impl Fn(&Record) -> Verdict,
        is_enough: impl Fn() -> bool,
    ) {
        if self.look_at_positions || !self.waiting.is_empty() {
            self.fill(now, &judge, is_enough);
        }
    }

    /// Whether there is something to write again: of so many partitions at most, and no more of several than a batch holds.
    pub(crate) fn next_stuck(&mut self, partitions: usize) -> bool {
        self.forget_what_is_gone();
        let mut bytes = 0;
        let fits = |part: &&Part| {
            bytes += part.bytes;
            bytes <= BYTES
        };
        let number = self.stuck.iter().take(partitions).take_while(fits).count().max(1);
        self.parts.extend(self.stuck.drain(..number.min(self.stuck.len())));
        !self.parts.is_empty()
    }

    /// Whether something has to be written again.
    pub(crate) fn has_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// Whether nothing else can be written.
    pub(crate) fn are_all_stuck(&self) -> bool {
        self.holds.values().all(Hold::is_stuck)
    }

    /// What is being written, in order.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.parts.iter().flat_map(|part| &part.outputs)
    }

    /// Whether the one at this place is a dead letter.
    pub(crate) fn is_letter(&self, place: usize) -> bool {
        let output = self.find(place).map(|(part, place)| &self.parts[part].outputs[place]);
        output.is_some_and(|output| matches!(output.fate, Fate::Bury(_)))
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
        for mut part in std::mem::take(&mut self.parts) {
            for output in part.outputs.drain(..) {
                self.count(&output);
            }
            self.settle(part);
        }
    }

    /// Nothing of it was written.
    pub(crate) fn fail(&mut self) {
        for part in std::mem::take(&mut self.parts) {
            self.stick(part);
        }
    }

    /// It was written but for these, by their places. Of each partition what comes behind one that failed is written again with it, so
    /// that what is kept in order ends in order. One that is refused and is a dead letter already is written again, too.
    pub(crate) fn succeed_but(&mut self, refused: &[(usize, Refusal)], failed: &[usize], now: DateTime<Utc>) {
        let refused: HashMap<usize, &Refusal> = refused.iter().map(|(place, refusal)| (*place, refusal)).collect();
        let mut first = 0;
        for number in 0..self.parts.len() {
            let length = self.parts[number].outputs.len();
            let again_from = failed.iter().copied().find(|place| (first..first + length).contains(place));
            let mut outputs = (first..).zip(std::mem::take(&mut self.parts[number].outputs));
            while let Some((place, output)) = outputs.next() {
                let again = again_from.is_some_and(|from| place >= from);
                match refused.get(&place) {
                    None if again => self.parts[number].outputs.push(output),
                    None => self.count(&output),
                    Some(refusal) => {
                        self.parts[number].outputs.push(output);
                        let at = self.parts[number].outputs.len() - 1;
                        self.refuse_at(number, at, refusal, now);
                        if self.is_halted(number) {
                            self.counts.returned += count(outputs.count());
                            break;
                        }
                    }
                }
            }
            first += length;
        }
        for part in std::mem::take(&mut self.parts) {
            if part.outputs.is_empty() { self.settle(part) } else { self.stick(part) }
        }
    }

    /// This one of what was to be written is not taken; nothing was written. `false`: it is a dead letter already.
    pub(crate) fn refuse(&mut self, index: usize, refusal: &Refusal, now: DateTime<Utc>) -> bool {
        let found = self.find(index);
        let taken = found.is_none_or(|(part, place)| self.refuse_at(part, place, refusal, now));
        // The one at fault comes last.
        if let Some((part, _)) = found {
            self.parts[part..].rotate_left(1);
        }
        self.fail();
        taken
    }

    /// All of a part is written.
    fn settle(&mut self, Part { hold, commit, skipped, .. }: Part) {
        self.counts.skipped += skipped;
        let Some(held) = self.holds.get_mut(&commit.partition).filter(|held| held.number == hold) else { return };
        if held.stuck.take().is_some() && !self.paused && held.partition.halted.is_none() {
            self.commands.push(Command::Resume(commit.partition.clone()));
        }
        held.written = Some(commit);
    }

    /// A part is written again, and nothing else of its partition before.
    fn stick(&mut self, mut part: Part) {
        if let Some(behind) = self.prepared.iter().position(|prepared| prepared.hold == part.hold) {
            part.append(self.prepared.remove(behind));
        }
        // Some of it may be written, or given back.
        let bytes: usize = part.outputs.iter().map(Output::memory).sum();
        part.bytes = bytes;
        let held = self.holds.get_mut(&part.commit.partition).filter(|held| held.number == part.hold);
        let pause = |held: &mut Hold| held.stuck.replace(bytes).is_none() && held.partition.halted.is_none();
        if held.is_some_and(pause) {
            self.commands.push(Command::Pause(part.commit.partition.clone()));
        }
        self.stuck.push_back(part);
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
        let (ours, gone): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.stuck).into_iter().partition(is_ours);
        let (next, never): (Vec<_>, Vec<_>) = std::mem::take(&mut self.prepared).into_iter().partition(is_ours);
        (self.stuck, self.prepared) = (ours, next);
        self.counts.returned += gone.iter().chain(&never).map(Part::read).sum::<u64>();
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

    /// The partition stops at this record; what is before it is written.
    fn halt_at(&mut self, part: usize, place: usize, offset: i64, failed: &Failed) {
        let part = &mut self.parts[part];
        let after = part.outputs.split_off(place);
        let behind = self.prepared.extract_if(.., |prepared| prepared.hold == part.hold);
        self.counts.returned += count(after.len()) + behind.map(|part| part.read()).sum::<u64>();
        let id = part.commit.partition.clone();
        part.commit = Commit { partition: id.clone(), offset, note: String::new() };
        // Who has the partition after it was given back reads the record again, and judges it anew.
        let Some(held) = self.holds.get_mut(&id).filter(|held| held.number == part.hold) else { return };
        held.partition = Partition::new(id.clone(), Some(part.commit.clone()));
        held.partition.halt(offset, failed);
        held.ahead = Some(part.commit.clone());
        self.halts_changed = true;
        self.commands.push(Command::Pause(id));
    }

    fn is_halted(&self, part: usize) -> bool {
        let Part { hold, commit, .. } = &self.parts[part];
        let held = self.holds.get(&commit.partition).filter(|held| held.number == *hold);
        held.is_some_and(|held| held.partition.halted.is_some())
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

    /// The memory of what is stuck, also while it is written again, and of what waits behind it. No more of that is read, so what waits
    /// need not hold up others.
    fn bytes_held_up(&self) -> (usize, usize) {
        let held_up = self.holds.values().filter_map(|hold| Some((hold.stuck?, hold.waiting)));
        held_up.fold((0, 0), |(stuck, behind), (more_stuck, more_behind)| (stuck + more_stuck, behind + more_behind))
    }

    /// Whether more records may be received.
    pub(crate) fn has_room(&self) -> bool {
        self.wait.ends_at().is_none()
    }

    /// When the source is told to read no more, unless there is room before.
    pub(crate) fn pauses_at(&self) -> Option<Instant> {
        self.wait.ends_at()
    }

    /// Looks whether there is room.
    pub(crate) fn pause_or_resume(&mut self, now: Instant) {
        let (stuck, behind) = self.bytes_held_up();
        let room = if self.paused { BYTES / 2 } else { BYTES };
        let full = self.bytes - behind > room || stuck + behind > HELD_UP;
        let pauses = self.wait.is_over(full && !self.paused, now);
        if !pauses && (full || !self.paused) {
            return;
        }
        self.paused = pauses;
        let moves = |hold: &Hold| !hold.is_stuck() && hold.partition.halted.is_none();
        let moving = self.holds.iter().filter(|(_, hold)| moves(hold)).map(|(id, _)| id.clone());
        let command = if pauses { Command::Pause } else { Command::Resume };
        self.commands.extend(moving.map(command));
    }
}

impl Hold {
    /// Whether some of it is written again before any more is.
    fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }
}

impl Output {
    /// The memory that it takes, about: that of its record, and of what was made of it.
    fn memory(&self) -> usize {
        let made = match &self.fate {
            Fate::Deliver(message) => message.memory_beside(&self.record),
            Fate::Bury(failed) => failed.memory(),
        };
        self.record.memory() + made
    }
}

impl Waiting {
    /// The offset after what was told of this hold, where it is about that one.
    fn end(&self, hold: u64) -> Option<i64> {
        match self {
            Self::Records(number, batch) if *number == hold => batch.records.last().map(|record| record.offset + 1),
            Self::Reached(number, position) if *number == hold => Some(position.offset),
            Self::Records(..) | Self::Reached(..) => None,
        }
    }
}

impl Part {
    /// How many records were read for it, as far as they are not settled.
    fn read(&self) -> u64 {
        count(self.outputs.len()) + self.skipped
    }

    /// What comes behind it in its partition is written with it.
    fn append(&mut self, behind: Self) {
        self.commit = behind.commit;
        self.outputs.extend(behind.outputs);
        self.skipped += behind.skipped;
        self.bytes += behind.bytes;
    }
}

fn memory(batch: &Batch) -> usize {
    batch.records.iter().map(Record::memory).sum()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
