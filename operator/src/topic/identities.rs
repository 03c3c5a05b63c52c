//! Which names of the operator's configuration mean the same Kafka cluster.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::try_join_all;

use crate::{context::Context, error::Error, looks::Looks};

/// The ids of the Kafka clusters that were asked for it, by the cluster's name in the configuration.
#[derive(Debug, Default)]
pub struct Identities {
    ids: Mutex<BTreeMap<String, String>>,
    asking: Looks<String, ()>,
}

impl Identities {
    /// Asks clusters that were not asked yet.
    pub async fn learn_all(&self, context: &Context, clusters: &[String]) -> Result<(), Error> {
        try_join_all(clusters.iter().map(|cluster| self.learn(context, cluster))).await.map(drop)
    }

    /// Asks a cluster once for its id, where it has to be told from others.
    pub async fn learn(&self, context: &Context, cluster: &str) -> Result<(), Error> {
        let is_told_from_others = context.settings.clusters.len() == 1 || self.ids().contains_key(cluster);
        if is_told_from_others || !context.settings.clusters.contains_key(cluster) {
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
        let names = self.names_with(cluster, &id);
        // Topics under the other names did not know of who names theirs under this one.
        for topic in context.relations.are_one(&names) {
            context.topics.queue.wake(&topic);
        }
        Ok(())
    }

    /// All names that mean the Kafka cluster with this id.
    fn names_with(&self, cluster: &str, id: &str) -> Vec<String> {
        let mut ids = self.ids();
        ids.insert(cluster.to_owned(), id.to_owned());
        ids.iter().filter(|(_, other)| *other == id).map(|(name, _)| name.clone()).collect()
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
