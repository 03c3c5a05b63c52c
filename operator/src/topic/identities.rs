//! Which names of the operator's configuration mean the same Kafka cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use tokio::time::timeout;

use crate::{context::Context, error::Error, looks::Looks};

/// How long a pass waits for another Kafka cluster than its Topic's to tell which one it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// The ids of the Kafka clusters that were asked for it, by the cluster's name in the configuration.
#[derive(Debug, Default)]
pub struct Identities {
    ids: Mutex<BTreeMap<String, String>>,
    asking: Looks<String, ()>,
    late: Late,
}

/// The clusters for which a pass has waited in vain.
#[derive(Debug, Default)]
struct Late(Mutex<BTreeSet<String>>);

impl Identities {
    /// Asks clusters that were not asked yet.
    pub async fn learn_all(&self, context: &Context, clusters: &[String]) -> Result<(), Error> {
        try_join_all(clusters.iter().map(|cluster| self.learn(context, cluster))).await.map(drop)
    }

    /// The same, but waits only a moment for each, and once for one that is away: each cluster that was asked before goes on being asked, beside
    /// the passes, until it has told. Says whether all have.
    pub async fn learn_soon(&self, context: &Context, clusters: &[String]) -> bool {
        let told = join_all(clusters.iter().map(|cluster| self.tells_soon(context, cluster))).await;
        told.into_iter().all(|told| told)
    }

    async fn tells_soon(&self, context: &Context, cluster: &str) -> bool {
        if self.knows(context, cluster) {
            return true;
        }
        let is_away = context.clusters.connected(cluster).is_some_and(|kafka| !kafka.is_answering());
        !is_away && self.late.wait_once(cluster, self.learn(context, cluster)).await
    }

    /// Whether a cluster has nothing to tell, or has told.
    fn knows(&self, context: &Context, cluster: &str) -> bool {
        let clusters = &context.settings.clusters;
        clusters.len() == 1 || self.ids().contains_key(cluster) || !clusters.contains_key(cluster)
    }

    /// Asks a cluster once for its id, where it has to be told from others.
    pub async fn learn(&self, context: &Context, cluster: &str) -> Result<(), Error> {
        if self.knows(context, cluster) {
            return Ok(());
        }
        self.asking.at(cluster.to_owned(), self.ask(context, cluster)).await.map(drop)
    }

    async fn ask(&self, context: &Context, cluster: &str) -> Result<(), Error> {
        // Somebody else's question may have been answered since.
        if self.ids().contains_key(cluster) {
            return Ok(());
        }
        let description = context.clusters.client(cluster)?.describe_cluster().await;
        let id = description.map_err(|source| Error::Kafka { cluster: cluster.to_owned(), source })?.id;
        // Topics under the other names did not know of who names theirs under this one.
        for topic in self.learned(cluster, &id, |names| context.relations.are_one(names)) {
            context.topics.queue.wake(&topic);
        }
        Ok(())
    }

    /// Notes a cluster's id, and tells all names that mean it. Nobody takes the cluster for known before that: he would go on without those who
    /// use its topics under another name. Of two names that are learned at the same time, the one that comes later is told with the other.
    fn learned<T>(&self, cluster: &str, id: &str, tell: impl FnOnce(&[String]) -> T) -> T {
        let mut ids = self.ids();
        ids.insert(cluster.to_owned(), id.to_owned());
        let names: Vec<String> = ids.iter().filter(|(_, other)| *other == id).map(|(name, _)| name.clone()).collect();
        tell(&names)
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Late {
    /// Waits for what a cluster tells, for a moment, and not at all for one that took longer before. Says whether it told.
    async fn wait_once(&self, cluster: &str, told: impl Future<Output = Result<(), Error>>) -> bool {
        if self.names().contains(cluster) {
            return false;
        }
        let told = timeout(PATIENCE, told).await;
        if told.is_err() {
            self.names().insert(cluster.to_owned());
        }
        matches!(told, Ok(Ok(())))
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::mpsc,
        thread,
    };

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn of_two_names_that_are_learned_at_the_same_time_the_later_one_is_told_with_the_other() {
        let (identities, told) = (Identities::default(), Mutex::new(Vec::new()));
        let (of, push) = (&identities, |names: &[String]| told.lock().unwrap().push(names.to_vec()));
        let ((begun, has_begun), (ended, has_ended)) = (mpsc::channel(), mpsc::channel());
        thread::scope(|scope| {
            scope.spawn(move || {
                has_begun.recv().unwrap();
                of.learned("west", "id", push);
                ended.send(()).unwrap();
            });
            of.learned("east", "id", |names| {
                begun.send(()).unwrap();
                assert!(has_ended.recv_timeout(Duration::from_millis(50)).is_err(), "who comes meanwhile waits");
                push(names);
            });
        });
        assert_eq!(told.into_inner().unwrap(), [vec!["east"], vec!["east", "west"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_waits_once_for_a_cluster_that_is_away_and_for_no_other_one_longer() {
        let (late, begin) = (Late::default(), Instant::now());
        assert!(!late.wait_once("east", pending()).await);
        assert!(begin.elapsed() >= PATIENCE);
        assert!(!late.wait_once("east", pending()).await);
        assert!(late.wait_once("west", ready(Ok(()))).await);
        assert!(!late.wait_once("north", ready(Err(Error::Stale))).await, "a refusal is no silence");
        assert!(begin.elapsed() < 2 * PATIENCE, "nothing waited again");
        assert!(late.wait_once("north", ready(Ok(()))).await);
    }
}
