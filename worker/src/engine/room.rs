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
    wait: Wait,
}

/// The moment in which room is waited for.
#[derive(Debug, Default)]
pub(crate) struct Wait(Option<Instant>);

impl Wait {
    /// Looks whether there is no room, and says whether that has lasted for longer than a moment. The next one begins anew.
    pub(crate) fn is_over(&mut self, full: bool, now: Instant) -> bool {
        let over = full && now >= *self.0.get_or_insert(now) + GRACE;
        if over || !full {
            self.0 = None;
        }
        over
    }

    /// When it is over; `None` where there is room.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.0.map(|since| since + GRACE)
    }
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
        self.wait.ends_at()
    }

    /// Forgets those that are full no more, and gives those that have been for too long.
    pub(super) fn look(&mut self, now: Instant, is_full: impl Fn(HoldKey) -> bool) -> Vec<HoldKey> {
        self.full.retain(|hold| is_full(*hold));
        if self.wait.is_over(!self.full.is_empty(), now) { std::mem::take(&mut self.full) } else { Vec::new() }
    }
}
