//! Counts time, but for when it is stopped. Pure: the time comes in as an argument.

use std::time::{Duration, Instant};

/// A stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    /// What it counted until it was stopped.
    counted: Duration,
    /// `None` while it is stopped.
    since: Option<Instant>,
}

impl Stopwatch {
    pub(crate) fn started(now: Instant) -> Self {
        Self { counted: Duration::ZERO, since: Some(now) }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: Instant) -> Duration {
        self.counted + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
