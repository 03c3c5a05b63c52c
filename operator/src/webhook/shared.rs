//! The receivers that the Webhooks of a namespace share. Passes over Webhooks hand over what is to be served of each and are told what was
//! seen; one pass for all of them does the rest, so that no two write the same objects.
//!
//! What was handed over is only news: after a restart what stands in the ConfigMaps goes on, until each Webhook had its pass, and until gateways
//! have followed its route where it leaves them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::try_join_all;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use sluice_crds::{NamespacedName, wire::SharedWebhook};
use sluice_model::{
    children::{ChildKind, Live, Owner, find, find_availability},
    webhook::{
        COMPONENT, SHARED_RECEIVERS, SharedReceivers, Sharer, desire_shared, plan_shared, shared_owner, sharers_before,
    },
};
use tokio::{sync::watch, time::Instant};

use super::LOOK_AGAIN;
use crate::{
    backoff::Backoff,
    children::{self, Existence, Pods},
    context::Context,
    error::Error,
    metrics::Metrics,
    passes::{self, PASS_LIMIT, Passes, within},
    queue::{Queue, Then},
    watch::Seen,
};

/// What the passes are over, in logs and metrics.
pub const SHARED_KIND: &str = "SharedReceiver";

/// The shared receivers of all namespaces.
#[derive(Debug, Default)]
pub struct Shared {
    /// Whose wait for a pass.
    pub queue: Queue,
    backoff: Backoff,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be served of each Webhook that had a pass since the start: nothing of one that shares no receivers.
    handed: BTreeMap<NamespacedName, Option<Share>>,
    /// Those of them that have other receivers, where requests may still come to the shared ones.
    leaving: BTreeSet<NamespacedName>,
    /// What was seen last, by namespace.
    seen: BTreeMap<String, watch::Sender<Option<View>>>,
}

/// What is to be served of a Webhook, and of which one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    uid: String,
    /// Its configuration, as receivers read it.
    text: String,
}

/// What a pass came to.
type View = Result<Arc<Pool>, Error>;

/// What was seen of the receivers of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// How it stands with them.
    pub receivers: SharedReceivers,
    /// Where those are reached that run.
    pub addresses: Vec<String>,
}

impl Shared {
    /// From now on this is to be served of a Webhook; `None` where it shares no receivers.
    pub fn hand(&self, owner: &Owner, share: Option<&SharedWebhook>) {
        let text = |share: &SharedWebhook| serde_json::to_string(share).expect("a configuration is plain data");
        let share = share.map(|share| Share { uid: owner.uid.clone(), text: text(share) });
        let (webhook, shares) = (&owner.name, share.is_some());
        let mut state = self.lock();
        state.leaving.remove(webhook);
        let before = state.handed.insert(webhook.clone(), share.clone());
        if before == Some(share) {
            return;
        }
        // A Webhook with receivers of its own may have shared some before the start, but only where there are any.
        let concerns = shares || before.flatten().is_some() || state.seen.contains_key(&webhook.namespace);
        drop(state);
        if concerns {
            self.wake(&webhook.namespace);
        }
    }

    /// A Webhook is gone.
    pub fn forget(&self, webhook: &NamespacedName) {
        let mut state = self.lock();
        state.leaving.remove(webhook);
        let before = state.handed.remove(webhook).flatten();
        let concerns = before.is_some() || state.seen.contains_key(&webhook.namespace);
        drop(state);
        if concerns {
            self.wake(&webhook.namespace);
        }
    }

    /// Whether a Webhook has shared receivers.
    pub fn serve(&self, webhook: &NamespacedName) -> bool {
        let state = self.lock();
        matches!(state.handed.get(webhook), Some(Some(_))) && !state.leaving.contains(webhook)
    }

    /// A Webhook has other receivers now, and requests may still come to shared ones: where these serve it, which is given, they go on until
    /// nothing is handed over of it. `None` where it has handed over nothing since the start.
    pub fn leave(&self, webhook: &NamespacedName) -> Option<bool> {
        let mut state = self.lock();
        let serve = state.handed.get(webhook)?.is_some();
        if serve {
            state.leaving.insert(webhook.clone());
        }
        Some(serve)
    }

