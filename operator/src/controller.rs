//! The one loop, for all kinds: a pass with a deadline, its status written once, and the next pass when it is due.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use k8s_openapi::{NamespaceResourceScope, jiff::Timestamp};
use kube::{
    Resource, ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, info_span, warn};

use crate::{
    backoff::Backoff,
    context::Context,
    error::{Error, Retry},
    status,
};

/// No pass may hold its object longer.
const PASS_LIMIT: Duration = Duration::from_secs(30);
/// Wait for the newer object, which the watch is about to bring: our own status write or somebody else's change.
const STALE_WAIT: Duration = Duration::from_millis(100);
/// Passes of one kind at the same time.
const CONCURRENCY: u16 = 32;

/// A kind of resource that the loop reconciles.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its status.
    type Status: Serialize + Send + Sync;

    /// Its name, in logs and metrics.
    const NAME: &'static str;

    /// Its status, as it was seen last.
    fn status(&self) -> Option<&Self::Status>;

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

/// Runs the loop of one kind until `shutdown` is done; passes that have begun are finished.
pub async fn run<K: Kind>(
    controller: Controller<K>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) where
    K::DynamicType: Debug + Default + Eq + Hash + Unpin,
{
    let backoff = Arc::new(Backoff::default());
    let on_error = Arc::clone(&backoff);
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(shutdown)
        .run(
            move |object, context| pass(object, context, Arc::clone(&backoff)),
            move |object, error, _| retry(&on_error, object.as_ref(), error),
            context,
        )
        .for_each(|result| async move {
            if let Err(error) = result {
                debug!(kind = K::NAME, %error, "The loop goes on after an error");
            }
        })
        .await;
}

fn retry<K: Kind>(backoff: &Backoff, object: &K, error: &Error) -> Action {
    let wait = match error.retry() {
        Retry::Soon => STALE_WAIT,
        Retry::Later => backoff.failed(&object.namespace().unwrap_or_default(), &object.name_any()),
    };
    Action::requeue(wait)
}

fn pass<K: Kind>(
    object: Arc<K>,
    context: Arc<Context>,
    backoff: Arc<Backoff>,
) -> BoxFuture<'static, Result<Action, Error>> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let span = info_span!("reconcile", kind = K::NAME, namespace, name);
    let work = async move {
        let started = Instant::now();
        let result = reconcile(object.as_ref(), &context).await;
        context.metrics.pass(K::NAME, result.as_ref().err(), started.elapsed());
        if result.is_ok() {
            backoff.succeeded(&namespace, &name);
        }
        result
    };
    Box::pin(work.instrument(span))
}

async fn reconcile<K: Kind>(object: &K, context: &Context) -> Result<Action, Error> {
    // What an object in deletion owns is collected by Kubernetes.
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let result = timeout(PASS_LIMIT, object.reconcile(context)).await.unwrap_or(Err(Error::TimedOut(PASS_LIMIT)));
    match result {
        Ok(pass) => {
            status::write(&context.client, object, &pass.status).await?;
            Ok(match pass.next {
                Next::Again => Action::requeue(STALE_WAIT),
                Next::OnChange => Action::await_change(),
                Next::Within(time) => Action::requeue(time),
            })
        }
        Err(Error::Stale) => Err(Error::Stale),
        Err(error) => {
            warn!(%error, "The pass failed and will be tried again");
            status::write(&context.client, object, &object.failed(&error, Timestamp::now())).await?;
            Err(error)
        }
    }
}
