//! One hold on a partition: what is known of its records, and when it must read no further.

use std::{collections::VecDeque, ops::Range, time::Instant};

use sluice_crds::wire::HaltedPartition;
use tracing::{error, warn};

use super::pending::RecordKey;
use crate::{
    dead_letters::Failed,
    lanes::Lanes,
    offsets::Offsets,
    progress::{Note, Progress},
    retry::Spent,
    source::{Commit, Extent, PartitionId},
    told::Told,
};

/// One hold on a partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) offsets: Offsets<RecordKey>,
    pub(crate) lanes: Lanes<RecordKey>,
    /// Records that are being delivered or buried, or are next to be buried.
    pub(crate) under_way: usize,
    /// It is about to go: nothing new begins.
    pub(crate) draining: bool,
    pub(crate) paused: bool,
    /// The record at which it stopped for good, and why.
    pub(crate) halted: Option<Halt>,
    /// What earlier holds, by whomever, left behind for records that are yet to be read.
    ahead: Ahead,
    told: Told,
    /// Whether the last commit could say all that is known.
    is_told: bool,
    /// Bytes of the unsettled records.
    bytes: usize,
}

/// Why a partition stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    pub(crate) offset: i64,
    pub(crate) reason: String,
}

/// What is known of a record when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was read before in this hold.
    Begun,
    /// An earlier hold settled it.
    Settled,
    /// An earlier hold attempted it.
    Failing(Spent),
    New,
}

/// Where a partition is read on that could not be read where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    From {
        offset: i64,
        /// Offsets before it of which nothing was read. Markers of transactions and compacted holes are among them.
        gone: u64,
    },
    /// From its first record, as if nothing of it were known: it was shortened, or made again.
    Anew,
    /// The same, but records are in hand that have to be settled before.
    Later,
}

/// What is said of a partition that is read anew.
pub(crate) const ANEW: &str = "The offset to read on from does not exist: reading from the first record";

/// Progress of earlier holds. Both lists ascend.
#[derive(Debug, Default)]
struct Ahead {
    settled: VecDeque<Range<i64>>,
    failing: VecDeque<(i64, Spent)>,
}

/// What a partition may hold before it is paused. It is resumed at half of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    unsettled: usize,
    span: usize,
    bytes: usize,
}

/// Unsettled records of one partition. At most so many wait behind a key that is blocked, before its partition waits too.
pub(super) const UNSETTLED: usize = 1_000;
/// Records from the lowest unsettled one on.
const SPAN: usize = 10_000;
/// Bytes of unsettled records, over all partitions; the worker's default memory limit is 256 MiB.
const BYTES: usize = 32 * 1024 * 1024;

impl Limits {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        let unsettled = UNSETTLED.max(max_in_flight.saturating_mul(2));
        Self { unsettled, span: SPAN.max(unsettled), bytes: BYTES }
    }

    /// So many partitions share the memory.
    pub(crate) fn share(&mut self, partitions: usize) {
        self.bytes = BYTES / partitions.max(1);
    }
}

impl Partition {
    /// A hold that goes on from what is committed. `None`: it is not known where the partition is read from.
    pub(crate) fn new(id: PartitionId, committed: Option<Commit>) -> Self {
        let progress = committed.as_ref().and_then(|commit| Progress::read(&commit.note, commit.offset));
        let Progress { settled, failing } = progress.unwrap_or_default();
        Self {
            id,
            offsets: Offsets::new(committed.map(|commit| commit.offset)),
            lanes: Lanes::default(),
            under_way: 0,
            draining: false,
            paused: false,
            halted: None,
            ahead: Ahead { settled: settled.into(), failing: failing.into() },
            told: Told::default(),
            is_told: true,
            bytes: 0,
        }
    }

    /// Whether the record with this offset may begin: those before the one at which the partition stopped still do.
    pub(crate) fn may_begin(&self, offset: i64) -> bool {
        !self.draining && self.halted.as_ref().is_none_or(|halt| offset < halt.offset)
    }

