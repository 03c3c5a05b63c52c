//! One pass over an Integration.

mod begin;
mod farewell;
mod resolve;
mod work;

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{Resource, ResourceExt};
use sluice_crds::{INTEGRATION_FINALIZER, Integration, IntegrationStatus};
use sluice_model::{
    Rejection,
    children::{Child, ChildKind, Live, Owner, Plan, SeenPod, find, last_good, plan},
    integration::{
        COMPONENT, Flow, Held, Outcome, Subject, Work, desire, is_deleted_too, report, validate, worker_name,
    },
    topic::{User, UserKind},
};

use self::{begin::begin, resolve::resolve};
use crate::{
    children::{self, Pods},
    context::Context,
    controller::{Kind, Next, Pass},
    error::Error,
    finalizer::{self, Holds},
    grants,
    watch::Watched,
};

pub(crate) use resolve::topic;

/// Everything that matters is watched; this is for an event that was lost. A pass costs the API server some six reads, for each of thousands
/// at rest too.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

impl Kind for Integration {
    type Status = IntegrationStatus;

    const NAME: &'static str = "Integration";

    const CONCURRENCY: usize = 32;

    const BESIDE: &'static [&'static str] = &[
        "lag",
        "worstPartition",
        "oldestWaiting",
        "drainedIn",
        "deadLetters",
        "rate",
        "deadLetterRate",
        "errorRate",
        "p95",
        "inFlight",
        "circuit",
        "lastDeliveryTime",
        "gone",
        "trouble",
    ];

    fn watched(context: &Context) -> &Watched<Self> {
        &context.integrations
    }

    fn holds_on(&self) -> bool {
        finalizer::is_held(self)
    }

    fn status(&self) -> Option<&IntegrationStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &IntegrationStatus) -> &[Condition] {
        &status.conditions
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<IntegrationStatus>, Error> {
        if self.meta().deletion_timestamp.is_some() {
            return farewell::pass(self, context).await;
        }
        if finalizer::follow_spec(&context.client, self).await? {
            // The watch brings the Integration as it is now, and with it the next pass.
            return Ok(Pass { status: self.status.clone().unwrap_or_default(), next: Next::OnChange });
        }
        let references = resolve(context, self).await?;
        match validate(self, &references, &context.settings) {
            Ok(flow) => carry_out(self, context, flow).await,
            Err(rejections) => hold(self, context, &rejections).await,
        }
    }

    fn failed(&self, error: &Error, now: Timestamp) -> IntegrationStatus {
        let outcome = match error {
            // A person must act, as where a spec is refused.
            Error::Rejected(rejections) => Outcome::Rejected(rejections),
            _ => Outcome::Failed { reason: error.reason(), message: error.to_string() },
        };
        report(self, &outcome, now)
    }
}

impl Holds for Integration {
    const FINALIZER: &'static str = INTEGRATION_FINALIZER;

    const NOTED: &'static str = "consumerGroup";

    fn deletes_too(&self) -> bool {
        is_deleted_too(self)
    }
}

async fn carry_out(
    integration: &Integration,
    context: &Context,
    mut flow: Flow,
) -> Result<Pass<IntegrationStatus>, Error> {
    let now = Timestamp::now();
    let Flow { owner, scaling, replicas, .. } = &flow;
    flow.replicas = context.measurements.follow(&owner.name, Subject::of(&flow), *scaling, *replicas);
    let desired = desire(&flow, &context.settings);
    let live = children::observe(context, &flow.owner, COMPONENT, &desired).await?;
    begin(context, &flow, &live, now).await?;
    let Kept { live, plan, pods } = keep(integration, context, &flow.owner, &desired, live).await?;
    let last_good = last_good(&desired, &flow.elsewhere, &flow.uses);
    let outcome = Outcome::Planned { flow: &flow, live: &live, pods: &pods, plan: &plan, last_good };
    Ok(Pass { status: report(integration, &outcome, now), next: next_look(&plan, &pods, now) })
}

