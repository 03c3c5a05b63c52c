//! Keeps the offsets of groups whose Integrations run no worker: Kafka forgets them after 7 days, and the Integration would begin anew.

use std::{collections::HashMap, future::Future, sync::Arc, thread, time::Duration};

use futures::future::join_all;
use sluice_kafka::{Error, visit_group};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{context::Context, measure::Measurements};

/// A consumer group without workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IdleGroup {
    /// The Kafka cluster, as the operator's configuration names it.
    pub cluster: String,
    /// Its name.
    pub group: String,
    /// What it reads.
    pub topics: Vec<String>,
}

/// How often it is looked which groups are idle.
const INTERVAL: Duration = Duration::from_mins(1);
/// How often a group is visited: some brokers keep offsets for a day.
const VISIT: Duration = Duration::from_hours(6);
/// When it is tried again after a failure.
const RETRY: Duration = Duration::from_mins(10);
/// How long a visit may take; joining an empty group takes 3 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Visits for ever. Each Kafka cluster has its turn beside the others: visits to one that does not answer take long.
pub async fn run(context: Arc<Context>) {
    let clusters: Vec<&String> = context.clusters.names().collect();
    let visit = |group| visit(&context, group);
    join_all(clusters.into_iter().map(|cluster| keep(cluster, &context.measurements, &visit))).await;
}

/// Visits the groups of a cluster, one after the other; `visit` says whether it kept the offsets of one.
async fn keep<V: Future<Output = bool>>(cluster: &str, measurements: &Measurements, visit: impl Fn(IdleGroup) -> V) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = HashMap::<IdleGroup, Instant>::new();
    loop {
        ticks.tick().await;
        let idle = measurements.idle_groups(cluster);
        due.retain(|group, _| idle.contains(group));
        for group in idle {
            // The visits before may have taken long: beside its workers one would be a member of it, and take partitions from them.
            let is_due = due.get(&group).is_none_or(|due| *due <= Instant::now());
            if is_due && measurements.is_idle(&group) {
                let wait = if visit(group.clone()).await { VISIT } else { RETRY };
                due.insert(group, Instant::now() + wait);
            }
        }
    }
}

async fn visit(context: &Context, group: IdleGroup) -> bool {
    let connection = context.clusters.connection(&group.cluster);
    let IdleGroup { cluster, group: name, .. } = group.clone();
    // A thread of its own, which keeps no process from ending.
    let (tell, told) = oneshot::channel();
    thread::spawn(move || drop(tell.send(visit_group(&connection, &group.group, &group.topics, PATIENCE))));
    match told.await {
        Ok(Ok(())) => {
            context.metrics.visit(&cluster, "Ok");
            info!(cluster, group = name, "Offsets of a group without workers kept");
            true
        }
        Ok(Err(error)) => {
            // Without credentials nobody was asked.
            if !matches!(error, Error::File { .. } | Error::Settings(_)) {
                context.metrics.visit(&cluster, error.class());
            }
            warn!(cluster, group = name, "Kafka may forget the offsets of a group without workers: {error}");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use sluice_crds::NamespacedName;
    use sluice_model::integration::Subject;
    use tokio::time::timeout;

    use super::*;

    /// An Integration of that cluster that runs no worker.
    fn follow(measurements: &Measurements, cluster: &str, name: &str) {
        let name = NamespacedName { namespace: "shop".into(), name: name.into() };
        let (group, topics) = (format!("shop.{}", name.name), vec!["shop.orders".into()]);
        let subject = Subject { cluster: cluster.into(), group, topics, dead_letters: "shop.dead".into() };
        measurements.follow(&name, subject, None, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn groups_of_a_cluster_that_does_not_answer_hold_up_no_others() {
        let (measurements, visited) = (Measurements::default(), RefCell::new(Vec::new()));
        for number in 0..100 {
            follow(&measurements, "away", &format!("away-{number}"));
        }
        follow(&measurements, "default", "to-api");
        let begin = Instant::now();
        let visit = async |group: IdleGroup| {
            if group.cluster == "away" {
                assert!(timeout(PATIENCE, pending::<()>()).await.is_err());
                return false;
            }
            visited.borrow_mut().push(begin.elapsed());
            true
        };
        let keep_all = join_all(["away", "default"].map(|cluster| keep(cluster, &measurements, &visit)));
        assert!(timeout(VISIT + INTERVAL, keep_all).await.is_err(), "for ever");
        assert_eq!(*visited.borrow(), [Duration::ZERO, VISIT]);
    }
}
