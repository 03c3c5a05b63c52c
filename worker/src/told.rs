//! When a commit is worth telling. Pure: the time comes in as an argument.

use std::time::{Duration, Instant};

use crate::source::Commit;

/// What was last told to the source of a partition.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<Last>);

#[derive(Debug)]
struct Last {
    offset: i64,
    note: String,
    at: Instant,
    /// It is told again after this time.
    repeat_after: Duration,
}

/// A commit that says nothing new is repeated after this time, and after twice as long each time. Nobody is told of a commit that
/// failed, as one does that meets a rebalance: librdkafka only logs it.
const REPEAT: Duration = Duration::from_secs(5);
/// The longest of these times: Kafka forgets offsets that are not committed for 7 days.
const REFRESH: Duration = Duration::from_hours(6);

/// How many records had been settled, over all partitions, when commits were told last.
#[derive(Debug, Default)]
pub(crate) struct Committed(u64);

/// So many records that were settled since do not wait until it is time for commits: at 100,000 a second a crash would repeat tens of
/// thousands, and a commit costs next to nothing beside so many.
const MANY: u64 = 10_000;

impl Committed {
    /// Commits are told now that so many are settled.
    pub(crate) fn at(&mut self, settled: u64) {
        self.0 = settled;
    }

    /// Whether commits are worth telling at once, now that so many are settled.
    pub(crate) fn is_far_behind(&self, settled: u64) -> bool {
        settled.saturating_sub(self.0) >= MANY
    }
}

impl Told {
    /// Whether the commit is news, or worth a repetition; then it counts as told.
    pub(crate) fn is_due(&mut self, commit: &Commit, now: Instant) -> bool {
        let is_same = |last: &&Last| (last.offset, &last.note) == (commit.offset, &commit.note);
        let repeat_after = match self.0.as_ref().filter(is_same) {
            Some(last) if now.duration_since(last.at) < last.repeat_after => return false,
            Some(last) => REFRESH.min(last.repeat_after * 2),
            None => REPEAT,
        };
        self.0 = Some(Last { offset: commit.offset, note: commit.note.clone(), at: now, repeat_after });
        true
    }
}
