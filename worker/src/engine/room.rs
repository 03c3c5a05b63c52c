//! Whether there is room for more records. Pure.
//!
//! librdkafka drops what it fetched ahead of a partition that is paused, and fetches it again. So where a partition is full nothing is
//! received for a moment, in which it mostly finds room again, and only then it is paused, and the others go on without it.

use std::time::Instant;

use super::pending::HoldKey;
use crate::source::GRACE;

/// The partitions that are full and not paused.
#[derive(Debug, Default)]
pub(super) struct Room {
    full: Vec<HoldKey>,
    since: Option<Instant>,
}

impl Room {
    /// A partition is full.
    pub(super) fn fill(&mut self, hold: HoldKey) {
        if !self.full.contains(&hold) {
            self.full.push(hold);
        }
    }

    /// Whether more records may be received.
    pub(super) fn is_there(&self) -> bool {
        self.full.is_empty()
    }

    /// When it is over with the patience for those that are full.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.since.map(|since| since + GRACE)
    }

    /// Forgets those that are full no more, and gives those that have been for too long.
    pub(super) fn look(&mut self, now: Instant, is_full: impl Fn(HoldKey) -> bool) -> Vec<HoldKey> {
        self.full.retain(|hold| is_full(*hold));
        if self.full.is_empty() {
            self.since = None;
            return Vec::new();
        }
        if now < *self.since.get_or_insert(now) + GRACE {
            return Vec::new();
        }
        self.since = None;
        std::mem::take(&mut self.full)
    }
}