    /// It stops at this record, or at an earlier one where it did before.
    pub(crate) fn halt(&mut self, offset: i64, Failed { stage, code, message, .. }: &Failed) {
        let reason = format!("{stage}: {code}: {message}");
        error!(partition = %self.id, offset, "Partition halted: {reason}");
        if self.halted.as_ref().is_none_or(|before| offset < before.offset) {
            self.halted = Some(Halt { offset, reason });
        }
    }

    /// Where and why it stopped, as it is told.
    pub(crate) fn told_as_halted(&self) -> Option<HaltedPartition> {
        let Halt { offset, reason } = self.halted.clone()?;
        let PartitionId { topic, partition } = &self.id;
        Some(HaltedPartition { topic: topic.to_string(), partition: *partition, offset, reason })
    }

    /// All records before this offset were told. What lies behind the record at which it stopped is not.
    pub(crate) fn reach(&mut self, position: i64) {
        if self.halted.is_none() {
            self.offsets.reach(position);
        }
    }

    /// Where it is read on, when this is what there is of it. `told`: the offset after all that was read and that it does not know of
    /// yet, where there is any. Records in hand stay in hand: they are the wall as before.
    pub(crate) fn place(&mut self, extent: &Extent, told: Option<i64>) -> Placement {
        if self.offsets.next().is_none() {
            let Self { offsets, ahead, .. } = Self::new(self.id.clone(), extent.committed.clone());
            (self.offsets, self.ahead) = (offsets, ahead);
        }
        let next = self.offsets.next().max(told).unwrap_or(extent.low);
        let Extent { low, high, .. } = *extent;
        if next > high {
            let is_in_hand = told.is_some() || self.offsets.unsettled() > 0;
            return if is_in_hand { Placement::Later } else { Placement::Anew };
        }
        let offset = next.max(low);
        let gone = self.ahead.unsettled_in(next..offset);
        if gone > 0 {
            warn!(partition = %self.id, offset, gone, "Kafka deleted {gone} records before they were read; reading on from {offset}");
        }
        // What it does not know of yet would else count as read before.
        if told.is_none() {
            self.offsets.reach(offset);
        }
        Placement::From { offset, gone }
    }

    /// What is known of a record that was read. They are asked for in order.
    pub(crate) fn meet(&mut self, offset: i64) -> Known {
        if !self.offsets.is_next(offset) {
            return Known::Begun;
        }
        self.ahead.meet(offset)
    }

    pub(crate) fn begin(&mut self, offset: i64, size: usize, key: RecordKey) {
        if self.offsets.begin(offset, key).is_ok() {
            self.bytes += size;
        }
    }

    /// A record needs nothing more to be done, and never did in this hold.
    pub(crate) fn pass(&mut self, offset: i64) {
        self.offsets.pass(offset);
    }

    pub(crate) fn settle(&mut self, offset: i64, size: usize) {
        if self.offsets.settle(offset).is_some() {
            self.bytes -= size;
        }
    }

    /// What to commit, where it is news or worth a repetition. `spent` tells what a record has spent of its retry budget.
    pub(crate) fn next_commit(&mut self, now: Instant, spent: impl Fn(RecordKey) -> Option<Spent>) -> Option<Commit> {
        let commit = self.commit(spent)?;
        self.told.is_due(&commit, now).then_some(commit)
    }

    /// What is to be committed next is news, whatever was told before.
    pub(crate) fn tell_anew(&mut self) {
        self.told = Told::default();
    }

    /// How far it is settled; `None` before anything is known.
    pub(crate) fn commit(&mut self, spent: impl Fn(RecordKey) -> Option<Spent>) -> Option<Commit> {
        let offset = self.offsets.wall()?;
        let Note { text, complete } = self.progress(spent).note(offset);
        self.is_told = complete;
        Some(Commit { partition: self.id.clone(), offset, note: text })
    }

    /// Whether nothing may be read for now, whatever room there is; `closed`: of no partition.
    pub(crate) fn must_wait(&self, closed: bool) -> bool {
        closed || self.halted.is_some() || !self.is_told
    }