/// What the new spec does not break goes on: the objects of the last one that could be carried out, in the number that the new one wants.
async fn hold(
    integration: &Integration,
    context: &Context,
    rejections: &[Rejection],
) -> Result<Pass<IntegrationStatus>, Error> {
    let now = Timestamp::now();
    let known = integration.status.as_ref().and_then(|status| status.last_good.as_ref());
    let namespace = integration.namespace().unwrap_or_default();
    let configuration = children::remembered(&context.client, &namespace, known).await?;
    let Some(mut held) = configuration.and_then(|found| Held::recall(integration, &found)) else {
        return Ok(Pass {
            status: report(integration, &Outcome::Rejected(rejections), now),
            next: Next::Within(LOOK_AGAIN),
        });
    };
    let who = User { kind: UserKind::Integration, name: held.owner.name.clone() };
    let refused = grants::refused(context, &who, held.elsewhere.iter().cloned()).await?;
    if !refused.is_empty() {
        held = held.stopped();
    }
    let rejections = &grants::with_stop(rejections, refused);
    let Held { owner, subject, scaling, replicas, .. } = &held;
    // Of a cluster that is configured no more nothing can be measured.
    if context.clusters.names().any(|name| *name == subject.cluster) {
        held.replicas = context.measurements.follow(&owner.name, subject.clone(), *scaling, *replicas);
    }
    let desired = held.desire(&context.settings);
    let live = children::observe(context, &held.owner, COMPONENT, &desired).await?;
    let Kept { live, plan, pods } = keep(integration, context, &held.owner, &desired, live).await?;
    let outcome = Outcome::Held { rejections, held: &held, live: &live, pods: &pods };
    let next = next_look(&plan, &pods, now).at_latest(grants::look_at_held(&held.elsewhere));
    Ok(Pass { status: report(integration, &outcome, now), next })
}

/// What was seen while objects were kept as they should be.
struct Kept {
    live: Vec<Live>,
    plan: Plan,
    pods: Vec<SeenPod>,
}

/// Observes, plans and applies; then listens to the workers.
async fn keep(
    integration: &Integration,
    context: &Context,
    owner: &Owner,
    desired: &[Child],
    live: Vec<Live>,
) -> Result<Kept, Error> {
    let plan = plan(owner, desired, &live);
    children::apply(&context.client, &owner.name.namespace, &plan, &live).await?;
    let deployment = find(&live, ChildKind::Deployment, &worker_name(owner));
    // Those of another Integration that had this name, and is gone, have counted for that one.
    let deployment = deployment.filter(|found| found.is_owned_by(owner));
    let Pods { addresses, troubled } = children::list_pods(&context.client, owner, COMPONENT, deployment).await?;
    let begin = || Work::resume(&integration.status.clone().unwrap_or_default(), Timestamp::now());
    context.work.follow(&owner.name, addresses, begin, |_| ());
    let pods = children::hear(&context.asker, troubled).await;
    Ok(Kept { live, plan, pods })
}

fn next_look(plan: &Plan, pods: &[SeenPod], now: Timestamp) -> Next {
    Next::Within(children::look_again(plan, pods, now).unwrap_or(LOOK_AGAIN))
}

#[cfg(test)]
mod tests {
    use sluice_model::children::Withheld;

    use super::*;
    use crate::children::LOOK_AT_CONFLICT;

    #[test]
    fn it_is_soon_looked_whether_what_is_in_the_way_is_gone() {
        let worker = Withheld { kind: ChildKind::Deployment, name: "to-api-worker".to_owned() };
        let in_the_way = Plan { withheld: vec![worker], ..Plan::default() };
        let next = [Plan::default(), in_the_way].map(|plan| next_look(&plan, &[], Timestamp::now()));
        assert_eq!(next, [LOOK_AGAIN, LOOK_AT_CONFLICT].map(Next::Within));
    }
}
