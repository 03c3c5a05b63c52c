//! Which objects of a kind wait for a pass, in which order, and until when.
//!
//! An object is in one place at a time: it waits, has its pass, is held after it, or sleeps until a time. What changed comes
//! before what is only looked at again, so that a person who changes one resource does not wait for all the others; but every few passes one of
//! those has its turn. Objects whose passes may wait for the same thing are a lane: those who wait for it leave the others their room.

mod backlog;

use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_crds::NamespacedName;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use self::backlog::Backlog;
pub use self::backlog::Then;

/// The queue of one kind.
#[derive(Debug, Default)]
pub struct Queue {
    backlog: Mutex<Backlog>,
    changed: Notify,
}

/// What a queue is like at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Depth {
    /// Objects that could have their pass now.
    pub waiting: usize,
    /// Passes under way.
    pub running: usize,
    /// Age of the oldest of them, in seconds.
    pub oldest: f64,
}

impl Queue {
    /// Something that a pass looks at has changed.
    pub fn wake(&self, name: &NamespacedName) {
        self.lock().wake(name);
        self.changed.notify_one();
    }

    /// The object should be looked at again, after those that changed.
    pub fn wake_later(&self, name: &NamespacedName) {
        self.lock().wake_later(name);
        self.changed.notify_one();
    }

    /// That version of the object itself has come. Of two versions the newer one is the greater number.
    pub fn seen(&self, name: &NamespacedName, version: u64) {
        self.lock().seen(name, version, Instant::now());
        self.changed.notify_one();
    }

    /// The object's pass, which is under way, wrote that version of it: no other one begins before it was seen.
    pub fn wrote(&self, name: &NamespacedName, version: u64) {
        self.lock().wrote(name, version);
    }

    /// The object is gone.
    pub fn forget(&self, name: &NamespacedName) {
        self.lock().forget(name);
    }

    /// The next object whose pass is due, in a lane that has room: each has it for so many passes under way, and `lane_of` tells in which one
    /// an object is. Its pass must end with [`Queue::finished`]. Nothing is lost where it is dropped.
    pub async fn next(&self, room: usize, lane_of: impl Fn(&NamespacedName) -> String) -> NamespacedName {
        loop {
            let due = {
                let mut backlog = self.lock();
                backlog.next(Instant::now(), room, &lane_of).ok_or_else(|| backlog.next_time())
            };
            match due {
                Ok(name) => return name,
                // Whether it comes or the time does: then it is looked again.
                Err(Some(time)) => drop(timeout_at(time, self.changed.notified()).await),
                Err(None) => self.changed.notified().await,
            }
        }
    }

    /// The pass has ended.
    pub fn finished(&self, name: &NamespacedName, then: Then) {
        self.lock().finished(name, then, Instant::now());
        self.changed.notify_one();
    }

    /// What it is like now.
    pub fn depth(&self) -> Depth {
        self.lock().depth(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
