//! What an engine knows of one partition, and when it must read no further.

use sluice_pipeline::Record;

use crate::{
    lease::Lease,
    offsets::{AlreadyBegun, Offsets},
};

/// One hold on a partition.
pub(crate) struct Partition {
    /// Tells this hold from an earlier one on the same partition.
    pub(crate) number: u64,
    pub(crate) lease: Lease,
    pub(crate) offsets: Offsets,
    /// Records whose task has not ended.
    pub(crate) running: usize,
    pub(crate) paused: bool,
    /// The offset that was last told to the source.
    pub(crate) committed: Option<i64>,
    /// Bytes of the unsettled records.
    bytes: usize,
}

/// What a partition may hold before it is paused. It is resumed at half of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    unsettled: usize,
    span: usize,
    bytes: usize,
}

/// Unsettled records of one partition. At most so many wait behind a key that is blocked, before its partition waits too.
const UNSETTLED: usize = 1_000;
/// Records from the lowest unsettled one on: the duplicates after a crash, at most.
const SPAN: usize = 10_000;
/// Bytes of unsettled records, over all partitions; the worker's default memory limit is 256 MiB.
const BYTES: usize = 32 * 1024 * 1024;
/// What a record takes beside its bytes, about.
const OVERHEAD: usize = 512;

impl Limits {
    pub(crate) fn new(max_in_flight: u32) -> Self {
        let in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
        let unsettled = UNSETTLED.max(in_flight.saturating_mul(2));
        Self { unsettled, span: SPAN.max(unsettled), bytes: BYTES }
    }

    /// So many partitions share the memory.
    pub(crate) fn share(&mut self, partitions: usize) {
        self.bytes = BYTES / partitions.max(1);
    }
}

impl Partition {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            lease: Lease::new(),
            offsets: Offsets::default(),
            running: 0,
            paused: false,
            committed: None,
            bytes: 0,
        }
    }

    pub(crate) fn begin(&mut self, record: &Record) -> Result<(), AlreadyBegun> {
        self.offsets.begin(record.offset)?;
        self.bytes += size(record);
        Ok(())
    }

    pub(crate) fn settle(&mut self, record: &Record) {
        self.offsets.settle(record.offset);
        self.bytes -= size(record);
    }

    /// The offset to commit, where it moved since the last time.
    pub(crate) fn next_commit(&mut self) -> Option<i64> {
        let wall = self.offsets.wall().filter(|wall| self.committed != Some(*wall))?;
        self.committed = Some(wall);
        Some(wall)
    }

    pub(crate) fn should_pause(&self, limits: &Limits) -> bool {
        !self.paused
            && (self.offsets.unsettled() >= limits.unsettled
                || self.offsets.span() >= limits.span
                || self.bytes >= limits.bytes)
    }

    pub(crate) fn may_resume(&self, limits: &Limits) -> bool {
        self.paused
            && self.offsets.unsettled() <= limits.unsettled / 2
            && self.offsets.span() <= limits.span / 2
            && self.bytes <= limits.bytes / 2
    }
}

fn size(record: &Record) -> usize {
    let headers: usize =
        record.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, bytes::Bytes::len)).sum();
    record.key.as_ref().map_or(0, bytes::Bytes::len)
        + record.value.as_ref().map_or(0, bytes::Bytes::len)
        + headers
        + OVERHEAD
}
