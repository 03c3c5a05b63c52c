//! How long each object waits after it failed: longer each time, and from the beginning once it succeeded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The failures of one kind of objects, by namespace and name.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<(String, String), u32>>,
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);

impl Backoff {
    /// Counts a failure and gives the wait before the next pass.
    pub fn failed(&self, namespace: &str, name: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((namespace.to_owned(), name.to_owned())).or_default();
        let wait = wait(*count);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets the failures of an object.
    pub fn succeeded(&self, namespace: &str, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_waits_for_itself_and_longer_each_time() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..3).map(|_| backoff.failed("shop", "a").as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000]);
        assert_eq!(backoff.failed("shop", "b"), FIRST);
        backoff.succeeded("shop", "a");
        assert_eq!(backoff.failed("shop", "a"), FIRST);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
