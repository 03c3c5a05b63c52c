//! One pass over an Integration.

mod begin;
mod resolve;
mod work;

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_crds::{Integration, IntegrationStatus};
use sluice_model::{
    children::{ChildKind, find, look_again, plan},
    integration::{COMPONENT, Outcome, Work, desire, report, validate, worker_name},
};

use self::{begin::begin, resolve::resolve};
use crate::{
    children::{self, Pods},
    context::Context,
    controller::{Kind, Next, Pass},
    error::Error,
    watch::Watched,
};

pub(crate) use resolve::topic;

/// Everything that matters is watched; this is for an event that was lost.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

impl Kind for Integration {
    type Status = IntegrationStatus;

    const NAME: &'static str = "Integration";

    const CONCURRENCY: usize = 32;

    fn watched(context: &Context) -> &Watched<Self> {
        &context.integrations
    }

    fn status(&self) -> Option<&IntegrationStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &IntegrationStatus) -> &[Condition] {
        &status.conditions
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<IntegrationStatus>, Error> {
        let now = Timestamp::now();
        let next = Next::Within(LOOK_AGAIN);
        let references = resolve(&context.client, self).await?;
        let mut flow = match validate(self, &references, &context.settings) {
            Ok(flow) => flow,
            Err(rejections) => {
                return Ok(Pass { status: report(self, &Outcome::Rejected(&rejections), now), next });
            }
        };
        flow.replicas = context.measurements.follow(&flow);
        let desired = desire(&flow, &context.settings);
        let live = children::observe(&context.client, &flow.owner, COMPONENT, &desired).await?;
        begin(context, &flow, &live, now).await?;
        let plan = plan(&flow.owner, &desired, &live);
        children::apply(&context.client, &flow.owner.name.namespace, &plan).await?;
        let deployment = find(&live, ChildKind::Deployment, &worker_name(&flow.owner));
        let Pods { addresses, troubled } =
            children::list_pods(&context.client, &flow.owner, COMPONENT, deployment).await?;
        let resume = || Work::resume(&self.status.clone().unwrap_or_default(), now);
        context.work.follow(&flow.owner.name, addresses, resume, |_| ());
        let pods = children::hear(&context.asker, troubled).await;
        let next = Next::Within(look_again(&pods, now).unwrap_or(LOOK_AGAIN));
        let outcome = Outcome::Planned { flow: &flow, live: &live, pods: &pods, plan: &plan };
        Ok(Pass { status: report(self, &outcome, now), next })
    }

    fn failed(&self, error: &Error, now: Timestamp) -> IntegrationStatus {
        report(self, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}
