//! What becomes of the receivers' answers: a pass is woken only where there is something new to show, and a burst of forgeries is told.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{NamespacedName, Webhook, WebhookStatus, wire::ReceiverStatus};
use sluice_model::{
    News,
    webhook::{Burst, Shown, Traffic},
};
use tokio::time::Instant;
use tracing::debug;

use crate::{
    context::Context,
    data_plane::STATUS,
    rounds::{Asked, Heard, Pace, Rounds},
    watch::Seen,
};

/// How often the receivers of a busy Webhook are asked.
pub const BUSY: Duration = Duration::from_secs(10);
/// Numbers of one Webhook are written no more often.
const QUIET: Duration = Duration::from_secs(30);

/// What the receivers of a Webhook have done.
#[derive(Debug)]
pub struct Reception {
    traffic: Traffic,
    newest: Option<Shown>,
    /// What the last pass was given, and when.
    told: Option<(Option<Shown>, Instant)>,
    /// The revision that shared receivers are to serve, where the Webhook shares receivers.
    wanted: Option<String>,
}

/// What the last answers bring.
#[derive(Debug, Default)]
pub struct Brought {
    /// Whether a pass should show them.
    is_worth_a_pass: bool,
    burst: Option<Burst>,
}

impl Reception {
    /// Begins with what a status says.
    pub fn resume(status: &WebhookStatus) -> Self {
        Self { traffic: Traffic::resume(status, Timestamp::now()), newest: None, told: None, wanted: None }
    }

    /// What there is to show for a pass, which wants shared receivers to serve this revision, where it shares any.
    pub fn show(&mut self, wanted: Option<String>) -> Option<Shown> {
        self.wanted = wanted;
        self.told = Some((self.newest.clone(), Instant::now()));
        self.newest.clone()
    }

    fn is_worth_a_pass(&self) -> bool {
        match &self.told {
            Some((told, _)) if *told == self.newest => false,
            Some((Some(told), at)) => {
                let is_served_otherwise = |newest: &Shown| newest.found.is_served_otherwise(&told.found);
                at.elapsed() >= QUIET || self.newest.as_ref().is_some_and(is_served_otherwise)
            }
            Some((None, _)) | None => true,
        }
    }

    /// Whether shared receivers have yet to read what they are to serve.
    fn waits_for_revision(&self, shown: &Shown) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| !shown.found.all_serve(wanted))
    }
}

impl Asked for Webhook {
    type Answer = ReceiverStatus;
    type Account = Reception;
    type News = Brought;

    fn rounds(context: &Context) -> &Rounds<Reception> {
        &context.reception
    }

    fn path(context: &Context, webhook: &NamespacedName) -> String {
        if context.shared.serve(webhook) { format!("{STATUS}/{}", webhook.name) } else { STATUS.to_owned() }
    }

    fn take(reception: &mut Reception, answers: &[Option<ReceiverStatus>]) -> Heard<Brought> {
        if answers.is_empty() {
            return Heard { pace: Pace::Idle, news: Brought::default() };
        }
        let burst = reception.traffic.take(answers, Timestamp::now());
        let shown = Some(reception.traffic.shown());
        // What comes back by itself is looked for often, or a status would go on to speak of it.
        let waits =
            shown.as_ref().is_some_and(|shown| shown.found.waits_for_others() || reception.waits_for_revision(shown));
        let pace = if waits || shown != reception.newest { Pace::Busy } else { Pace::Idle };
        reception.newest = shown;
        Heard { pace, news: Brought { is_worth_a_pass: reception.is_worth_a_pass(), burst } }
    }

    async fn tell(context: &Context, webhook: &NamespacedName, news: Brought) {
        if news.is_worth_a_pass {
            debug!(%webhook, "Receivers have something new to show");
            context.webhooks.queue.wake(webhook);
        }
        if let (Some(burst), Some(Seen::Resource(object))) = (news.burst, context.webhooks.get(webhook)) {
            context.events.tell::<Self>(&object, &forgeries(burst)).await;
        }
    }
}

fn forgeries(burst: Burst) -> News {
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
