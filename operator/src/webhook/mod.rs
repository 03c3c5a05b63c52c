//! One pass over a Webhook.

mod absences;
mod gateway;
mod observe;
mod resolve;
mod shared;
mod traffic;

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;
use sluice_crds::{ConditionType, LastGood, NamespacedName, ReceiverMode, Webhook, WebhookStatus, wire::SharedWebhook};
use sluice_model::{
    Refused, Rejection,
    children::{Availability, Child, ChildKind, Live, Owner, Plan, SeenPod, find, find_availability, last_good, plan},
    conditions::is_true,
    topic::{User, UserKind},
    webhook::{
        COMPONENT, Endpoint, Entry, Held, Outcome, References, Seen, Shown, Step, Steps, Turn, after_take_over, desire,
        has_service, is_before, is_of_route, leave_strange_api_alone, receiver_name, report, running, shard_of,
        sharers_before, take_over, validate, without_farewells, without_unknown,
    },
};

pub use self::{
    absences::Absences,
    gateway::Gateway,
    observe::UnknownKinds,
    shared::{SHARED_KIND, Shared, run as run_shared},
    traffic::{BUSY, Reception},
};
use self::{observe::observe, resolve::resolve, shared::Pool};
use crate::{
    children::{self, Existence, Pods},
    context::Context,
    controller::{Kind, Next, Pass, name_of},
    error::Error,
    grants,
    watch::Watched,
};

