//! How long each object waits after it failed: longer each time, and from the beginning once it succeeded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sluice_crds::NamespacedName;

/// The failures of one kind of objects, by namespace and name.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<NamespacedName, u32>>,
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);

impl Backoff {
    /// Counts a failure and gives the wait before the next pass.
    pub fn failed(&self, name: &NamespacedName) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(name.clone()).or_default();
        let wait = wait(*count);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets the failures of an object: it succeeded, or is gone.
    pub fn succeeded(&self, name: &NamespacedName) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(name);
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
        let [a, b] = ["a", "b"].map(|name| NamespacedName { namespace: "shop".to_owned(), name: name.to_owned() });
        let waits: Vec<_> = (0..3).map(|_| backoff.failed(&a).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000]);
        assert_eq!(backoff.failed(&b), FIRST);
        backoff.succeeded(&a);
        assert_eq!(backoff.failed(&a), FIRST);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
