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

    /// Lets it run, or stand still. What it does already it goes on doing.
    pub(crate) fn run(&mut self, runs: bool, now: Instant) {
        if runs == self.since.is_some() {
            return;
        }
        self.counted = self.read(now);
        self.since = runs.then_some(now);
    }

    /// What it shows.
    pub(crate) fn read(&self, now: Instant) -> Duration {
        self.counted + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_count_while_it_stands_still() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stopwatch = Stopwatch::started(start);
        for (time, runs) in [(1, true), (5, false), (7, false), (10, true)] {
            stopwatch.run(runs, at(time));
        }
        assert_eq!(stopwatch.read(at(11)), Duration::from_secs(6));
    }
}
