//! Writes numbers into statuses: those that look different, not more often than the settings say, and without a pass, which would
//! read all that an Integration owns.

use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Integration, NamespacedName};
use sluice_model::integration::{with_numbers, with_work, without_numbers};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use super::{Measurements, Numbers};
use crate::{
    context::Context,
    status::{self, Written},
    watch::Seen,
};

/// Statuses that are written at the same time.
const AT_ONCE: usize = 8;

/// Writes for ever.
pub async fn run(context: Arc<Context>) {
    let mut ticks = interval(context.settings.measuring.interval.get());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = context.measurements.due(Instant::now(), context.settings.measuring.write_every.get());
        stream::iter(due).for_each_concurrent(AT_ONCE, |(name, numbers)| write(&context, name, numbers)).await;
    }
}

/// Over the version that is known: where a pass wrote meanwhile, it is tried again at the next look.
async fn write(context: &Context, name: NamespacedName, numbers: Numbers) {
    let Some(Seen::Resource(integration)) = context.integrations.get(&name) else { return };
    if integration.metadata.deletion_timestamp.is_some() {
        return;
    }
    let previous = integration.status.clone().unwrap_or_default();
    let known = if numbers.lost { without_numbers(&previous) } else { previous.clone() };
    let status = with_numbers(&known, numbers.backlog.as_ref(), numbers.dead_letters());
    let status = match &numbers.work {
        Some(work) => with_work(&status, work, Timestamp::now()),
        None => status,
    };
    match status::write::<Integration>(&context.client, &integration, &status).await {
        Ok(Written::Changed) => {
            context.measurements.wrote(&name, Some(Instant::now()));
            context.events.transition::<Integration>(&integration, &previous.conditions, &status.conditions).await;
        }
        Ok(Written::Unchanged) => context.measurements.wrote(&name, None),
        Err(error) => debug!(%name, %error, "The numbers could not be written and will be tried again"),
    }
}

impl Measurements {
    /// The numbers that changed and may be written.
    fn due(&self, now: Instant, pause: std::time::Duration) -> Vec<(NamespacedName, Numbers)> {
        let followed = self.followed();
        let due = followed.iter().filter(|(_, known)| {
            known.changed && known.written.is_none_or(|written| now.duration_since(written) >= pause)
        });
        due.map(|(name, known)| (name.clone(), known.numbers.clone())).collect()
    }

    /// The status says what the numbers do; `at` is when it was written for it.
    fn wrote(&self, name: &NamespacedName, at: Option<Instant>) {
        if let Some(known) = self.followed().get_mut(name) {
            known.changed = false;
            known.written = at.or(known.written);
        }
    }
}
