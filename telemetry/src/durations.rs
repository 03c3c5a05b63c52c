//! Times that things took, counted by bounds, as the operator reads them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sluice_crds::wire::DURATION_BOUNDS;

/// Counts of times within each of [`DURATION_BOUNDS`] and not within the one before, and last of those beyond.
#[derive(Debug, Default)]
pub struct Durations([AtomicU64; DURATION_BOUNDS.len() + 1]);

impl Durations {
    /// Counts a time.
    pub fn observe(&self, took: Duration) {
        self.observe_all(took, 1);
    }

    /// Counts a time that so many things took together.
    pub fn observe_all(&self, took: Duration, things: u64) {
        let place = DURATION_BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.0[place].fetch_add(things, Ordering::Relaxed);
    }

    /// The counts since the start.
    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_holds_it() {
        let durations = Durations::default();
        for millis in [0, 1, 3, 16_384, 16_385] {
            durations.observe(Duration::from_millis(millis));
        }
        durations.observe_all(Duration::from_micros(1_001), 3);
        let counts: Vec<_> = durations.counts().into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(0, 2), (1, 3), (2, 1), (14, 1), (15, 1)]);
    }
}