    /// What was seen last in a namespace; waits for the first time. Error: the receivers could not be looked at.
    pub async fn pool(&self, namespace: &str) -> Result<Arc<Pool>, Error> {
        let (mut seen, is_new) = {
            let mut state = self.lock();
            let is_new = !state.seen.contains_key(namespace);
            (state.seen.entry(namespace.to_owned()).or_default().subscribe(), is_new)
        };
        if is_new {
            self.wake(namespace);
        }
        match seen.wait_for(Option::is_some).await {
            Ok(view) => view.clone().expect("it was waited for"),
            // The last Webhook went meanwhile.
            Err(_) => Err(Error::Overtaken),
        }
    }

    /// Something that a pass over the receivers of a namespace looks at has changed.
    pub fn wake(&self, namespace: &str) {
        self.queue.wake(&shared_owner(namespace).name);
    }

    /// From now on every Webhook of the namespace that hands something over wakes it.
    fn begin(&self, namespace: &str) {
        self.lock().seen.entry(namespace.to_owned()).or_default();
    }

    /// Nothing is there any more.
    fn end(&self, namespace: &str) {
        self.lock().seen.remove(namespace);
    }

    /// What the Webhooks of a namespace have handed over, by their names.
    fn handed(&self, namespace: &str) -> Vec<(String, Option<Share>)> {
        let state = self.lock();
        let first = NamespacedName { namespace: namespace.to_owned(), name: String::new() };
        let of_namespace = state.handed.range(first..).take_while(|(webhook, _)| webhook.namespace == namespace);
        of_namespace.map(|(webhook, share)| (webhook.name.clone(), share.clone())).collect()
    }

    /// Tells what was seen; whether it differs from what was told before. Who waits for the first time need not be woken.
    fn tell(&self, namespace: &str, pool: Pool) -> bool {
        let mut state = self.lock();
        let told = state.seen.entry(namespace.to_owned()).or_default();
        let news = match told.borrow().as_ref() {
            None => false,
            Some(Ok(before)) => **before != pool,
            Some(Err(_)) => true,
        };
        told.send_replace(Some(Ok(Arc::new(pool))));
        news
    }

    /// Tells of a failure, beside what was seen before; whether that is news. Of what a status could not tell either nothing is told where
    /// something was seen: it may have passed until anybody reads of it.
    fn failed(&self, namespace: &str, error: Error) -> bool {
        let mut state = self.lock();
        let told = state.seen.entry(namespace.to_owned()).or_default();
        let before = told.borrow().clone();
        let Some(Ok(before)) = before else {
            told.send_replace(Some(Err(error)));
            return false;
        };
        let failure = Some((error.reason(), error.to_string()));
        if !error.can_be_written() || before.receivers.failure == failure {
            return false;
        }
        let receivers = SharedReceivers { failure, ..before.receivers.clone() };
        told.send_replace(Some(Ok(Arc::new(Pool { receivers, addresses: before.addresses.clone() }))));
        true
    }

