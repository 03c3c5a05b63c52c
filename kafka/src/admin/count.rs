//! Counts a client's requests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::Error;

/// What requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Made {
    /// What was being done.
    pub doing: &'static str,
    /// `Ok` where an answer came, else the class of the [`Error`]; `Dropped` where nobody waited for the answer any more.
    pub outcome: &'static str,
}

/// The requests of a client so far.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<Made, u64>>);

/// A request that was made and is not yet counted.
pub(super) struct Count<'a> {
    counts: &'a Counts,
    made: Made,
}

impl Counts {
    pub(super) fn so_far(&self) -> BTreeMap<Made, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request is made; it counts at its end, also where its future is dropped before.
    pub(super) fn begin(&self, doing: &'static str) -> Count<'_> {
        Count { counts: self, made: Made { doing, outcome: "Dropped" } }
    }
}

impl Count<'_> {
    pub(super) fn end(mut self, error: Option<&Error>) {
        self.made.outcome = error.map_or("Ok", Error::class);
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        *self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).entry(self.made).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_however_it_ends() {
        let counts = Counts::default();
        counts.begin("describe topics").end(None);
        counts.begin("describe topics").end(None);
        counts.begin("describe topics").end(Some(&Error::Settings("none".to_owned())));
        drop(counts.begin("create topics"));
        let found: Vec<_> =
            counts.so_far().into_iter().map(|(made, count)| (made.doing, made.outcome, count)).collect();
        assert_eq!(
            found,
            [("create topics", "Dropped", 1), ("describe topics", "Ok", 2), ("describe topics", "Settings", 1)]
        );
    }
}