    /// Whether it holds as much as it may.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.offsets.unsettled() >= limits.unsettled || self.offsets.span() >= limits.span || self.bytes >= limits.bytes
    }

    pub(crate) fn may_resume(&self, limits: &Limits, closed: bool) -> bool {
        self.paused
            && !self.must_wait(closed)
            && self.offsets.unsettled() <= limits.unsettled / 2
            && self.offsets.span() <= limits.span / 2
            && self.bytes <= limits.bytes / 2
    }

    fn progress(&self, spent: impl Fn(RecordKey) -> Option<Spent>) -> Progress {
        let mut progress = Progress::default();
        let mut follows = false;
        for (offset, unsettled) in self.offsets.window() {
            match (unsettled, progress.settled.last_mut().filter(|_| follows)) {
                // What lies between two records is none, and settled with them.
                (None, Some(range)) => range.end = offset + 1,
                (None, None) => progress.settled.push(offset..offset + 1),
                (Some(key), _) => progress.failing.extend(spent(*key).map(|spent| (offset, spent))),
            }
            follows = unsettled.is_none();
        }
        self.ahead.add_to(&mut progress, self.offsets.wall().unwrap_or_default());
        progress
    }
}

impl Ahead {
    /// What is known of the next record; from then on it is somebody else's to know.
    fn meet(&mut self, offset: i64) -> Known {
        while self.settled.front().is_some_and(|range| range.end <= offset) {
            self.settled.pop_front();
        }
        while self.failing.front().is_some_and(|(failing, _)| *failing < offset) {
            self.failing.pop_front();
        }
        match self.settled.front_mut() {
            Some(range) if range.contains(&offset) => {
                range.start = offset + 1;
                Known::Settled
            }
            _ => match self.failing.pop_front_if(|(failing, _)| *failing == offset) {
                Some((_, spent)) => Known::Failing(spent),
                None => Known::New,
            },
        }
    }

    /// Offsets of this range that no earlier hold settled.
    fn unsettled_in(&self, range: Range<i64>) -> u64 {
        let length = |range: Range<i64>| u64::try_from(range.end - range.start).unwrap_or_default();
        let settled = self.settled.iter().map(|settled| settled.start.max(range.start)..settled.end.min(range.end));
        length(range.clone()) - settled.map(length).sum::<u64>()
    }

