//! The kinds of resources, and what a pass over one is: a look with a deadline, its status written once, and the next pass when it is due.

use std::{fmt::Debug, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use sluice_crds::NamespacedName;
use tokio::{sync::watch as channel, time::Instant};
use tracing::{debug, error, warn};

use crate::{
    backoff::Backoff,
    context::Context,
    error::Error,
    metrics::{Metrics, Outcome},
    passes::{self, PASS_LIMIT, Passes, within},
    queue::{Queue, Then},
    status::{self, Written},
    watch::{Seen, Watched},
};

/// No status may take longer to write.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// The name of a resource.
pub fn name_of(object: &impl Kind) -> NamespacedName {
    NamespacedName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// The version of an object, as a number: that of a newer one is greater. 0 where it is none, so that any other one is newer.
pub fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
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

    /// The parts of a status that are written beside the passes, which keep them as they are.
    const BESIDE: &'static [&'static str] = &[];

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

impl Next {
    /// The same, and after that time in any case, where there is one.
    #[must_use]
    pub fn at_latest(self, time: impl Into<Option<Duration>>) -> Self {
        let Some(time) = time.into() else { return self };
        match self {
            Self::Again => Self::Again,
            Self::OnChange => Self::Within(time),
            Self::Within(other) => Self::Within(other.min(time)),
        }
    }
}

/// Runs the passes over the resources of one kind until `stop` is true; gives how many were given up.
pub async fn run<K: Kind>(context: Arc<Context>, stop: channel::Receiver<bool>) -> usize {
    passes::run(Arc::new(Resources::<K> { context, kind: PhantomData }), stop).await
}

/// The resources of one kind.
struct Resources<K> {
    context: Arc<Context>,
    kind: PhantomData<K>,
}

impl<K: Kind> Passes for Resources<K> {
    const KIND: &'static str = K::NAME;

    const AT_ONCE: usize = K::CONCURRENCY;

    fn queue(&self) -> &Queue {
        &K::watched(&self.context).queue
    }

    fn lane(&self, name: &NamespacedName) -> String {
        match K::watched(&self.context).get(name) {
            Some(Seen::Resource(object)) => object.lane(&self.context).to_owned(),
            Some(Seen::Undecodable(_)) | None => String::new(),
        }
    }

    fn backoff(&self) -> &Backoff {
        &K::watched(&self.context).backoff
    }

    fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    fn is_there(&self, name: &NamespacedName) -> bool {
        K::watched(&self.context).get(name).is_some()
    }

    async fn pass(&self, name: &NamespacedName) -> Option<Result<Then, Error>> {
        let context = self.context.as_ref();
        match K::watched(context).get(name)? {
            Seen::Resource(object) => {
                let result = reconcile(object.as_ref(), context).await;
                Some(result.map(|next| then(next, name)))
            }
            Seen::Undecodable(invalid) => {
                context.metrics.pass(K::NAME, Outcome::Undecodable, Duration::ZERO);
                error!(error = invalid.error, "The resource cannot be decoded; it is left alone until it changes");
                context.events.undecodable::<K>(&invalid).await;
                None
            }
        }
    }
}

/// What comes after a pass that came to an end.
fn then(next: Next, name: &NamespacedName) -> Then {
    match next {
        Next::OnChange => Then::WhenWoken,
        Next::Again => Then::At(Instant::now()),
        Next::Within(time) => Then::At(Instant::now() + spread(time, name)),
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

async fn reconcile<K: Kind>(object: &K, context: &Context) -> Result<Next, Error> {
    // What an object in deletion owns is collected by Kubernetes.
    if object.meta().deletion_timestamp.is_some() && !object.holds_on() {
        return Ok(Next::OnChange);
    }
    match within(PASS_LIMIT, object.reconcile(context)).await {
        Ok(pass) => {
            report(object, context, &pass.status).await?;
            Ok(pass.next)
        }
        Err(error) => {
            if error.can_be_written() {
                let told = report(object, context, &object.failed(&error, Timestamp::now())).await;
                told.inspect_err(|_| warn!(%error, "The pass failed, and the status cannot say so"))?;
            }
            Err(error)
        }
    }
}

/// Writes the status, and an Event where it is news.
async fn report<K: Kind>(object: &K, context: &Context, new: &K::Status) -> Result<(), Error> {
    let written = within(REPORT_LIMIT, status::write(&context.client, object, new, K::BESIDE)).await;
    let version = match &written {
        Ok(Written::Changed { version }) => Some(*version),
        Ok(Written::Unchanged) | Err(Error::Stale) => None,
        // It may have been, although nobody heard of it.
        Err(_) => Some(version_of(object.meta()) + 1),
    };
    if let Some(version) = version {
        K::watched(context).queue.wrote(&name_of(object), version);
    }
    if let Written::Changed { .. } = written? {
        debug!("Status written");
        let before = object.status().map(K::conditions).unwrap_or_default();
        context.events.transition(object, before, K::conditions(new)).await;
    }
    Ok(())
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
