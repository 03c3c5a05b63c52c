//! The one loop, for all kinds: a pass with a deadline, its status written once, and the next pass when it is due.

use std::{collections::HashMap, fmt::Debug, future::Future, sync::Arc, time::Duration};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use sluice_crds::NamespacedName;
use tokio::{
    sync::watch as channel,
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{
    context::Context,
    error::{Error, Retry},
    metrics::Outcome,
    queue::Then,
    status::{self, Written},
    watch::{Seen, Watched},
};

/// No pass may hold its object longer.
pub(crate) const PASS_LIMIT: Duration = Duration::from_secs(30);
/// No status may take longer to write.
const REPORT_LIMIT: Duration = Duration::from_secs(10);
/// The watch brings what was written within milliseconds; where it does not, the object is looked at as it is known.
const NEWER_LIMIT: Duration = Duration::from_secs(1);
/// Time that passes have to end when the operator stops.
pub(crate) const GRACE: Duration = Duration::from_millis(1500);

/// The name of a resource.
pub fn name_of(object: &impl Kind) -> NamespacedName {
    NamespacedName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// A kind of resource that the loop reconciles.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its status.
    type Status: Serialize + Send + Sync;

    /// Its name, in logs and metrics.
    const NAME: &'static str;

    /// Passes at the same time, in each lane.
    const CONCURRENCY: usize;

    /// What its passes may wait for together, such as a Kafka cluster: whatever becomes of it, passes in other lanes go on.
    fn lane<'a>(&'a self, _: &Context) -> &'a str {
        ""
    }

    /// What is known of its resources, and who waits for a pass.
    fn watched(context: &Context) -> &Watched<Self>;

    /// Whether one in deletion still has passes: it holds on until something is done.
    fn holds_on(&self) -> bool {
        false
    }

    /// Its status, as it was seen last.
    fn status(&self) -> Option<&Self::Status>;

    /// The conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];

    /// One pass: resolve, validate, desire, observe, plan, apply, report.
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<Pass<Self::Status>, Error>> + Send;

    /// The status after a pass that the world did not let finish.
    fn failed(&self, error: &Error, now: Timestamp) -> Self::Status;
}

/// What a pass came to.
#[derive(Debug)]
pub struct Pass<S> {
    /// What the status should say.
    pub status: S,
    /// When to look again.
    pub next: Next,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: something was changed that nothing watches.
    Again,
    /// When a watch says so.
    OnChange,
    /// When a watch says so, and after that time in any case.
    Within(Duration),
}

/// Runs the loop of one kind until `stop` is true. Passes that have begun are finished, but for those that take too long:
/// so many are given up.
pub async fn run<K: Kind>(context: Arc<Context>, mut stop: channel::Receiver<bool>) -> usize {
    let watched = K::watched(&context);
    let lane_of = |name: &NamespacedName| match watched.get(name) {
        Some(Seen::Resource(object)) => object.lane(&context).to_owned(),
        Some(Seen::Undecodable(_)) | None => String::new(),
    };
    let mut passes = Passes::default();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = passes.tasks.join_next_with_id() => passes.end::<K>(&context, ended),
            name = watched.queue.next_in_lanes(K::CONCURRENCY, lane_of) => passes.begin::<K>(&context, name),
        }
    }
    let deadline = Instant::now() + GRACE;
    while let Ok(Some(ended)) = timeout_at(deadline, passes.tasks.join_next_with_id()).await {
        passes.end::<K>(&context, ended);
    }
    passes.tasks.len()
}

/// The passes under way, by task.
#[derive(Debug, Default)]
struct Passes {
    tasks: JoinSet<Then>,
    names: HashMap<Id, NamespacedName>,
}

impl Passes {
    fn begin<K: Kind>(&mut self, context: &Arc<Context>, name: NamespacedName) {
        let span = info_span!("reconcile", kind = K::NAME, namespace = name.namespace, name = name.name);
        let task = self.tasks.spawn(pass::<K>(Arc::clone(context), name.clone()).instrument(span));
        self.names.insert(task.id(), name);
    }

    fn end<K: Kind>(&mut self, context: &Context, ended: Result<(Id, Then), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(name) = self.names.remove(&id) else { return };
        let watched = K::watched(context);
        let then = match ended {
            Ok((_, then)) => then,
            Err(error) => {
                error!(kind = K::NAME, %name, %error, "A pass panicked: please report it; the others go on");
                context.metrics.pass(K::NAME, Outcome::Panicked, Duration::ZERO);
                Then::At(Instant::now() + watched.backoff.failed(&name))
            }
        };
        watched.queue.finished(&name, then);
        if watched.get(&name).is_none() {
            // It went during its pass, and nobody else will forget that it failed.
            watched.backoff.succeeded(&name);
        }
    }
}