    /// Adds what is known of records that are yet to be read, and of none below the wall.
    fn add_to(&self, progress: &mut Progress, wall: i64) {
        let settled = self.settled.iter().map(|range| range.start.max(wall)..range.end);
        progress.settled.extend(settled.filter(|range| !range.is_empty()));
        progress.failing.extend(self.failing.iter().filter(|(offset, _)| *offset >= wall));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use slotmap::SlotMap;
    use sluice_pipeline::{Code, Rejection};

    use super::*;

    fn commit(offset: i64, settled: Vec<Range<i64>>) -> Commit {
        let note = Progress { settled, failing: vec![] }.note(offset).text;
        Commit { partition: id(), offset, note }
    }

    fn id() -> PartitionId {
        PartitionId { topic: "t".into(), partition: 0 }
    }

    fn extent(low: i64, high: i64) -> Extent {
        Extent { partition: id(), low, high, committed: None }
    }

    fn key() -> RecordKey {
        SlotMap::<RecordKey, ()>::with_key().insert(())
    }

    #[test]
    fn records_in_hand_stay_the_wall_when_those_after_them_are_gone() {
        let mut partition = Partition::new(id(), Some(commit(5, vec![])));
        for offset in 5..8 {
            partition.begin(offset, 1, key());
        }
        assert_eq!(partition.place(&extent(6, 100), None), Placement::From { offset: 8, gone: 0 });
        assert_eq!(partition.place(&extent(20, 100), None), Placement::From { offset: 20, gone: 12 });
        assert_eq!(partition.place(&extent(20, 100), None), Placement::From { offset: 20, gone: 0 }, "told once");
        assert_eq!(partition.commit(|_| None).unwrap().offset, 5);
        (5..8).for_each(|offset| partition.settle(offset, 1));
        assert_eq!(partition.commit(|_| None).unwrap().offset, 20);
    }

    #[test]
    fn what_an_earlier_hold_settled_is_not_gone() {
        let mut partition = Partition::new(id(), Some(commit(5, vec![7..9, 12..30])));
        assert_eq!(partition.place(&extent(20, 100), None), Placement::From { offset: 20, gone: 5 });
        assert_eq!(partition.meet(20), Known::Settled);
        assert_eq!(partition.meet(30), Known::New);
    }

    #[test]
    fn a_log_that_ends_earlier_is_read_anew_once_nothing_of_the_old_one_is_in_hand() {
        let mut partition = Partition::new(id(), Some(commit(500, vec![])));
        assert_eq!(partition.place(&extent(0, 100), None), Placement::Anew);
        partition.begin(500, 1, key());
        assert_eq!(partition.place(&extent(0, 100), None), Placement::Later);
        partition.settle(500, 1);
        assert_eq!(partition.place(&extent(0, 100), None), Placement::Anew);
        assert_eq!(partition.place(&extent(0, 100), Some(501)), Placement::Later, "some of it is yet to be looked at");
    }

    #[test]
    fn a_commit_is_repeated_soon_and_then_ever_more_seldom() {
        let (mut partition, begin) = (Partition::new(id(), Some(commit(5, vec![]))), Instant::now());
        let told = |partition: &mut Partition, seconds: u64| {
            partition.next_commit(begin + Duration::from_secs(seconds), |_| None).map(|commit| commit.offset)
        };
        for (seconds, expected) in
            [(0, Some(5)), (4, None), (5, Some(5)), (14, None), (15, Some(5)), (34, None), (35, Some(5))]
        {
            assert_eq!(told(&mut partition, seconds), expected, "{seconds} s");
        }
        partition.begin(5, 1, key());
        partition.settle(5, 1);
        for (seconds, expected) in [(36, Some(6)), (40, None), (41, Some(6))] {
            assert_eq!(told(&mut partition, seconds), expected, "{seconds} s");
        }
        let days: Vec<_> =
            (0..7 * 24 * 60).filter(|minute| told(&mut partition, 60 * (1 + minute)).is_some()).collect();
        assert!(days.windows(2).all(|pair| pair[1] - pair[0] <= 6 * 60) && days.len() < 45, "{days:?}");
    }

    #[test]
    fn a_hold_that_knows_nothing_begins_with_what_is_committed() {
        let committed = Some(commit(3, vec![4..5, 6..8]));
        let mut partition = Partition::new(id(), None);
        let placement = partition.place(&Extent { committed, ..extent(0, 9) }, None);
        assert_eq!(placement, Placement::From { offset: 3, gone: 0 });
        assert_eq!((partition.meet(3), partition.meet(4)), (Known::New, Known::Settled));
        assert_eq!(Partition::new(id(), None).place(&extent(7, 9), None), Placement::From { offset: 7, gone: 0 });
    }

    #[test]
    fn what_stopped_is_stopped_wherever_it_is_read_on() {
        let mut partition = Partition::new(id(), None);
        let rejection = Rejection { stage: "decode".into(), code: Code::InvalidJson, message: "no JSON".into() };
        partition.halt(5, &Failed::to_process(rejection, DateTime::UNIX_EPOCH));
        assert_eq!(partition.place(&extent(0, 9), None), Placement::From { offset: 0, gone: 0 });
        assert_eq!(partition.halted.map(|halt| halt.offset), Some(5));
    }

    #[test]
    fn what_is_yet_to_be_looked_at_is_neither_gone_nor_passed_over() {
        let mut partition = Partition::new(id(), Some(commit(5, vec![])));
        assert_eq!(partition.place(&extent(6, 100), Some(9)), Placement::From { offset: 9, gone: 0 });
        assert_eq!(partition.place(&extent(20, 100), Some(9)), Placement::From { offset: 20, gone: 11 });
        assert_eq!(partition.meet(5), Known::New);
    }
}
