//! How far each Integration is behind, as the brokers tell: one poller for each Kafka cluster, whatever the number of Integrations.
//! With what workers tell of themselves it is written into the status, only where a person would see a difference.
//!
//! - `poll`: asks a cluster about groups.
//! - `topics`: what it tells of topics.
//! - `layout`: which partitions those have.
//! - `silence`: for how long something was asked in vain.
//! - `turns`: which groups are asked next.
//! - `write`: writes the numbers into statuses.

mod layout;
mod poll;
mod silence;
mod topics;
mod turns;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{NamespacedName, Scaling};
use sluice_model::integration::{Backlog, Needs, Shown, Subject, Told, Why, bounds, needed};
use tokio::time::Instant;

use crate::{context::Context, idle::IdleGroup};

/// The newest numbers of an Integration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// What waits in its source.
    pub backlog: Told<Backlog>,
    /// Records that the dead-letter topic holds, where nobody else writes to it.
    pub held_dead_letters: Told<u64>,
    /// Whether others write to it too: what it holds says nothing about this Integration then.
    pub shares_dead_letters: bool,
    /// What the workers have done; `None` where they were not asked.
    pub work: Option<Shown>,
}

impl Numbers {
    fn lag(&self) -> Option<u64> {
        self.backlog.known()?.lag
    }

    /// How many dead letters there are: in a topic that others write to as well, as many as its own workers wrote.
    fn dead_letters(&self) -> Told<u64> {
        if !self.shares_dead_letters {
            return self.held_dead_letters.clone();
        }
        self.work.as_ref().map_or(Told::NotYet, |work| Told::Known(work.dead_letters))
    }

    /// The Kafka cluster tells nothing any more. What was lost before has a reason of its own.
    fn lose(&mut self, why: &Why) {
        if self.backlog.lost().is_none() {
            self.backlog = Told::Lost(why.clone());
        }
        if !self.shares_dead_letters && self.held_dead_letters.lost().is_none() {
            self.held_dead_letters = Told::Lost(why.clone());
        }
    }
}

#[derive(Debug)]
struct Followed {
    subject: Subject,
    numbers: Numbers,
    /// Whether they have changed since they were written last.
    changed: bool,
    /// When they were written last.
    written: Option<Instant>,
    workers: Workers,
    /// Whether those that run have settled records, of which the poller does not know yet.
    gets_on: bool,
}

/// How many workers there are to be, where that follows the lag.
#[derive(Debug, Default)]
struct Workers {
    scaling: Option<Scaling>,
    needs: Needs,
    /// As the last pass had it.
    run: i32,
    wanted: Option<i32>,
    /// Those of its source, when that was decided.
    partitions: usize,
}

impl Workers {
    fn follow(&mut self, scaling: Option<Scaling>, replicas: i32) -> i32 {
        if scaling.is_none() {
            *self = Self::default();
        }
        self.scaling = scaling;
        self.run = match (scaling, self.wanted) {
            (Some(scaling), Some(wanted)) => {
                let (least, most) = bounds(&scaling, self.partitions);
                wanted.clamp(least, most)
            }
            _ => replicas,
        };
        self.run
    }

    fn decide(&mut self, backlog: &Backlog, partitions: usize, now: Timestamp) -> bool {
        let Some(scaling) = self.scaling else { return false };
        let needed = needed(&scaling, backlog.lag, partitions);
        let wanted = self.needs.decide(scaling.cooldown.get(), self.run, needed, now);
        (self.wanted, self.partitions) = (Some(wanted), partitions);
        wanted != self.run
    }
}

/// The newest numbers of every Integration that a pass has seen. They are asked for again after a restart.
#[derive(Debug, Default)]
pub struct Measurements {
    followed: Mutex<HashMap<NamespacedName, Followed>>,
}

impl Measurements {
    /// From now on the Integration is measured. Gives the number of workers to run: `replicas` unless `scaling` knows better.
    pub fn follow(&self, name: &NamespacedName, subject: Subject, scaling: Option<Scaling>, replicas: i32) -> i32 {
        let mut followed = self.followed();
        let new = |subject| Followed {
            subject,
            numbers: Numbers::default(),
            changed: false,
            written: None,
            workers: Workers::default(),
            gets_on: false,
        };
        let known = followed.entry(name.clone()).or_insert_with(|| new(subject.clone()));
        if known.subject != subject {
            *known = new(subject);
        }
        known.workers.follow(scaling, replicas)
    }

    /// Nothing is asked about the Integration any more, and its group is not visited.
    pub fn forget(&self, name: &NamespacedName) {
        self.followed().remove(name);
    }

    /// The groups of those Integrations that run no worker.
    pub fn idle_groups(&self) -> Vec<IdleGroup> {
        let group = |Followed { subject, .. }: &Followed| {
            let Subject { cluster, group, topics, .. } = subject.clone();
            IdleGroup { cluster, group, topics }
        };
        self.followed().values().filter(|known| known.workers.run == 0).map(group).collect()
    }

    /// Whether another number of workers is needed than the last pass had.
    fn needs_others(&self, name: &NamespacedName, partitions: usize, now: Timestamp) -> bool {
        let mut followed = self.followed();
        let Some(known) = followed.get_mut(name) else { return false };
        known.numbers.backlog.known().is_some_and(|backlog| known.workers.decide(backlog, partitions, now))
    }