    /// Forgets what was handed over of Webhooks that are gone: the pass of one may outlive it.
    fn keep(&self, namespace: &str, is_there: impl Fn(&NamespacedName) -> bool) {
        let stays = |webhook: &NamespacedName| webhook.namespace != namespace || is_there(webhook);
        let mut state = self.lock();
        state.handed.retain(|webhook, _| stays(webhook));
        state.leaving.retain(stays);
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the passes until `stop` is true; gives how many were given up.
pub async fn run(context: Arc<Context>, stop: watch::Receiver<bool>) -> usize {
    passes::run(Arc::new(Receivers(context)), stop).await
}

/// The receivers of all namespaces, each by the name of its shared objects.
struct Receivers(Arc<Context>);

impl Passes for Receivers {
    const KIND: &'static str = SHARED_KIND;

    const AT_ONCE: usize = 8;

    fn queue(&self) -> &Queue {
        &self.0.shared.queue
    }

    fn backoff(&self) -> &Backoff {
        &self.0.shared.backoff
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn is_there(&self, name: &NamespacedName) -> bool {
        self.0.shared.lock().seen.contains_key(&name.namespace)
    }

    async fn pass(&self, name: &NamespacedName) -> Option<Result<Then, Error>> {
        let (context, namespace) = (self.0.as_ref(), name.namespace.as_str());
        let result = within(PASS_LIMIT, pass(context, namespace)).await;
        if let Err(error) = &result
            && !error.is_outdated()
            && context.shared.failed(namespace, error.clone())
        {
            wake_sharers(context, namespace);
        }
        Some(result.map(|next| next.map_or(Then::WhenWoken, |next| Then::At(Instant::now() + next))))
    }
}

/// Those that share receivers have something new to say of these.
fn wake_sharers(context: &Context, namespace: &str) {
    for (name, share) in context.shared.handed(namespace) {
        if share.is_some() {
            context.webhooks.queue.wake_later(&NamespacedName { namespace: namespace.to_owned(), name });
        }
    }
}

/// One pass over the receivers of a namespace; gives when to look again, where there is anything to look at.
async fn pass(context: &Context, namespace: &str) -> Result<Option<Duration>, Error> {
    let (client, owner) = (&context.client, shared_owner(namespace));
    context.shared.begin(namespace);
    let mut live = observe(client, &owner).await?;
    context.shared.keep(namespace, |webhook| context.webhooks.get(webhook).is_some());
    let sharers = sharers(context, namespace, &live);
    if sharers.is_empty() && live.is_empty() {
        context.shared.end(namespace);
        return Ok(None);
    }
    let desired = desire_shared(namespace, &sharers, &context.settings, &live);
    let unseen = desired.children.iter().filter(|child| find(&live, child.kind, &child.name).is_none());
    let others = unseen.map(|child| children::get(client, child.kind, namespace, &child.name));
    let others = try_join_all(others.collect::<Vec<_>>()).await?;
    live.extend(others.into_iter().filter_map(Existence::there));
    let plan = plan_shared(&desired, &live);
    children::apply(client, namespace, &plan, &live).await?;

    let deployment = find(&live, ChildKind::Deployment, SHARED_RECEIVERS);
    let Pods { addresses, troubled } = children::list_pods(client, &owner, COMPONENT, deployment).await?;
    let pods = children::hear(&context.asker, troubled).await;
    let now = Timestamp::now();
    let next = children::look_again(&plan, &pods, now).unwrap_or(LOOK_AGAIN);
    let receivers = SharedReceivers {
        availability: find_availability(&live, SHARED_RECEIVERS, &pods, now),
        withheld: plan.withheld,
        refused: desired.refused,
        failure: None,
    };
    if context.shared.tell(namespace, Pool { receivers, addresses }) {
        wake_sharers(context, namespace);
    }
    Ok(Some(next))
}

/// What there is of the shared objects, and what may be left over.
async fn observe(client: &Client, owner: &Owner) -> Result<Vec<Live>, Error> {
    let namespace = &owner.name.namespace;
    let named = [ChildKind::Deployment, ChildKind::Service, ChildKind::PodDisruptionBudget, ChildKind::NetworkPolicy]
        .map(|kind| children::get(client, kind, namespace, SHARED_RECEIVERS));
    let labelled = children::list(client, ChildKind::ConfigMap, namespace, owner.selector_text(COMPONENT));
    let (named, labelled) = futures::try_join!(try_join_all(named), labelled)?;
    Ok(named.into_iter().filter_map(Existence::there).chain(labelled).collect())
}

/// The Webhooks that share receivers: those that have handed something over, and those without a pass since the start that are served.
fn sharers(context: &Context, namespace: &str, live: &[Live]) -> Vec<Sharer> {
    let before = sharers_before(live).into_iter().map(|Sharer { name, uid, text, .. }| (name, Share { uid, text }));
    let mut shares: BTreeMap<String, Share> = before.collect();
    for (name, share) in context.shared.handed(namespace) {
        match share {
            Some(share) => drop(shares.insert(name, share)),
            None => drop(shares.remove(&name)),
        }
    }
    let current = |(name, Share { uid, text }): (String, Share)| {
        let webhook = context.webhooks.get(&NamespacedName { namespace: namespace.to_owned(), name: name.clone() })?;
        let metadata = match &webhook {
            Seen::Resource(webhook) => &webhook.metadata,
            Seen::Undecodable(invalid) => &invalid.metadata,
        };
        // What an earlier Webhook of that name has left is not this one's: another topic, which it may not be let to write to.
        let is_its_own = metadata.uid.as_ref() == Some(&uid);
        let created = metadata.creation_timestamp.clone();
        is_its_own.then_some(Sharer { name, uid, created, text })
    };
    shares.into_iter().filter_map(current).collect()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn name(name: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".into(), name: name.into() }
    }

    fn owner(name: NamespacedName) -> Owner {
        Owner { kind: "Webhook", uid: format!("uid-{name}"), name, generation: 1 }
    }

    fn share(revision: &str) -> SharedWebhook {
        let config = r#"{
            "webhook": {"namespace": "shop", "name": "a"}, "path": "/a", "topic": "t", "verification": "none", "tolerance": "5m",
            "connection": {"bootstrapServers": ["k"]}, "event": {"cloudEvents": "Ignore"}, "deduplicationWindow": "1h",
            "bodyLimit": "1Mi", "respond": 202, "patience": "1s"
        }"#;
        let config = serde_json::from_str(config).unwrap();
        let revision = revision.to_owned();
        SharedWebhook { revision, generation: 1, paused: false, hostnames: Vec::new(), header: None, config }
    }

    fn is_woken(shared: &Shared) -> bool {
        let woken = shared.queue.next(1, |_| String::new()).now_or_never();
        if let Some(name) = &woken {
            shared.queue.finished(name, Then::WhenWoken);
        }
        woken.is_some()
    }

    #[tokio::test]
    async fn only_what_is_new_wakes_the_pass() {
        let shared = Shared::default();
        shared.hand(&owner(name("own")), None);
        assert!(!is_woken(&shared), "nobody shares anything");
        shared.hand(&owner(name("a")), Some(&share("1")));
        assert!(is_woken(&shared) && shared.serve(&name("a")));
        shared.hand(&owner(name("a")), Some(&share("1")));
        assert!(!is_woken(&shared));
        shared.hand(&owner(name("a")), Some(&share("2")));
        assert!(is_woken(&shared));
        let anew = Owner { uid: "another".into(), ..owner(name("a")) };
        shared.hand(&anew, Some(&share("2")));
        assert!(is_woken(&shared), "it was made anew");
        assert!(shared.leave(&name("a")) == Some(true) && !shared.serve(&name("a")));
        assert!(!is_woken(&shared), "it goes on to be served");
        shared.hand(&anew, None);
        assert!(is_woken(&shared) && !shared.serve(&name("a")) && shared.leave(&name("a")) == Some(false));
        shared.forget(&name("a"));
        assert!(!is_woken(&shared) && shared.leave(&name("a")).is_none());
        shared.begin("shop");
        shared.hand(&owner(name("b")), None);
        assert!(is_woken(&shared), "it may be served since before the start");
        shared.forget(&name("b"));
        assert!(is_woken(&shared));
    }

    #[tokio::test]
    async fn what_was_seen_is_news_where_it_differs_and_a_failure_where_nothing_was_seen() {
        let shared = Shared::default();
        assert!(shared.pool("shop").now_or_never().is_none());
        assert!(is_woken(&shared), "somebody waits");
        shared.failed("shop", Error::Stale);
        assert!(shared.pool("shop").await.is_err());
        let pool = Pool { addresses: vec!["10.0.0.1".into()], ..Pool::default() };
        assert!(shared.tell("shop", pool.clone()));
        assert!(!shared.failed("shop", Error::Stale), "the next pass sees what has changed");
        assert_eq!(*shared.pool("shop").await.unwrap(), pool);
        assert!(!shared.tell("shop", pool));
        assert!(shared.tell("shop", Pool::default()));
    }

    #[tokio::test]
    async fn a_failure_is_told_beside_what_was_seen_until_a_pass_succeeds() {
        let shared = Shared::default();
        let pool = Pool { addresses: vec!["10.0.0.1".into()], ..Pool::default() };
        shared.tell("shop", pool.clone());
        let error = Error::TimedOut(PASS_LIMIT);
        assert!(shared.failed("shop", error.clone()));
        assert!(!shared.failed("shop", error.clone()), "nothing new");
        let told = shared.pool("shop").await.unwrap();
        assert_eq!(told.addresses, pool.addresses);
        assert_eq!(told.receivers.failure, Some((error.reason(), error.to_string())));
        assert!(shared.tell("shop", pool));
        assert_eq!(shared.pool("shop").await.unwrap().receivers.failure, None);
    }

    #[test]
    fn what_a_pass_hands_over_of_a_webhook_that_is_gone_is_forgotten() {
        let shared = Shared::default();
        let elsewhere = NamespacedName { namespace: "bank".into(), name: "a".into() };
        for webhook in [name("a"), name("b"), elsewhere.clone()] {
            shared.hand(&owner(webhook), Some(&share("1")));
        }
        shared.keep("shop", |webhook| *webhook == name("b"));
        assert!(!shared.serve(&name("a")) && shared.serve(&name("b")) && shared.serve(&elsewhere));
    }
}