/// Everything that matters is watched, also whether the Gateway API is installed; this is for an event that was lost, and
/// for the labels of namespaces where some only are looked after.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// What was changed and is not watched is looked at once more, so soon.
const LOOK_AT_CHANGES: Duration = Duration::from_secs(1);
/// A step of a change to other receivers for which only some time has to pass is looked at so often.
const LOOK_AT_STEP: Duration = Duration::from_secs(2);
/// What AWS has not made yet, or refuses, is looked at so often; a VPC link takes it some minutes.
const LOOK_AT_AWS: Duration = Duration::from_secs(30);
/// A kind that the cluster does not have, and that is not watched, is looked for so often.
const LOOK_FOR_KIND: Duration = Duration::from_secs(30);
/// What it has taken may still be refused: its controller's conditions do not tell which spec they are about.
const LOOK_AT_TAKEN: Duration = Duration::from_mins(2);

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
        let references = resolve(context, self).await?;
        let references = References { older_claim: older_claim(context, self), ..references };
        match validate(self, &references, &context.settings) {
            Ok(endpoint) => carry_out(self, context, &references, &endpoint).await,
            Err(rejections) => hold(self, context, &references, &rejections).await,
        }
    }

    fn failed(&self, error: &Error, now: Timestamp) -> WebhookStatus {
        report(self, None, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}

async fn carry_out(
    webhook: &Webhook,
    context: &Context,
    references: &References,
    endpoint: &Endpoint,
) -> Result<Pass<WebhookStatus>, Error> {
    let (owner, now) = (&endpoint.owner, Timestamp::now());
    let next = desire(endpoint, &context.settings);
    let good = last_good(&next, &endpoint.elsewhere, &endpoint.uses);
    let before = before(webhook, context, endpoint, good.as_ref()).await?;
    let is_shared = endpoint.mode == ReceiverMode::Shared;
    let served = endpoint.share().or_else(|| before.as_ref()?.held.share());
    let is_served = served.is_some();
    let shared = match share(context, owner, is_shared, served).await {
        // Shared receivers that cannot be looked at keep nobody from having others. Their own pass tells of it.
        Err(_) if !is_shared => None,
        shared => shared?,
    };
    let said =
        shared.as_ref().map(|(pool, wanted)| follow(webhook, context, owner, pool.addresses.clone(), wanted.as_ref()));
    let receivers = shared.as_ref().map(|(pool, _)| &pool.receivers);
    let found = said.as_ref().and_then(|said| Some(&said.as_ref()?.found));
    // Also what the API server's clock says of times that this one has not come to yet is past by then.
    let [takes_over, will_take_over] = [now, now + LOOK_AGAIN]
        .map(|at| before.as_ref().is_some_and(|before| take_over(endpoint, before.own.as_ref(), receivers, found, at)));
    let steps = Steps::of(next, before.as_ref().map(|before| &before.held), &context.settings);
    let (live, unknown) = observe(context, owner, &steps.all()).await?;
    let unknown_kind = unknown.first().copied();
    let plan_of = |desired: &[Child]| leave_strange_api_alone(plan(owner, &without_unknown(desired, &unknown), &live));
    let is_followed = || steps.step(Turn::Leave, &live, now, plan_of).0 == Step::Done;
    let turn = match &before {
        Some(_) if takes_over => Turn::TakeOver,
        Some(_) => Turn::Wait,
        None if !is_served && leaves(context, owner, &live, is_followed).await? => Turn::Leave,
        None => Turn::Stay,
    };
    let (step, plan) = steps.step(turn, &live, now, plan_of);
    children::apply(&context.client, &owner.name.namespace, &plan, &live).await?;
    if !is_served && (turn != Turn::Leave || step == Step::Done) {
        context.shared.hand(owner, None);
    }
    let (addresses, pods) = listen(context, owner, &live).await?;
    let traffic = said.unwrap_or_else(|| follow(webhook, context, owner, addresses, None));
    let own_before = before.as_ref().and_then(|before| before.own.as_ref());
    // Until those before may go, they are what is kept of a spec that cannot be carried out.
    let known = || webhook.status.as_ref().and_then(|status| status.last_good.clone());
    let seen = Seen {
        live: &live,
        pods: &pods,
        plan: &plan,
        listeners: &references.listeners,
        missing_gateways: &references.missing_gateways,
        unknown_kind,
        traffic: traffic.as_ref(),
        last_good: if step == Step::Done { good } else { known() },
        shared: receivers.filter(|_| is_shared),
        waits: step == Step::Beside,
        before: if is_shared { own_before } else { receivers.and_then(|shared| shared.availability.as_ref()) },
    };
    let Pass { status, next } = pass(webhook, context, &Outcome::Planned(endpoint, seen), &pods, &plan);
    let is_near = will_take_over && has_service(&plan);
    let next = next.at_latest(look_at_step(step, before.as_ref(), is_near)).at_latest(look_for(unknown_kind));
    Ok(Pass { status, next })
}

/// What ran before with receivers of the other kind.
struct Before {
    held: Held,
    /// Its own receivers, where it has any, or those that are to take over.
    own: Option<Availability>,
}

/// What runs with receivers of the other kind than a Webhook wants now, and may go on until those take over: it is noted, and permitted.
async fn before(
    webhook: &Webhook,
    context: &Context,
    endpoint: &Endpoint,
    good: Option<&LastGood>,
) -> Result<Option<Before>, Error> {
    let (client, owner) = (&context.client, &endpoint.owner);
    let known = webhook.status.as_ref().and_then(|status| status.last_good.as_ref());
    let is_other = known.zip(good).is_some_and(|(known, good)| known.config_map != good.config_map);
    // Without a route nothing comes to either.
    if !is_other || endpoint.older_claim.is_some() {
        return Ok(None);
    }
    let configuration = children::remembered(client, &owner.name.namespace, known).await?;
    let held = configuration.and_then(|found| Held::recall(webhook, &found));
    let is_shared = endpoint.mode == ReceiverMode::Shared;
    let Some(held) = held.filter(|held| held.shares() != is_shared) else { return Ok(None) };
    if !refused(context, &held).await?.is_empty() {
        return Ok(None);
    }
    let own = children::get(client, ChildKind::Deployment, &owner.name.namespace, &receiver_name(owner)).await?.there();
    let held = match &own {
        Some(own) => held.as_many_as(own),
        None => held,
    };
    let live: Vec<Live> = own.into_iter().collect();
    Ok(Some(Before { held, own: find_availability(&live, &receiver_name(owner), &[], Timestamp::now()) }))
}

/// What the new spec does not break goes on: the objects of the last one that could be carried out, in the number that the new one wants. Of
/// what may not be used any more, or of which that is not known, nothing is used.
async fn hold(
    webhook: &Webhook,
    context: &Context,
    references: &References,
    rejections: &[Rejection],
) -> Result<Pass<WebhookStatus>, Error> {
    let Some(mut held) = held(webhook, context).await? else {
        return Ok(pass(webhook, context, &Outcome::Rejected(rejections), &[], &Plan::default()));
    };
    let (refused, unknown) = (refused(context, &held).await?, held.unknown_uses());
    if !refused.is_empty() || unknown.is_some() {
        held = held.stopped();
    }
    let rejections: Vec<Rejection> = grants::with_stop(rejections, refused).into_iter().chain(unknown).collect();
    let mut desired = held.desire(&context.settings);
    if references.older_claim.is_some() {
        desired.retain(|child| !is_of_route(child.kind));
    }
    let served = held.share().filter(|_| references.older_claim.is_none());
    let is_served = served.is_some();
    let shared = share(context, &held.owner, held.shares(), served).await?;
    let (live, unknown) = observe(context, &held.owner, &desired).await?;
    let unknown_kind = unknown.first().copied();
    let plan = leave_strange_api_alone(held.plan(&without_unknown(&desired, &unknown), &live));
    let now = Timestamp::now();
    let is_followed = || after_take_over(true, &plan, &live, now) == Step::Done;
    let leaves = !is_served && leaves(context, &held.owner, &live, is_followed).await?;
    // A change to other receivers may have begun: requests still come to them.
    let step = after_take_over(leaves, &plan, &live, now);
    let plan = if step == Step::Moves { without_farewells(plan) } else { plan };
    children::apply(&context.client, &held.owner.name.namespace, &plan, &live).await?;
    if !is_served && (!leaves || step == Step::Done) {
        context.shared.hand(&held.owner, None);
    }
    let (own, pods) = listen(context, &held.owner, &live).await?;
    let (addresses, wanted) = match &shared {
        None => (own, None),
        Some((pool, wanted)) => (pool.addresses.clone(), wanted.as_ref()),
    };
    let traffic = follow(webhook, context, &held.owner, addresses, wanted);
    let outcome = Outcome::Held {
        rejections: &rejections,
        held: &held,
        live: &live,
        pods: &pods,
        traffic: traffic.as_ref(),
        shared: shared.as_ref().map(|(pool, _)| &pool.receivers),
    };
    let Pass { status, next } = pass(webhook, context, &outcome, &pods, &plan);
    let next = next.at_latest((step == Step::Moves).then_some(LOOK_AT_STEP)).at_latest(look_for(unknown_kind));
    Ok(Pass { status, next })
}

/// What followed from the last spec that could be carried out, as it is noted, or else as it is found.
async fn held(webhook: &Webhook, context: &Context) -> Result<Option<Held>, Error> {
    let (client, namespace) = (&context.client, webhook.namespace().unwrap_or_default());
    let known = webhook.status.as_ref().and_then(|status| status.last_good.as_ref());
    let configuration = children::remembered(client, &namespace, known).await?;
    if let Some(held) = configuration.as_ref().and_then(|found| Held::recall(webhook, found)) {
        return Ok(Some(held));
    }
    let names = running(webhook);
    let looks = names.iter().map(|(kind, name)| children::get(client, *kind, &namespace, name));
    let found = try_join_all(looks).await?.into_iter().filter_map(Existence::there);
    Ok(Held::found(webhook, &found.chain(configuration).collect::<Vec<_>>()))
}

/// The Topics of other namespaces that it uses and may not use any more.
async fn refused(context: &Context, held: &Held) -> Result<Refused, Error> {
    let who = User { kind: UserKind::Webhook, name: held.owner.name.clone() };
    grants::refused(context, &who, held.elsewhere.iter().cloned()).await
}

/// What was seen of the receivers that a Webhook shares, and the revision that they are to serve.
type Sharing = (Arc<Pool>, Option<String>);

/// Whether shared receivers serve a Webhook that is not to share them any more: requests may come to them until its route was followed. After a
/// start their ConfigMap tells, which need not be read where `is_followed` says that gateways have followed the route.
async fn leaves(
    context: &Context,
    owner: &Owner,
    live: &[Live],
    is_followed: impl FnOnce() -> bool,
) -> Result<bool, Error> {
    if let Some(is_served) = context.shared.leave(&owner.name) {
        return Ok(is_served);
    }
    if !live.iter().any(|object| is_of_route(object.kind)) || is_followed() {
        return Ok(false);
    }
    let NamespacedName { namespace, name } = &owner.name;
    let shard = children::get(&context.client, ChildKind::ConfigMap, namespace, &shard_of(name)).await?.there();
    let sharers = sharers_before(shard.as_slice());
    Ok(sharers.iter().any(|sharer| (&sharer.name, &sharer.uid) == (name, &owner.uid)))
}

/// Hands over what shared receivers are to serve of a Webhook, and gives what was seen of them and the revision that is wanted, where it
/// shares any. Where they are to serve nothing of it, that is for later: requests may still come to them.
async fn share(
    context: &Context,
    owner: &Owner,
    is_shared: bool,
    served: Option<SharedWebhook>,
) -> Result<Option<Sharing>, Error> {
    // Where nothing is served, nobody has to be asked about it.
    let Some(served) = served else { return Ok(is_shared.then(Default::default)) };
    context.shared.hand(owner, Some(&served));
    let pool = context.shared.pool(&owner.name.namespace).await?;
    Ok(Some((pool, Some(served.revision))))
}

/// Listens to its own receivers: where they can be asked, and what their pods wait for.
async fn listen(context: &Context, owner: &Owner, live: &[Live]) -> Result<(Vec<String>, Vec<SeenPod>), Error> {
    let deployment = find(live, ChildKind::Deployment, &receiver_name(owner));
    // Those of another Webhook that had this name, and is gone, have counted for that one.
    let deployment = deployment.filter(|found| found.is_owned_by(owner));
    let Pods { addresses, troubled } = children::list_pods(&context.client, owner, COMPONENT, deployment).await?;
    Ok((addresses, children::hear(&context.asker, troubled).await))
}

/// What those at these addresses have said. Shared ones that are to serve a revision are asked soon, until they do.
fn follow(
    webhook: &Webhook,
    context: &Context,
    owner: &Owner,
    addresses: Vec<String>,
    wanted: Option<&String>,
) -> Option<Shown> {
    let begin = || Reception::resume(&webhook.status.clone().unwrap_or_default());
    let show = |reception: &mut Reception| reception.show(wanted.cloned());
    let traffic = context.reception.follow(&owner.name, addresses, begin, show);
    let is_served = |revision: &String| traffic.as_ref().is_some_and(|shown| shown.found.all_serve(revision));
    if wanted.is_some_and(|revision| !is_served(revision)) {
        context.reception.hurry(&owner.name);
    }
    traffic
}

fn pass(
    webhook: &Webhook,
    context: &Context,
    outcome: &Outcome<'_>,
    pods: &[SeenPod],
    plan: &Plan,
) -> Pass<WebhookStatus> {
    let now = Timestamp::now();
    let readers = context.relations.readers(&name_of(webhook));
    let status = report(webhook, Some(&readers), outcome, now);
    let next = next_look(plan, pods, now).at_latest(look_at(outcome, plan, &status));
    Pass { status, next }
}

fn next_look(plan: &Plan, pods: &[SeenPod], now: Timestamp) -> Next {
    Next::Within(children::look_again(plan, pods, now).unwrap_or(LOOK_AGAIN))
}

/// When to look again because something was changed, or has to come, that no watch tells of.
fn look_at(outcome: &Outcome<'_>, plan: &Plan, status: &WebhookStatus) -> Option<Duration> {
    if plan.changes.iter().any(|change| !children::is_watched(change.kind())) {
        return Some(LOOK_AT_CHANGES);
    }
    if let Outcome::Held { held, .. } = outcome {
        return grants::look_at_held(&held.elsewhere);
    }
    let is_in_aws =
        matches!(outcome, Outcome::Planned(endpoint, _) if matches!(endpoint.entry, Entry::AwsApiGateway(_)));
    let is_taken = || is_true(&status.conditions, ConditionType::RouteAccepted);
    is_in_aws.then(|| if is_taken() { LOOK_AT_TAKEN } else { LOOK_AT_AWS })
}

/// When to look again at a change to other receivers, where these have taken over from those before, or `is_near` says that only some time has to
/// pass until they do.
fn look_at_step(step: Step, before: Option<&Before>, is_near: bool) -> Option<Duration> {
    match (step, before) {
        // No watch tells of it.
        (Step::Beside, Some(_)) if is_near => Some(LOOK_AT_STEP),
        (Step::Beside, Some(before)) => grants::look_at_held(&before.held.elsewhere),
        (Step::Moves, _) => Some(LOOK_AT_STEP),
        // Those before are no longer needed from the next pass on.
        (Step::Done, Some(_)) => Some(LOOK_AT_CHANGES),
        (Step::Beside | Step::Done, None) => None,
    }
}

/// When to look for a kind that the cluster does not have; where it is watched, that tells when it comes.
fn look_for(unknown_kind: Option<ChildKind>) -> Option<Duration> {
    unknown_kind.filter(|kind| !children::is_watched(*kind)).map(|_| LOOK_FOR_KIND)
}

/// The oldest of the Webhooks that claim the same address and are older.
fn older_claim(context: &Context, webhook: &Webhook) -> Option<NamespacedName> {
    let older = context.webhooks.where_is(|other| is_before(other, webhook)).into_iter();
    let oldest = older
        .min_by_key(|(name, webhook)| (webhook.metadata.creation_timestamp.as_ref().map(|time| time.0), name.clone()));
    oldest.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use sluice_model::children::Withheld;

    use super::*;
    use crate::children::LOOK_AT_CONFLICT;

    #[test]
    fn it_is_soon_looked_whether_what_is_in_the_way_is_gone() {
        let route = Withheld { kind: ChildKind::HttpRoute, name: "stripe-receiver".to_owned() };
        let in_the_way = Plan { withheld: vec![route], ..Plan::default() };
        let next = [Plan::default(), in_the_way].map(|plan| next_look(&plan, &[], Timestamp::now()));
        assert_eq!(next, [LOOK_AGAIN, LOOK_AT_CONFLICT].map(Next::Within));
    }
}
