//! Keeps the log readable when the same thing happens thousands of times a second.

use std::{
    collections::HashMap,
    mem::{Discriminant, discriminant},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sluice_kafka::SendError;
use tracing::warn;

use crate::receive::Refused;

/// Lets one line of each kind through now and then, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    refusals: Mutex<Lines<Discriminant<Refused>>>,
    failures: Mutex<Lines<Discriminant<SendError>>>,
}

/// When a line of each kind was last let through, and how many were not since.
#[derive(Debug)]
struct Lines<K>(HashMap<K, (Instant, u64)>);

const EVERY: Duration = Duration::from_secs(10);

impl Throttle {
    /// Logs why a request was refused.
    pub(crate) fn refused(&self, refused: &Refused) {
        let mut lines = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = lines.admit(discriminant(refused), Instant::now()) {
            warn!(untold, "Request refused: {refused}");
        }
    }

    /// Logs why an event was not confirmed.
    pub(crate) fn write_failed(&self, error: &SendError) {
        let mut lines = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = lines.admit(discriminant(error), Instant::now()) {
            warn!(untold, "Event not confirmed: {error}");
        }
    }
}

impl<K> Default for Lines<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + std::hash::Hash> Lines<K> {
    /// How many lines of this kind were left out since the last one, if this one is not to be.
    fn admit(&mut self, kind: K, now: Instant) -> Option<u64> {
        match self.0.get_mut(&kind) {
            Some((last, untold)) if now.saturating_duration_since(*last) < EVERY => {
                *untold += 1;
                None
            }
            _ => Some(self.0.insert(kind, (now, 0)).map_or(0, |(_, untold)| untold)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_each_kind_is_told_and_the_others_are_counted() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert_eq!(lines.admit("a", now), Some(0));
        assert_eq!(lines.admit("a", now), None);
        assert_eq!(lines.admit("a", now + EVERY / 2), None);
        assert_eq!(lines.admit("b", now), Some(0));
        assert_eq!(lines.admit("a", now + EVERY), Some(2));
        assert_eq!(lines.admit("a", now + EVERY * 2), Some(0));
    }
}
