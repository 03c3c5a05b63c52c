//! The ids that an endpoint remembers, and how many all endpoints of a process remember together.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::deduplicate::{Admission, Deduplicator, Fingerprint, Limits, Reservation};

/// The ids that an endpoint remembers.
#[derive(Debug)]
pub(crate) struct Remembered {
    limits: Limits,
    ids: Mutex<Deduplicator>,
    total: Total,
}

/// How many ids are remembered in a process. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    count: Arc<AtomicUsize>,
    most: usize,
}

/// What an endpoint may remember in any case, however much others do.
const FEW: usize = 100;

impl Total {
    /// About so many in all.
    pub(crate) fn of(most: usize) -> Self {
        Self { count: Arc::default(), most }
    }

    /// How many ids an endpoint may have that has `own`, where it may have `most` at most.
    fn allowance(&self, own: usize, most: usize) -> usize {
        if self.count.load(Ordering::Relaxed) < self.most { most } else { own.max(FEW).min(most) }
    }

    fn change(&self, before: usize, after: usize) {
        self.count.fetch_add(after, Ordering::Relaxed);
        self.count.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Remembered {
    /// Nothing yet.
    pub(crate) fn new(limits: Limits, total: &Total) -> Self {
        Self { limits, ids: Mutex::new(Deduplicator::new(limits)), total: total.clone() }
    }

    /// Its limits.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Says what to do with an event that has just come in.
    pub(crate) fn reserve(&self, fingerprint: Fingerprint, now: Instant) -> Admission {
        let mut ids = self.lock();
        let before = ids.len();
        ids.hold(self.total.allowance(before, self.limits.capacity));
        let admission = ids.reserve(fingerprint, now);
        self.total.change(before, ids.len());
        admission
    }

    /// The event was written.
    pub(crate) fn confirm(&self, reservation: &Reservation, now: Instant) {
        self.lock().confirm(reservation, now);
    }

    /// The event was certainly not written.
    pub(crate) fn release(&self, reservation: &Reservation) {
        let mut ids = self.lock();
        let before = ids.len();
        ids.release(reservation);
        self.total.change(before, ids.len());
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How far back every id is remembered.
    pub(crate) fn effective_window(&self, now: Instant) -> Duration {
        self.lock().effective_window(now)
    }

    /// A panic cannot have left it half changed: nothing in it panics between two changes. Nobody outside holds the lock, so nobody can
    /// ask for it twice.
    fn lock(&self) -> MutexGuard<'_, Deduplicator> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.total.change(self.len(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Fingerprint {
        Fingerprint::of(&number.to_string())
    }

    /// How many of so many events an endpoint still knows.
    fn known(remembered: &Remembered, events: usize) -> usize {
        let now = Instant::now();
        (0..events).filter(|number| remembered.reserve(event(*number), now) == Admission::Duplicate).count()
    }

    fn receive(remembered: &Remembered, events: usize) {
        let now = Instant::now();
        for number in 0..events {
            let Admission::Reserved(reservation) = remembered.reserve(event(number), now) else { panic!("{number}") };
            remembered.confirm(&reservation, now);
        }
    }

    #[test]
    fn endpoints_share_a_memory_and_each_remembers_something() {
        let limits =
            Limits { window: Duration::from_hours(1), reservation: Duration::from_secs(5), capacity: 10 * FEW };
        let total = Total::of(3 * FEW);
        let [busy, late] = [(); 2].map(|()| Remembered::new(limits, &total));
        receive(&busy, 5 * FEW);
        assert_eq!(busy.len(), 3 * FEW);
        receive(&late, 2 * FEW);
        assert_eq!((late.len(), busy.len()), (FEW, 3 * FEW));
        drop(busy);
        receive(&Remembered::new(limits, &total), 2 * FEW);
        assert_eq!(total.count.load(Ordering::Relaxed), FEW);
        assert_eq!(known(&late, FEW), 0, "the first ones were forgotten");
    }
}
