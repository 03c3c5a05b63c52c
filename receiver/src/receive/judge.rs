//! The events of a request, each with what is wrong with its body: small bodies are judged at once, large ones on threads of their
//! own, so that nobody else's request waits for them.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use sluice_crds::wire::DeferredBecause;
use sluice_pipeline::Rejection;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{answer::Refused, body::Held};
use crate::{config::Endpoint, event::Event};

/// An event, and what is wrong with its body.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) event: Event,
    pub(super) mismatch: Option<Rejection>,
}

/// Bodies that are judged at the same time on threads of their own: each may take many times its size in memory.
pub(crate) const JUDGES: usize = ALL as usize;
const ALL: u32 = 2;
/// In bytes. To parse that much takes about as long as to give it to another thread.
const SMALL: usize = 16 * 1024;
/// In bytes. Of those that become a value, to be held against a schema, larger ones are judged alone.
const LARGE: usize = 256 * 1024;

/// The events of a request. Before any is written: of a batch that is refused, none is. Whoever waits for that until the deadline is
/// asked to come again.
pub(super) async fn judge(
    endpoint: &Arc<Endpoint>,
    headers: &Arc<HeaderMap>,
    held: &Arc<Held>,
    judges: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Vec<Judged>, Refused> {
    if held.bytes.len() <= SMALL {
        return judge_now(endpoint, headers, &held.bytes);
    }
    let places = if endpoint.contract.is_some() && held.bytes.len() > LARGE { ALL } else { 1 };
    let (endpoint, headers, held) = (Arc::clone(endpoint), Arc::clone(headers), Arc::clone(held));
    in_time(deadline, apart(judges, places, move || judge_now(&endpoint, &headers, &held.bytes))).await
}

/// What comes of work by the deadline. What goes on after that is dropped, as for a sender that hangs up.
async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    timeout_at(deadline, work).await.unwrap_or(Err(Refused::Deferred(DeferredBecause::Busy)))
}

/// Does something on a thread of its own, when there are so many places for it. A sender that hangs up ends its request, but not this:
/// the places are free, and so is what it uses, when it is done. Who is still waiting for its places then leaves the queue.
async fn apart<T: Send + 'static>(
    judges: &Arc<Semaphore>,
    places: u32,
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let taken = Arc::clone(judges).acquire_many_owned(places).await.expect("the semaphore is never closed");
    let working = spawn_blocking(move || {
        let done = work();
        drop(taken);
        done
    });
    // Without an outcome nothing was written.
    working.await.unwrap_or(Err(Refused::Deferred(DeferredBecause::Busy)))
}

fn judge_now(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Judged>, Refused> {
    let events = endpoint.sources.events(headers, body).map_err(Refused::Event)?;
    let judge = |event| match &endpoint.contract {
        None => Ok(Judged { event, mismatch: None }),
        Some(contract) => match contract.judge(&event, body).err() {
            Some(mismatch) if contract.dead_letters().is_none() => Err(Refused::Schema(mismatch)),
            mismatch => Ok(Judged { event, mismatch }),
        },
    };
    events.into_iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::mpsc, thread, time::Duration};

    use axum::body::Body;
    use futures::poll;
    use http::HeaderValue;

    use super::*;
    use crate::{
        config::{
            tests::{GOOD, endpoint},
            validate,
        },
        receive::body,
    };

    async fn held(size: usize) -> Arc<Held> {
        let memory = body::Memory::new(1024 * 1024, None);
        Arc::new(body::read(Body::from(vec![b'x'; size]), size, 0, &memory).await.unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test]
    async fn who_waits_for_a_place_for_too_long_is_sent_back_and_leaves_nothing_behind() {
        let headers = HeaderMap::from_iter([("x-github-delivery".parse().unwrap(), HeaderValue::from_static("e-1"))]);
        let (endpoint, headers, large) = (Arc::new(endpoint()), Arc::new(headers), held(SMALL + 1).await);
        let judges = Arc::new(Semaphore::new(0));
        let refused = judge(&endpoint, &headers, &large, &judges, soon()).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)), "{refused:?}");
        judges.add_permits(1);
        assert_eq!((judges.available_permits(), Arc::strong_count(&large)), (1, 1));
    }

    #[tokio::test]
    async fn what_takes_too_long_ends_for_its_sender_and_keeps_its_place_until_it_is_done() {
        let judges = Arc::new(Semaphore::new(1));
        let (end, ended) = mpsc::channel();
        let work = move || {
            ended.recv().expect("it is told to end");
            Ok(())
        };
        let refused = in_time(soon(), apart(&judges, 1, work)).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)), "{refused:?}");
        assert_eq!(judges.available_permits(), 0);
        end.send(()).unwrap();
        drop(in_time(later(), async { Ok(judges.acquire().await.unwrap()) }).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_done_apart_is_done_by_another_thread() {
        let judges = Arc::new(Semaphore::new(1));
        let there = apart(&judges, 1, || Ok(thread::current().id())).await.unwrap();
        assert_ne!(there, thread::current().id());
        assert_eq!(judges.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_large_body_that_becomes_a_value_is_judged_alone() {
        let config = GOOD.replace(r#""respond""#, r#""contract": {"jsonSchema": {"type": "object"}}, "respond""#);
        let endpoint = Arc::new(validate(serde_json::from_str(&config).unwrap(), 1).unwrap());
        let headers = HeaderMap::from_iter([("x-github-delivery".parse().unwrap(), HeaderValue::from_static("e-1"))]);
        let headers = Arc::new(headers);
        let judges = Arc::new(Semaphore::new(JUDGES - 1));
        let (one, other) = (held(LARGE).await, held(LARGE + 1).await);
        let schema = |judged: Result<Vec<Judged>, Refused>| matches!(judged, Err(Refused::Schema(_)));
        assert!(schema(judge(&endpoint, &headers, &one, &judges, later()).await));
        let mut waiting = pin!(judge(&endpoint, &headers, &other, &judges, later()));
        assert!(poll!(waiting.as_mut()).is_pending());
        judges.add_permits(1);
        assert!(schema(waiting.await));
    }

    #[tokio::test]
    async fn a_small_body_does_not_wait_for_the_large_ones() {
        let endpoint = Arc::new(endpoint());
        let headers = HeaderMap::from_iter([("x-github-delivery".parse().unwrap(), HeaderValue::from_static("e-1"))]);
        let headers = Arc::new(headers);
        let judges = Arc::new(Semaphore::new(0));
        let (small, large) = (held(SMALL).await, held(SMALL + 1).await);
        let mut waiting = pin!(judge(&endpoint, &headers, &large, &judges, later()));
        assert!(poll!(waiting.as_mut()).is_pending());
        let events = judge(&endpoint, &headers, &small, &judges, later()).await.unwrap();
        assert_eq!(events[0].event.names.id, "e-1");
        judges.add_permits(1);
        assert_eq!(waiting.await.unwrap()[0].event.names.id, "e-1");
    }
}
