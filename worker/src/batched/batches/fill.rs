//! The next batch of what waits: what is to become of each record, and how far each partition is then read.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use sluice_crds::OnDataError;
use sluice_pipeline::{Record, Rejection, Verdict};
use tracing::debug;

use super::{BYTES, Batches, Fate, Hold, Output, Part, Waiting, memory};
use crate::{
    dead_letters::Failed,
    engine::Known,
    source::{Batch, Command, PartitionId, Position},
};

/// What was made of records that were read.
#[derive(Default)]
struct Judged {
    outputs: Vec<Output>,
    skipped: u64,
    /// The memory of the outputs.
    bytes: usize,
    /// How much of it is enough.
    most: usize,
}

/// Records of one batch, about: more take longer than a rebalance should wait, fewer cost more for each.
const RECORDS: usize = 5_000;
/// Records that are judged between two looks whether it is enough: each may take its share of time.
const JUDGED: usize = 16;

impl Batches {
    /// Judges what waits, and takes it into the next batch: partition by partition, without those that are stuck.
    pub(super) fn fill(
        &mut self,
        now: DateTime<Utc>,
        judge: &impl Fn(&Record) -> Verdict,
        is_enough: impl Fn() -> bool,
    ) {
        let mut read = HashMap::new();
        self.take_in(now, (judge, is_enough), &mut read);
        let all = std::mem::take(&mut self.look_at_positions);
        let looked_at =
            if all { self.holds.keys().cloned().collect() } else { read.keys().cloned().collect::<Vec<_>>() };
        for id in looked_at {
            let Some(held) = self.holds.get_mut(&id).filter(|held| !held.is_stuck()) else { continue };
            let Judged { outputs, skipped, bytes, .. } = read.remove(&id).unwrap_or_default();
            let Some(commit) = held.partition.commit(|_| None) else { continue };
            let moved = held.ahead.as_ref() != Some(&commit);
            if !outputs.is_empty() || moved && (all || skipped > 0) {
                held.ahead = Some(commit.clone());
                let part = Part { hold: held.number, commit, outputs, skipped, bytes };
                match self.prepared.iter_mut().find(|prepared| prepared.hold == part.hold) {
                    Some(prepared) => prepared.append(part),
                    None => self.prepared.push(part),
                }
            }
        }
    }

    /// Judges what waits, as far as there is room for it.
    fn take_in(
        &mut self,
        now: DateTime<Utc>,
        (judge, is_enough): (&impl Fn(&Record) -> Verdict, impl Fn() -> bool),
        read: &mut HashMap<PartitionId, Judged>,
    ) {
        let mut left = VecDeque::new();
        let mut bytes = self.prepared.iter().map(|part| part.bytes).sum::<usize>();
        let before = self.prepared.iter().map(|part| part.outputs.len()).sum::<usize>();
        let mut records = before;
        while records < RECORDS
            && bytes < BYTES
            && (records == before || !is_enough())
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Records(number, batch) => {
                    let held = self.holds.get_mut(&batch.partition).filter(|held| held.number == number);
                    if held.as_ref().is_some_and(|held| held.is_stuck()) {
                        left.push_back(Waiting::Records(number, batch));
                        continue;
                    }
                    let taken = memory(&batch);
                    self.bytes -= taken;
                    records += batch.records.len();
                    let Some(held) = held else { continue };
                    held.waiting -= taken;
                    if held.partition.halted.is_some() {
                        continue;
                    }
                    let judged = read.entry(batch.partition.clone()).or_default();
                    let made_before = judged.bytes;
                    judged.most = made_before + (BYTES - bytes);
                    let rest = self.judge(batch, now, (judge, &is_enough), judged);
                    bytes += judged.bytes - made_before;
                    if let Some(rest) = rest {
                        records -= rest.records.len();
                        self.put_back(number, rest);
                    }
                }
                Waiting::Reached(number, position) => left.extend(self.reached(number, position)),
            }
        }
        left.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
    }

    /// What is left of records that were judged waits before all others.
    fn put_back(&mut self, number: u64, rest: Batch) {
        let bytes = memory(&rest);
        self.bytes += bytes;
        if let Some(held) = self.holds.get_mut(&rest.partition) {
            held.waiting += bytes;
        }
        self.waiting.push_front(Waiting::Records(number, rest));
    }

    /// A position is reached; gives it back where something waits before it.
    fn reached(&mut self, number: u64, position: Position) -> Option<Waiting> {
        let held = self.holds.get_mut(&position.partition).filter(|held| held.number == number)?;
        if held.is_stuck() {
            return Some(Waiting::Reached(number, position));
        }
        held.partition.reach(position.offset);
        None
    }

    /// Adds what is made of a batch to what was made of those before it in its partition. Gives what is left of it once it is enough.
    fn judge(
        &mut self,
        Batch { partition: id, records }: Batch,
        now: DateTime<Utc>,
        (judge, is_enough): (&impl Fn(&Record) -> Verdict, &impl Fn() -> bool),
        judged: &mut Judged,
    ) -> Option<Batch> {
        let Hold { partition, .. } = self.holds.get_mut(&id)?;
        judged.outputs.reserve(records.len());
        let mut records = records.into_iter();
        for number in 0_usize.. {
            // What is made of one record may be enough.
            let is_turn = number > 0 && number.is_multiple_of(JUDGED);
            if !records.as_slice().is_empty() && (judged.bytes >= judged.most || is_turn && is_enough()) {
                return Some(Batch { partition: id, records: records.collect() });
            }
            let record = records.next()?;
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
                        return None;
                    }
                },
            };
            partition.pass(offset);
            self.counts.received += 1;
            match fate {
                Some(fate) => {
                    let output = Output { record, fate };
                    judged.bytes += output.memory();
                    judged.outputs.push(output);
                }
                None => judged.skipped += 1,
            }
        }
        None
    }
}

fn bury(rejection: Rejection, now: DateTime<Utc>) -> Fate {
    Fate::Bury(Box::new(Failed::to_process(rejection, now)))
}
