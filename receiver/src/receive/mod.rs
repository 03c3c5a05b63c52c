//! What happens to a request: the order of the checks, the write, the answer.
//!
//! - `gate`: what a request's head says, before its body is read.
//! - `body`: reads a body into bounded memory, in bounded time.
//! - `judge`: the events in it, and what is wrong with them.
//! - `write`: writes each event once, in order.
//! - `answer`: what the sender is told.
//! - `span`: what a trace says of a request.

mod answer;
mod body;
mod gate;
mod judge;
mod span;
mod write;

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use jiff::Timestamp;
use sluice_crds::wire::DeferredBecause;
use sluice_telemetry::traces::{Span, Tracer};
use tokio::sync::{Semaphore, watch};

use self::judge::{JUDGES, judge};
pub(crate) use self::{
    answer::{Because, Refused, Taken, Tally},
    write::longest,
};
use crate::{
    config::Endpoint,
    controls::Controls,
    deduplicate::{Deduplicator, Limits},
    limit::Limiter,
    link::Link,
    secrets::Keys,
    server::Peer,
    shared::Shared,
    status::Counters,
    throttle::Throttle,
    verify::{Freshness, Refusal, Signed},
};

/// All that serves the endpoint.
pub(crate) struct Receiver {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) controls: Controls,
    pub(crate) keys: Keys,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) counters: Counters,
    /// The Redis that remembers for several receivers.
    pub(crate) shared: Option<Shared>,
    tracer: Tracer,
    deduplicator: Mutex<Deduplicator>,
    limiter: Limiter,
    /// What the events that are on their way may take, in bytes.
    memory: Arc<Semaphore>,
    /// Places for large bodies that are judged.
    judges: Arc<Semaphore>,
    /// Anybody can cause a line in the log.
    log: Throttle,
}

/// Events on their way take at most this much, twice: here and in the producer. Four of the largest fit in any case.
const MEMORY: usize = 16 * 1024 * 1024;
/// Each takes about 100 bytes.
const REMEMBERED: usize = 100_000;

impl Receiver {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        controls: Controls,
        keys: Keys,
        link: watch::Receiver<Link>,
        shared: Option<Shared>,
    ) -> Self {
        let memory = MEMORY.max(endpoint.body_limit.saturating_mul(4)).min(Semaphore::MAX_PERMITS);
        let reservation = longest(endpoint.patience);
        let limits = Limits { window: endpoint.window, reservation, capacity: REMEMBERED };
        Self {
            controls,
            keys,
            link,
            counters: Counters::new(&Tracer::default()),
            shared,
            tracer: Tracer::default(),
            limiter: Limiter::new(endpoint.rate_limits.clone()),
            deduplicator: Mutex::new(Deduplicator::new(limits)),
            memory: Arc::new(Semaphore::new(memory)),
            judges: Arc::new(Semaphore::new(JUDGES)),
            log: Throttle::default(),
            endpoint,
        }
    }

    /// With spans made by this tracer, before anything is received.
    pub(crate) fn traced_by(self, tracer: Tracer) -> Self {
        Self { counters: Counters::new(&tracer), tracer, ..self }
    }

    /// The endpoint. Its path is compared as it was sent: a router would decode it.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(receive).with_state(Arc::clone(self))
    }

    /// How far back every event's id is known. Redis forgets none before its time.
    pub(crate) fn window(&self) -> Duration {
        match self.shared {
            Some(_) => self.endpoint.window,
            None => self.deduplicator().effective_window(Instant::now()),
        }
    }

    /// How many events' ids are known.
    pub(crate) fn remembered(&self) -> usize {
        self.deduplicator().len()
    }

    /// What is remembered. A panic cannot have left it half changed: nothing in it panics between two changes. Nobody outside
    /// holds the lock, so nobody can ask for it twice.
    fn deduplicator(&self) -> MutexGuard<'_, Deduplicator> {
        self.deduplicator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let begin = Instant::now();
    let mut span = receiver.tracer.begin(|| span::of_request(&request, &receiver.endpoint));
    let outcome = receiver.take(request, &span).await;
    receiver.counters.count(&outcome, begin.elapsed(), &span);
    if let Err(refused) = &outcome {
        receiver.log.refused(refused);
    }
    let mut response = answer::response(&outcome, &receiver.endpoint);
    span::answered(&mut span, &outcome, response.status());
    response.headers_mut().extend(receiver.endpoint.notices.iter().cloned());
    response
}

impl Receiver {
    async fn take(self: &Arc<Self>, request: Request, span: &Span) -> Result<Taken, Refused> {
        let (head, body) = request.into_parts();
        let controls = *self.controls.borrow();
        gate::check(&self.endpoint, controls, &head)?;
        let peer = head.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
        self.limiter.admit(peer, &head.headers, controls.replicas, Instant::now()).map_err(Refused::Rate)?;
        let kept = Arc::new(body::read(body, self.endpoint.body_limit, &self.memory).await?);
        let at = Timestamp::now();
        let request = Signed { peer, headers: &head.headers, query: head.uri.query(), body: &kept.bytes };
        self.verify(request, at).await?;
        self.limiter.admit_genuine(controls.replicas, Instant::now()).map_err(Refused::Rate)?;
        if let Some(text) = self.endpoint.scheme.challenge(request.body) {
            return Ok(Taken::Challenge(text));
        }
        let mut headers = Arc::new(head.headers);
        let events = judge(&self.endpoint, &headers, &kept, &self.judges).await?;
        span::carry_on(Arc::make_mut(&mut headers), span);
        let (tally, refused) = self.write_all(events, headers, kept, at).await;
        self.counters.events(&tally);
        refused.map_or(Ok(Taken::Events(tally)), Err)
    }

    /// While a key is missing, a request that no other one signed may be genuine: its sender is to try again.
    async fn verify(&self, request: Signed<'_>, now: Timestamp) -> Result<(), Refused> {
        let mut judged = self.judge(request, now);
        if judged == Err(Refusal::KeyUnknown) && self.keys.renew(self.endpoint.patience).await {
            judged = self.judge(request, now);
        }
        judged.map_err(|refusal| {
            if refusal.may_be_of_another_key() && !self.keys.current().unusable.is_empty() {
                Refused::Deferred(DeferredBecause::Secret)
            } else {
                Refused::Signature(refusal)
            }
        })
    }

    fn judge(&self, request: Signed<'_>, now: Timestamp) -> Result<(), Refusal> {
        let freshness = Freshness { now, tolerance: self.endpoint.tolerance };
        self.endpoint.scheme.verify(request, &self.keys.current().keys, &freshness)
    }
}
