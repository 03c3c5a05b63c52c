//! How far an Integration is behind, and how many dead letters there are: computed from what the broker says, so that it is
//! right while no worker runs.

use crate::number;

/// What the broker says about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The oldest record that is kept.
    pub low: i64,
    /// One past the newest record that can be read: the last stable offset.
    pub end: i64,
    /// The next record that the group will read, where it has committed one.
    pub committed: Option<i64>,
}

/// What the broker says about an Integration's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Records that wait; `None` before the group has committed an offset.
    pub lag: Option<u64>,
    /// Records that the dead-letter topic holds.
    pub dead_letters: u64,
}

impl Measurement {
    /// Sums up the partitions of the source and of the dead-letter topic.
    pub fn of(source: &[PartitionOffsets], dead_letters: &[PartitionOffsets]) -> Self {
        let has_committed = source.iter().any(|partition| partition.committed.is_some());
        Self {
            lag: has_committed.then(|| source.iter().map(waiting).sum()),
            dead_letters: dead_letters.iter().map(|partition| distance(partition.low, partition.end)).sum(),
        }
    }

    /// The lag for people; `-` before the group has committed an offset.
    pub fn lag_text(&self) -> String {
        self.lag.map_or_else(|| "-".to_owned(), number::rounded)
    }

    /// The dead letters for people.
    pub fn dead_letters_text(&self) -> String {
        number::rounded(self.dead_letters)
    }

    /// Whether a person would see a difference.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.lag_text() == other.lag_text() && self.dead_letters == other.dead_letters
    }
}

/// Records that were deleted before the group read them do not wait any more.
fn waiting(partition: &PartitionOffsets) -> u64 {
    distance(partition.committed.unwrap_or(partition.low).max(partition.low), partition.end)
}

fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Measurement, PartitionOffsets};

    fn partition(low: i64, end: i64, committed: Option<i64>) -> PartitionOffsets {
        PartitionOffsets { low, end, committed }
    }

    #[test]
    fn lag_is_what_lies_between_the_committed_offset_and_the_end() {
        let source = [partition(0, 10, Some(4)), partition(0, 5, Some(5)), partition(2, 8, None)];
        assert_eq!(Measurement::of(&source, &[]).lag, Some(6 + 6));
    }

    #[test]
    fn records_that_retention_deleted_do_not_wait() {
        assert_eq!(Measurement::of(&[partition(100, 110, Some(40))], &[]).lag, Some(10));
        assert_eq!(Measurement::of(&[partition(0, 10, Some(12))], &[]).lag, Some(0));
    }

    #[test]
    fn a_group_without_a_commit_says_so() {
        let measurement = Measurement::of(&[partition(0, 10, None)], &[partition(3, 5, None)]);
        assert_eq!((measurement.lag, measurement.dead_letters), (None, 2));
        assert_eq!(measurement.lag_text(), "-");
    }
}