    /// All numbers there are, with the Integrations' names.
    pub fn all(&self) -> Vec<(NamespacedName, Numbers)> {
        self.followed().iter().map(|(name, followed)| (name.clone(), followed.numbers.clone())).collect()
    }

    /// What is asked of a cluster, without Integrations that are gone.
    fn subjects(&self, cluster: &str, exists: impl Fn(&NamespacedName) -> bool) -> BTreeMap<NamespacedName, Subject> {
        let mut followed = self.followed();
        followed.retain(|name, known| known.subject.cluster != cluster || exists(name));
        let of_cluster = followed.iter().filter(|(_, known)| known.subject.cluster == cluster);
        of_cluster.map(|(name, known)| (name.clone(), known.subject.clone())).collect()
    }

    fn take_backlog(&self, name: &NamespacedName, backlog: Backlog) {
        self.change(name, |numbers| numbers.backlog = Told::Known(backlog));
    }

    /// What waits is not known any more.
    fn lose_backlog(&self, name: &NamespacedName, why: Why) {
        self.change(name, |numbers| numbers.backlog = Told::Lost(why));
    }

    fn take_dead_letters(&self, name: &NamespacedName, held: u64) {
        let held = Told::Known(held);
        self.change(name, |numbers| (numbers.held_dead_letters, numbers.shares_dead_letters) = (held, false));
    }

    /// What the dead-letter topic holds is not known any more.
    fn lose_dead_letters(&self, name: &NamespacedName, why: Why) {
        let held = Told::Lost(why);
        self.change(name, |numbers| (numbers.held_dead_letters, numbers.shares_dead_letters) = (held, false));
    }

    fn share_dead_letters(&self, name: &NamespacedName) {
        self.change(name, |numbers| (numbers.held_dead_letters, numbers.shares_dead_letters) = (Told::NotYet, true));
    }

    /// Takes what workers have done.
    pub fn take_work(&self, name: &NamespacedName, work: Shown) {
        if let Some(known) = self.followed().get_mut(name) {
            known.gets_on |= known.numbers.work.as_ref().is_some_and(|before| get_on(before, &work));
            let work = Some(work);
            known.changed |= known.numbers.work != work;
            known.numbers.work = work;
        }
    }

    /// The Integrations of a cluster whose workers have got on since this was called last.
    fn got_on(&self, cluster: &str) -> Vec<NamespacedName> {
        let mut followed = self.followed();
        let of_cluster = followed.iter_mut().filter(|(_, known)| known.subject.cluster == cluster);
        of_cluster.filter_map(|(name, known)| std::mem::take(&mut known.gets_on).then(|| name.clone())).collect()
    }

    /// Nothing is known any more of what lies in a cluster.
    fn lose(&self, cluster: &str, why: &Why) {
        for known in self.followed().values_mut().filter(|known| known.subject.cluster == cluster) {
            let before = known.numbers.clone();
            known.numbers.lose(why);
            known.changed |= before != known.numbers;
        }
    }

    fn change(&self, name: &NamespacedName, change: impl FnOnce(&mut Numbers)) {
        if let Some(known) = self.followed().get_mut(name) {
            let before = known.numbers.clone();
            change(&mut known.numbers);
            known.changed |= before != known.numbers;
            if before.backlog.lost().is_none() && before.lag().is_none() && known.numbers.lag().is_some() {
                // Whoever sees no number yet need not wait for the first one.
                known.written = None;
            }
        }
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn followed(&self) -> MutexGuard<'_, HashMap<NamespacedName, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether workers have settled records in between. What only fails leaves offsets as they are.
fn get_on(before: &Shown, now: &Shown) -> bool {
    (before.last_delivery, before.dead_letters) != (now.last_delivery, now.dead_letters)
}

/// Measures and writes for ever.
pub async fn run(context: Arc<Context>) {
    futures::future::join(poll::follow_clusters(Arc::clone(&context)), write::run(context)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_deliver_get_on_and_those_whose_attempts_fail_do_not() {
        let (measurements, cluster) = (Measurements::default(), "default");
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let subject = Subject {
            cluster: cluster.into(),
            group: "shop.to-api".into(),
            topics: vec!["shop.orders".into()],
            dead_letters: "shop.dead".into(),
        };
        measurements.follow(&name, subject, None, 1);
        let got_on = |work: &Shown| {
            measurements.take_work(&name, work.clone());
            (measurements.got_on("elsewhere").len(), measurements.got_on(cluster).len())
        };
        let minute = |minute: i64| Timestamp::from_second(60 * minute).ok();
        let work = Shown { last_delivery: minute(1), ..Shown::default() };
        assert_eq!(got_on(&work), (0, 0), "nobody knows since when");
        let work = Shown { error_rate: Some("100%".into()), ..work };
        assert_eq!(got_on(&work), (0, 0));
        let work = Shown { last_delivery: minute(2), ..work };
        assert_eq!(got_on(&work), (0, 1));
        assert_eq!(got_on(&work), (0, 0), "it was told");
        assert_eq!(got_on(&Shown { dead_letters: 1, ..work }), (0, 1));
    }
}
