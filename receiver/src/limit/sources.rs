//! What each source has used, in bounded memory: two generations, of which the older one is forgotten when the younger one is full.
//! A source that is forgotten has not sent anything while thousands of others did.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sluice_pipeline::{Rate, TokenBucket};

use super::source::Source;

/// What the sources have used.
#[derive(Debug, Default)]
pub(super) struct Sources {
    younger: HashMap<Source, TokenBucket>,
    older: HashMap<Source, TokenBucket>,
}

/// Both generations together take about 1 MiB.
const GENERATION: usize = 8192;

impl Sources {
    /// Takes a token of a source's bucket. `Err`: there is none, and how long it takes until there is one.
    pub(super) fn take(&mut self, source: Source, rate: &Rate, now: Instant) -> Result<(), Duration> {
        if let Some(bucket) = self.younger.get_mut(&source) {
            return bucket.take(rate, now);
        }
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        let mut bucket = self.older.remove(&source).unwrap_or_default();
        let taken = bucket.take(rate, now);
        self.younger.insert(source, bucket);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: usize) -> Source {
        Source::V6((number as u64).to_be_bytes())
    }

    #[test]
    fn memory_is_bounded_and_who_sends_is_not_forgotten() {
        let (mut sources, rate, now) = (Sources::default(), Rate::new(1.0, 1.0), Instant::now());
        assert!(sources.take(source(0), &rate, now).is_ok());
        for number in 1..10 * GENERATION {
            assert!(sources.take(source(number), &rate, now).is_ok());
            if number.is_multiple_of(1000) {
                assert!(sources.take(source(0), &rate, now).is_err(), "forgotten after {number}");
            }
            assert!(sources.younger.len() + sources.older.len() <= 2 * GENERATION);
        }
        assert!(sources.take(source(1), &rate, now).is_ok(), "one that was silent is as good as new");
    }
}
