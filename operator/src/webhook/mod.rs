//! One pass over a Webhook.

mod observe;
mod resolve;
mod traffic;

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_crds::{ConditionType, NamespacedName, Webhook, WebhookStatus};
use sluice_model::{
    children::{Change, ChildKind, Plan, find, look_again, plan},
    webhook::{
        COMPONENT, Endpoint, Entry, Outcome, References, Seen, desire, is_before, receiver_name, report, validate,
    },
};

pub use self::traffic::{BUSY, Reception};
use self::{observe::observe, resolve::resolve};
use crate::{
    children::{self, Pods},
    context::Context,
    controller::{Kind, Next, Pass, name_of},
    error::Error,
    watch::Watched,
};

/// Everything that matters is watched, also whether the Gateway API is installed; this is for an event that was lost.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// What was changed and is not watched is looked at once more, so soon.
const LOOK_AT_CHANGES: Duration = Duration::from_secs(1);
/// What AWS has not made yet, or refuses, is looked at so often; a VPC link takes it some minutes.
const LOOK_AT_AWS: Duration = Duration::from_secs(30);

impl Kind for Webhook {
    type Status = WebhookStatus;

    const NAME: &'static str = "Webhook";

    const CONCURRENCY: usize = 32;

    fn watched(context: &Context) -> &Watched<Self> {
        &context.webhooks
    }

    fn status(&self) -> Option<&WebhookStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &WebhookStatus) -> &[Condition] {
        &status.conditions
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<WebhookStatus>, Error> {
        let now = Timestamp::now();
        let references = resolve(&context.client, self).await?;
        let references = References { older_claim: older_claim(context, self), ..references };
        let readers = context.relations.readers(&name_of(self));
        let endpoint = match validate(self, &references, &context.settings) {
            Ok(endpoint) => endpoint,
            Err(rejections) => {
                let status = report(self, Some(&readers), &Outcome::Rejected(&rejections), now);
                return Ok(Pass { status, next: Next::Within(LOOK_AGAIN) });
            }
        };
        let desired = desire(&endpoint, &context.settings);
        let (desired, live, unknown_kind) = observe(&context.client, &endpoint, desired).await?;
        let plan = plan(&endpoint.owner, &desired, &live);
        children::apply(&context.client, &endpoint.owner.name.namespace, &plan).await?;
        let deployment = find(&live, ChildKind::Deployment, &receiver_name(&endpoint.owner));
        let Pods { addresses, troubled } =
            children::list_pods(&context.client, &endpoint.owner, COMPONENT, deployment).await?;
        let pods = children::hear(&context.asker, troubled).await;
        let of_pods = look_again(&pods, now).unwrap_or(LOOK_AGAIN);
        let begin = || Reception::resume(&self.status.clone().unwrap_or_default());
        let traffic = context.reception.follow(&endpoint.owner.name, addresses, begin, Reception::show);
        let seen = Seen {
            live: &live,
            pods: &pods,
            plan: &plan,
            listeners: &references.listeners,
            missing_gateways: &references.missing_gateways,
            unknown_kind,
            traffic: traffic.as_ref(),
        };
        let status = report(self, Some(&readers), &Outcome::Planned(&endpoint, seen), now);
        let next = next(&endpoint, &plan, &status, of_pods);
        Ok(Pass { status, next })
    }

    fn failed(&self, error: &Error, now: Timestamp) -> WebhookStatus {
        report(self, None, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}

/// When to look again: sooner than pods ask for where something was changed, or has to come, that no watch tells of.
fn next(endpoint: &Endpoint, plan: &Plan, status: &WebhookStatus, of_pods: Duration) -> Next {
    if plan.changes.iter().map(Change::kind).any(|kind| !children::is_watched(kind)) {
        return Next::Within(LOOK_AT_CHANGES);
    }
    let is_accepted = |condition: &Condition| {
        condition.type_ == ConditionType::RouteAccepted.to_string() && condition.status == "True"
    };
    let is_in_aws = matches!(endpoint.entry, Entry::AwsApiGateway(_));
    let waits_for_aws = is_in_aws && !status.conditions.iter().any(is_accepted);
    Next::Within(if waits_for_aws { of_pods.min(LOOK_AT_AWS) } else { of_pods })
}

/// The oldest of the Webhooks that claim the same address and are older.
fn older_claim(context: &Context, webhook: &Webhook) -> Option<NamespacedName> {
    let older = context.webhooks.where_is(|other| is_before(other, webhook)).into_iter();
    let oldest = older
        .min_by_key(|(name, webhook)| (webhook.metadata.creation_timestamp.as_ref().map(|time| time.0), name.clone()));
    oldest.map(|(name, _)| name)
}