async fn pass<K: Kind>(context: Arc<Context>, name: NamespacedName) -> Then {
    let watched = K::watched(&context);
    let object = match watched.get(&name) {
        Some(Seen::Resource(object)) => object,
        Some(Seen::Undecodable(invalid)) => {
            context.metrics.pass(K::NAME, Outcome::Undecodable, Duration::ZERO);
            error!(error = invalid.error, "The resource cannot be decoded; it is left alone until it changes");
            context.events.undecodable::<K>(&invalid).await;
            return Then::WhenWoken;
        }
        None => return Then::WhenWoken,
    };
    let started = Instant::now();
    let result = reconcile(object.as_ref(), &context).await;
    context.metrics.pass(K::NAME, Outcome::of(&result), started.elapsed());
    debug!(succeeded = result.is_ok(), "Pass finished");
    match result {
        Ok((written, next)) => {
            watched.backoff.succeeded(&name);
            then(written, next, &name)
        }
        Err(error) => {
            let next = Instant::now() + watched.backoff.failed(&name);
            match error.retry() {
                Retry::Newer => Then::AfterNewer { patience: next, next: Some(Instant::now()) },
                Retry::Later => Then::At(next),
            }
        }
    }
}

/// A pass over what was known before the own write would take it back, or miss that it has to.
fn then(written: Written, next: Next, name: &NamespacedName) -> Then {
    let now = Instant::now();
    let next = match next {
        Next::OnChange => None,
        Next::Again => Some(now),
        Next::Within(time) => Some(now + spread(time, name)),
    };
    match (written, next) {
        (Written::Changed, next) => Then::AfterNewer { patience: now + NEWER_LIMIT, next },
        (Written::Unchanged, Some(next)) => Then::At(next),
        (Written::Unchanged, None) => Then::WhenWoken,
    }
}

/// The time, up to a fifth shorter: what was looked at together is not looked at together for ever.
fn spread(time: Duration, name: &NamespacedName) -> Duration {
    let sum = name
        .namespace
        .bytes()
        .chain(name.name.bytes())
        .fold(17_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    time.saturating_sub(time / 5 * (sum % 1000) / 1000)
}

async fn reconcile<K: Kind>(object: &K, context: &Context) -> Result<(Written, Next), Error> {
    // What an object in deletion owns is collected by Kubernetes.
    if object.meta().deletion_timestamp.is_some() && !object.holds_on() {
        return Ok((Written::Unchanged, Next::OnChange));
    }
    match within(PASS_LIMIT, object.reconcile(context)).await {
        Ok(pass) => {
            let written = report(object, context, &pass.status).await?;
            Ok((written, pass.next))
        }
        // The next look sees what has changed; there is nothing to tell.
        Err(error @ (Error::Stale | Error::Overtaken)) => Err(error),
        Err(error) => {
            warn!(%error, "The pass failed and will be tried again");
            if error.can_be_written() {
                report(object, context, &object.failed(&error, Timestamp::now())).await?;
            }
            Err(error)
        }
    }
}

/// Writes the status, and an Event where it is news.
async fn report<K: Kind>(object: &K, context: &Context, new: &K::Status) -> Result<Written, Error> {
    let written = within(REPORT_LIMIT, status::write(&context.client, object, new)).await?;
    if written == Written::Changed {
        debug!("Status written");
        let before = object.status().map(K::conditions).unwrap_or_default();
        context.events.transition(object, before, K::conditions(new)).await;
    }
    Ok(written)
}

/// What work comes to that takes no longer than this.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or(Err(Error::TimedOut(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_looked_at_again_at_different_times() {
        let times: Vec<_> = (0..100)
            .map(|number| NamespacedName { namespace: "shop".to_owned(), name: format!("topic-{number}") })
            .map(|name| spread(Duration::from_secs(100), &name))
            .collect();
        assert!(times.iter().all(|time| (80..=100).contains(&time.as_secs())), "{times:?}");
        let early = times.iter().filter(|time| time.as_secs() < 90).count();
        assert!((20..80).contains(&early), "{early} of 100 are early");
    }
}
