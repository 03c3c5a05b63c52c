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
    collections::{BTreeMap, HashMap, HashSet},
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
    /// Whether they have changed since they were written last, or the status may say otherwise.
    changed: bool,
    /// When they were written last, or could not be.
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
    /// The number that a pass is to run: `replicas`, unless it was decided what the lag needs.
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
            // What the last pass ran may not be seen yet.
            (Some(scaling), None) => replicas.max(self.run.min(scaling.max_replicas)),
            (None, _) => replicas,
        };
        self.run
    }

    /// Decides what the lag needs; says whether the last pass had another number. What is not known may need all that run: none of
    /// them is stopped, and the cooldown begins when it is known. More than there are partitions are of no use whatever waits.
    fn decide(&mut self, backlog: Option<&Backlog>, partitions: usize, now: Timestamp) -> bool {
        let Some(scaling) = self.scaling else { return false };
        let (least, most) = bounds(&scaling, partitions);
        let current = self.run.clamp(least, most);
        let needed = backlog.map_or(current, |backlog| needed(&scaling, backlog.lag, partitions));
        let wanted = self.needs.decide(scaling.cooldown.get(), current, needed, now);
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
    /// From now on the Integration is measured. Gives the number of workers to run: `replicas` unless `scaling` knows better. What the status says is
    /// compared once more: it may be that of another Integration of this name, or a watch told too late what stood there when it was written.
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
        known.changed = true;
        known.workers.follow(scaling, replicas)
    }

    /// Nothing is asked about the Integration any more, and its group is not visited.
    pub fn forget(&self, name: &NamespacedName) {
        self.followed().remove(name);
    }

    /// The Integration is gone, and another one of its name may come: what waits for that is the same, and what its workers have done is not.
    pub fn forget_work(&self, name: &NamespacedName) {
        if let Some(known) = self.followed().get_mut(name) {
            known.numbers.work = None;
        }
    }

    /// The groups of a cluster's Integrations that run no worker.
    pub fn idle_groups(&self, cluster: &str) -> HashSet<IdleGroup> {
        let group = |Followed { subject, .. }: &Followed| {
            let Subject { cluster, group, topics, .. } = subject.clone();
            IdleGroup { cluster, group, topics }
        };
        let is_idle = |known: &&Followed| known.subject.cluster == cluster && known.workers.run == 0;
        self.followed().values().filter(is_idle).map(group).collect()
    }

    /// Whether a group is one of these at this moment.
    pub fn is_idle(&self, IdleGroup { cluster, group, topics }: &IdleGroup) -> bool {
        let is_it = |Followed { subject, workers, .. }: &Followed| {
            workers.run == 0 && (&subject.cluster, &subject.group, &subject.topics) == (cluster, group, topics)
        };
        self.followed().values().any(is_it)
    }

    /// Whether another number of workers is needed than the last pass had.
    fn needs_others(&self, name: &NamespacedName, partitions: usize, now: Timestamp) -> bool {
        let mut followed = self.followed();
        let Some(Followed { numbers, workers, .. }) = followed.get_mut(name) else { return false };
        workers.decide(numbers.backlog.known(), partitions, now)
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
    use sluice_crds::Reason;
    use sluice_model::integration::PartitionOffsets;

    use super::*;

    const COOLDOWN: i64 = 10;

    fn scaling(min_replicas: i32, max_replicas: i32) -> Scaling {
        let cooldown = sluice_crds::Duration::from_secs(COOLDOWN.unsigned_abs());
        Scaling { min_replicas, max_replicas, target_lag: 10, cooldown }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn backlog(lag: i64) -> Backlog {
        Backlog::of(&[PartitionOffsets::new("shop.orders-0".into(), (0, lag), Some(0))], None, at(0))
    }

    fn subject() -> Subject {
        let [cluster, group, dead_letters] = ["default", "shop.to-api", "shop.dead"].map(str::to_owned);
        Subject { cluster, group, topics: vec!["shop.orders".into()], dead_letters }
    }

    /// Looks once a second, and makes a pass where another number is needed. Gives what ran after each look.
    fn looks(workers: &mut Workers, backlog: Option<&Backlog>, seconds: std::ops::Range<i64>) -> Vec<i32> {
        let look = |second| {
            if workers.decide(backlog, 4, at(second)) {
                workers.follow(workers.scaling, 99);
            }
            workers.run
        };
        seconds.map(look).collect()
    }

    #[test]
    fn until_it_is_decided_a_pass_runs_what_it_sees_and_no_fewer_than_the_last_one() {
        let mut workers = Workers::default();
        assert_eq!(workers.follow(None, 5), 5);
        assert_eq!(workers.follow(Some(scaling(0, 9)), 1), 5, "the status does not tell of them yet");
        assert_eq!(workers.follow(Some(scaling(0, 9)), 7), 7);
        assert_eq!(workers.follow(Some(scaling(0, 6)), 6), 6, "the spec allows no more");
        assert_eq!(workers.follow(None, 0), 0, "it is paused");
        assert_eq!(workers.follow(Some(scaling(0, 9)), 1), 1);
    }

    #[test]
    fn what_is_decided_counts_within_the_bounds_of_the_newest_spec() {
        let mut workers = Workers::default();
        assert_eq!(workers.follow(Some(scaling(0, 9)), 1), 1);
        assert!(!workers.decide(Some(&backlog(10)), 4, at(0)));
        assert!(workers.decide(Some(&backlog(25)), 4, at(1)));
        assert_eq!(workers.follow(Some(scaling(0, 9)), 1), 3);
        assert_eq!(workers.follow(Some(scaling(0, 2)), 1), 2);
        assert_eq!(workers.follow(Some(scaling(7, 9)), 1), 4, "there are four partitions");
        assert_eq!(workers.follow(None, 5), 5, "it is not followed any more");
        assert!(!workers.decide(Some(&backlog(0)), 4, at(100)));
        assert_eq!(workers.follow(Some(scaling(0, 9)), 1), 5, "and what was decided before is forgotten");
    }

    #[test]
    fn what_is_not_known_stops_no_worker_and_starts_those_that_run_in_any_case() {
        let mut workers = Workers::default();
        workers.follow(Some(scaling(3, 9)), 1);
        assert_eq!(looks(&mut workers, None, 0..2), [3, 3]);
        assert_eq!(looks(&mut workers, Some(&backlog(40)), 2..3), [4]);
        assert_eq!(looks(&mut workers, None, 3..60), [4; 57]);
        let nothing = backlog(0);
        let mut expected = vec![4; 10];
        expected.push(3);
        assert_eq!(looks(&mut workers, Some(&nothing), 60..71), expected, "the cooldown began when the lag was known");

        let mut none = Workers::default();
        none.follow(Some(scaling(0, 9)), 0);
        assert_eq!(looks(&mut none, None, 0..60), [0; 60], "none were needed before");
    }

    #[test]
    fn more_workers_than_partitions_go_at_once_and_others_after_the_cooldown() {
        let mut workers = Workers::default();
        workers.follow(Some(scaling(0, 9)), 6);
        let mut expected = vec![4; 10];
        expected.push(0);
        assert_eq!(looks(&mut workers, Some(&backlog(0)), 0..11), expected);
    }

    #[test]
    fn an_integration_whose_lag_was_never_told_gets_the_workers_that_run_in_any_case() {
        let measurements = Measurements::default();
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let follow = || measurements.follow(&name, subject(), Some(scaling(3, 9)), 1);
        assert_eq!(follow(), 1);
        assert!(measurements.needs_others(&name, 4, at(0)));
        assert_eq!(follow(), 3);
        measurements.lose_backlog(&name, Why { reason: Reason::NotAuthorized, message: String::new() });
        assert!(!measurements.needs_others(&name, 4, at(COOLDOWN * 2)));
        assert_eq!(follow(), 3);
    }

    #[test]
    fn a_group_is_idle_while_no_worker_runs_and_its_integration_is_there() {
        let (measurements, of_another) = (Measurements::default(), IdleGroup::default());
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        measurements.follow(&name, subject(), None, 0);
        let idle: Vec<IdleGroup> = measurements.idle_groups("default").into_iter().collect();
        assert_eq!((idle.len(), measurements.is_idle(&idle[0]), measurements.is_idle(&of_another)), (1, true, false));
        measurements.follow(&name, subject(), None, 1);
        assert!(!measurements.is_idle(&idle[0]), "it goes on");
        measurements.follow(&name, subject(), None, 0);
        assert!(measurements.is_idle(&idle[0]));
        measurements.forget(&name);
        assert!(!measurements.is_idle(&idle[0]), "it goes, and its group with it");
    }

    #[test]
    fn workers_that_deliver_get_on_and_those_whose_attempts_fail_do_not() {
        let (measurements, cluster) = (Measurements::default(), "default");
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        measurements.follow(&name, subject(), None, 1);
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
        assert_eq!(got_on(&Shown { dead_letters: 1, ..work.clone() }), (0, 1));
        measurements.forget_work(&name);
        assert_eq!(got_on(&work), (0, 0), "those of another one of that name");
    }
}
