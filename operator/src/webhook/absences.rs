//! Which objects of routes Webhooks do not have, of the kinds that nobody watches: a pass need not look for them again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_crds::NamespacedName;
use sluice_model::children::ChildKind;
use tokio::time::Instant;

use crate::children::{self, Existence};

/// The kind and the name of an object.
pub type Object = (ChildKind, String);

/// What was looked for and not there, by Webhook, since it was wanted last. Only this operator makes any, and says before that it is wanted. What an
/// operator before it has left is found by the first looks after a start.
#[derive(Debug, Default)]
pub struct Absences(Mutex<HashMap<NamespacedName, HashMap<Object, Absence>>>);

/// When an object was missed.
#[derive(Clone, Copy, Debug)]
struct Absence {
    first: Instant,
    last: Instant,
}

/// What was asked for before may come so late: the API server ends requests after a minute.
const LATEST: Duration = Duration::from_mins(1);

impl Absences {
    /// Whether an object of a Webhook may exist.
    pub fn may_exist(&self, webhook: &NamespacedName, object: &Object) -> bool {
        let absences = self.lock();
        let absence = absences.get(webhook).and_then(|objects| objects.get(object));
        absence.is_none_or(|absence| absence.last - absence.first < LATEST)
    }

    /// Learns from an answer.
    pub fn hear(&self, webhook: &NamespacedName, object: &Object, found: &Existence, now: Instant) {
        if children::is_watched(object.0) {
            return;
        }
        if matches!(found, Existence::Absent) {
            let mut absences = self.lock();
            let objects = absences.entry(webhook.clone()).or_default();
            objects.entry(object.clone()).or_insert(Absence { first: now, last: now }).last = now;
        } else {
            self.are_wanted(webhook, std::slice::from_ref(object));
        }
    }

    /// A Webhook may have these objects from now on.
    pub fn are_wanted(&self, webhook: &NamespacedName, wanted: &[Object]) {
        if let Some(objects) = self.lock().get_mut(webhook) {
            objects.retain(|object, _| !wanted.contains(object));
        }
    }

    /// The Webhook is gone.
    pub fn forget(&self, webhook: &NamespacedName) {
        self.lock().remove(webhook);
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, HashMap<Object, Absence>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> NamespacedName {
        NamespacedName { namespace: "shop".to_owned(), name: "stripe".to_owned() }
    }

    fn object(kind: ChildKind) -> Object {
        (kind, "stripe-receiver".to_owned())
    }

    #[test]
    fn what_is_not_there_is_looked_for_until_nothing_that_was_asked_for_before_can_come() {
        let (absences, begin, plugin) = (Absences::default(), Instant::now(), object(ChildKind::KongPlugin));
        let mut may_exist = Vec::new();
        for now in [begin, begin + LATEST / 2, begin + LATEST] {
            absences.hear(&webhook(), &plugin, &Existence::Absent, now);
            may_exist.push(absences.may_exist(&webhook(), &plugin));
        }
        assert_eq!(may_exist, [true, true, false]);
        assert!(absences.may_exist(&webhook(), &object(ChildKind::AwsApi)), "that is another one");
    }

    #[test]
    fn what_was_wanted_in_between_is_looked_for_again() {
        let (absences, begin, plugin) = (Absences::default(), Instant::now(), object(ChildKind::KongPlugin));
        let is_missed_for_long = || {
            for now in [begin, begin + LATEST] {
                absences.hear(&webhook(), &plugin, &Existence::Absent, now);
            }
            !absences.may_exist(&webhook(), &plugin)
        };
        assert!(is_missed_for_long());
        absences.are_wanted(&webhook(), &[object(ChildKind::AwsApi)]);
        assert!(!absences.may_exist(&webhook(), &plugin), "another one was wanted");
        absences.are_wanted(&webhook(), std::slice::from_ref(&plugin));
        assert!(absences.may_exist(&webhook(), &plugin));
        assert!(is_missed_for_long());
        absences.forget(&webhook());
        assert!(absences.may_exist(&webhook(), &plugin));
    }

    #[test]
    fn of_kinds_that_are_watched_or_that_the_cluster_does_not_have_nothing_is_taken_for_missing() {
        let (absences, begin) = (Absences::default(), Instant::now());
        for (kind, found) in [(ChildKind::Ingress, Existence::Absent), (ChildKind::KongPlugin, Existence::KindUnknown)]
        {
            for now in [begin, begin + LATEST] {
                absences.hear(&webhook(), &object(kind), &found, now);
            }
            assert!(absences.may_exist(&webhook(), &object(kind)), "{kind:?}");
        }
    }
}
