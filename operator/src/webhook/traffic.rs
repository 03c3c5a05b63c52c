//! Asks receivers what they have done: those of a busy Webhook often, those of an idle one seldom; and wakes a pass only where
//! there is something new to show.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use sluice_crds::{NamespacedName, Webhook, WebhookStatus, wire::ReceiverStatus};
use sluice_model::{
    News,
    webhook::{Burst, Shown, Traffic},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use crate::{context::Context, watch::Seen};

/// How often the receivers of a busy Webhook are asked, and those of one where nothing happens.
const BUSY: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_mins(2);
/// Numbers of one Webhook are written no more often.
const QUIET: Duration = Duration::from_secs(30);
/// Webhooks whose receivers are asked at the same time.
const AT_ONCE: usize = 32;

/// What the receivers of every Webhook that a pass has seen have done.
#[derive(Debug, Default)]
pub struct Reception {
    followed: Mutex<HashMap<NamespacedName, Followed>>,
}

#[derive(Debug)]
struct Followed {
    receivers: Vec<String>,
    traffic: Traffic,
    newest: Option<Shown>,
    /// What the last pass was given, and when.
    told: Option<(Option<Shown>, Instant)>,
    wait: Duration,
    due: Instant,
}

impl Reception {
    /// What there is to show for a pass; from now on these receivers are asked.
    pub fn follow(&self, webhook: &NamespacedName, status: &WebhookStatus, receivers: Vec<String>) -> Option<Shown> {
        let now = Instant::now();
        let mut followed = self.lock();
        let entry = followed.entry(webhook.clone()).or_insert_with(|| Followed {
            receivers: Vec::new(),
            traffic: Traffic::resume(status, Timestamp::now()),
            newest: None,
            told: None,
            wait: BUSY,
            due: now,
        });
        if entry.receivers != receivers {
            entry.receivers = receivers;
            (entry.wait, entry.due) = (BUSY, now);
        }
        entry.told = Some((entry.newest.clone(), now));
        entry.newest.clone()
    }

    /// Keeps only those Webhooks that exist.
    fn keep(&self, exists: impl Fn(&NamespacedName) -> bool) {
        self.lock().retain(|webhook, _| exists(webhook));
    }

    /// The Webhooks whose receivers are to be asked.
    fn due(&self, now: Instant) -> Vec<(NamespacedName, Vec<String>)> {
        let followed = self.lock();
        let due = followed.iter().filter(|(_, entry)| entry.due <= now && !entry.receivers.is_empty());
        due.map(|(webhook, entry)| (webhook.clone(), entry.receivers.clone())).collect()
    }

    /// Takes answers. Says whether a pass should show them, and whether a burst of bad signatures begins.
    fn take(&self, webhook: &NamespacedName, answers: &[Option<ReceiverStatus>]) -> (bool, Option<Burst>) {
        let now = Instant::now();
        let mut followed = self.lock();
        let Some(entry) = followed.get_mut(webhook) else { return (false, None) };
        let burst = entry.traffic.take(answers, Timestamp::now());
        let shown = Some(entry.traffic.shown());
        entry.wait = if shown == entry.newest { (entry.wait * 2).min(IDLE) } else { BUSY };
        entry.due = now + entry.wait;
        entry.newest = shown;
        let is_news = match &entry.told {
            Some((told, _)) if *told == entry.newest => false,
            Some((Some(_), at)) => now.duration_since(*at) >= QUIET,
            Some((None, _)) | None => true,
        };
        (is_news, burst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of the receivers that run.
pub fn addresses(pods: &[Pod]) -> Vec<String> {
    let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let running =
        alive.filter_map(|pod| pod.status.as_ref()).filter(|status| status.phase.as_deref() == Some("Running"));
    let mut addresses: Vec<_> = running.filter_map(|status| status.pod_ip.clone()).collect();
    addresses.sort_unstable();
    addresses
}

/// Asks for ever.
pub async fn run(context: Arc<Context>) {
    const LOOK: Duration = Duration::from_secs(2);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.reception.keep(|webhook| context.webhooks.get(webhook).is_some());
        let due = context.reception.due(Instant::now());
        stream::iter(due).for_each_concurrent(AT_ONCE, |(webhook, receivers)| ask(&context, webhook, receivers)).await;
    }
}

async fn ask(context: &Context, webhook: NamespacedName, receivers: Vec<String>) {
    let answers = join_all(receivers.iter().map(|address| context.asker.ask::<ReceiverStatus>(address))).await;
    let (is_news, burst) = context.reception.take(&webhook, &answers);
    if is_news {
        debug!(%webhook, "Receivers have something new to show");
        context.webhooks.queue.wake(&webhook);
    }
    if let (Some(burst), Some(Seen::Resource(object))) = (burst, context.webhooks.get(&webhook)) {
        context.events.tell::<Webhook>(&object, &news(burst)).await;
    }
}

fn news(burst: Burst) -> News {
    let Burst { requests, within } = burst;
    News {
        is_good: false,
        reason: "SignaturesRefused".to_owned(),
        message: format!(
            "{requests} requests within {} s were not genuine and were answered 401: a sender has another secret, or somebody tries \
             his luck. The metric sluice_receiver_signatures_refused_total tells what was wrong with them",
            within.as_secs()
        ),
    }
}
