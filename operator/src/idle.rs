//! Keeps the offsets of groups whose Integrations run no worker: Kafka forgets them after 7 days, and the Integration would begin anew.

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use sluice_kafka::{Error, visit_group};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::context::Context;

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

/// Visits for ever, one group after the other.
pub async fn run(context: Arc<Context>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = HashMap::<IdleGroup, Instant>::new();
    loop {
        ticks.tick().await;
        let idle = context.measurements.idle_groups();
        due.retain(|group, _| idle.contains(group));
        for group in idle {
            // The visits before may have taken long: beside its workers one would be a member of it, and take partitions from them.
            let is_due = due.get(&group).is_none_or(|due| *due <= Instant::now());
            if is_due && context.measurements.is_idle(&group) {
                let wait = if visit(&context, group.clone()).await { VISIT } else { RETRY };
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
