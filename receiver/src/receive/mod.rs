//! What happens to a request: the order of the checks, the write, the answer.
//!
//! - `gate`: what a request's head says, before its body is read.
//! - `body`: reads a body into bounded memory, in bounded time.
//! - `judge`: the events in it, and what is wrong with them.
//! - `weight`: what these take of memory.
//! - `write`: writes each event once, in order.
//! - `refusal`: why Kafka did not take the last event.
//! - `finish`: work that is done to its end, whether anybody waits for it or not.
//! - `answer`: what the sender is told.
//! - `span`: what a trace says of a request.

mod answer;
mod body;
mod finish;
mod gate;
mod judge;
mod refusal;
mod span;
mod weight;
mod write;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use jiff::Timestamp;
use sluice_crds::wire::DeferredBecause;
use sluice_telemetry::traces::{Span, Tracer};
use tokio::{
    sync::{Semaphore, watch},
    time::{self, timeout_at},
};

pub(crate) use self::{
    answer::{Because, Refused, Taken, Tally, unknown},
    judge::JUDGES,
    refusal::LastRefusal,
    write::{KAFKA_PATIENCE, longest},
};
use self::{body::Memory, finish::Later, judge::judge};
use crate::{
    config::Endpoint,
    controls::Controls,
    deduplicate::Limits,
    limit::Limiter,
    link::Link,
    process::Process,
    remembered::Remembered,
    secrets::Keys,
    server::Endpoints,
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
    pub(crate) counters: Arc<Counters>,
    /// The Redis that remembers for several receivers.
    pub(crate) shared: Option<Shared>,
    pub(crate) last_refusal: LastRefusal,
    tracer: Tracer,
    remembered: Arc<Remembered>,
    limiter: Limiter,
    /// What the events that are on their way may take.
    memory: Memory,
    /// Places for large bodies that are judged.
    judges: Arc<Semaphore>,
    /// Writes that senders no longer wait for.
    late_writes: Later,
    log: Arc<Throttle>,
}

/// Events on their way take at most this much, twice: here and in the producer. Four of the largest fit in any case.
pub(crate) const MEMORY: usize = 16 * 1024 * 1024;
/// Each takes about 75 bytes.
pub(crate) const REMEMBERED: usize = 100_000;

impl Receiver {
    /// Serves an endpoint from now on.
    pub(crate) fn new(process: &Process, endpoint: Arc<Endpoint>, controls: Controls) -> Self {
        let counters = Arc::new(Counters::new(&process.families, &endpoint.webhook));
        let keys = process.secrets.watch(&endpoint);
        Self::with(counters, keys, process, endpoint, controls)
    }

    /// Serves another endpoint of the same Webhook in the place of this one. What was counted goes on; ids are remembered unless their
    /// limits are others now, or the Webhook was made anew; published keys stay, for they come from far, and their issuer may be away.
    pub(crate) fn replaced(&self, process: &Process, endpoint: Arc<Endpoint>, controls: Controls) -> Self {
        let keys = if publish_the_same(&self.endpoint, &endpoint) {
            self.keys.clone()
        } else {
            process.secrets.watch(&endpoint)
        };
        let mut new = Self::with(Arc::clone(&self.counters), keys, process, endpoint, controls);
        if self.endpoint.uid == new.endpoint.uid && self.remembered.limits() == limits(&new.endpoint) {
            new.remembered = Arc::clone(&self.remembered);
        }
        new
    }

    fn with(
        counters: Arc<Counters>,
        keys: Keys,
        process: &Process,
        endpoint: Arc<Endpoint>,
        controls: Controls,
    ) -> Self {
        let memory = Memory::new(MEMORY.max(endpoint.body_limit.saturating_mul(4)), process.memory.clone());
        let late_writes = Later { endpoint: memory.late().clone(), process: process.late_writes.clone() };
        Self {
            controls,
            keys,
            link: process.links.join(&endpoint),
            counters,
            shared: process.stores.join(&endpoint),
            last_refusal: LastRefusal::default(),
            tracer: process.tracer.clone(),
            limiter: Limiter::new(endpoint.rate_limits.clone()),
            remembered: Arc::new(Remembered::new(limits(&endpoint), &process.remembered)),
            memory,
            judges: Arc::clone(&process.judges),
            late_writes,
            log: Arc::clone(&process.log),
            endpoint,
        }
    }

    /// How far back every event's id is known. Redis forgets none before its time.
    pub(crate) fn window(&self) -> Duration {
        match self.shared {
            Some(_) => self.endpoint.window,
            None => self.remembered.effective_window(Instant::now()),
        }
    }

    /// How many events' ids are known.
    pub(crate) fn remembered(&self) -> usize {
        self.remembered.len()
    }
}

/// How long the ids of an endpoint are remembered, and how many of them.
fn limits(endpoint: &Endpoint) -> Limits {
    let reservation = KAFKA_PATIENCE + longest(endpoint.patience);
    Limits { window: endpoint.window, reservation, capacity: REMEMBERED }
}

/// Whether the keys of both are published in the same place, and may be fetched there.
fn publish_the_same(one: &Endpoint, other: &Endpoint) -> bool {
    one.published_at.is_some() && (&one.published_at, &one.guard) == (&other.published_at, &other.guard)
}

/// The endpoint's path is compared as it was sent: a router would decode it.
impl Endpoints for Arc<Receiver> {
    /// Does with a request all that there is to do.
    async fn answer(self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let begin = Instant::now();
        let mut span = self.tracer.begin(|| span::of_request(&request, &self.endpoint));
        let outcome = self.take(request, peer, &span).await;
        self.counters.count(&outcome, begin.elapsed(), &span);
        if let Err(refused) = &outcome {
            self.log.refused(refused);
        }
        let mut response = answer::response(&outcome, &self.endpoint);
        span::answered(&mut span, &outcome, response.status());
        response.headers_mut().extend(self.endpoint.notices.iter().cloned());
        response
    }
}

impl Receiver {
    async fn take(self: &Arc<Self>, request: Request<Incoming>, peer: IpAddr, span: &Span) -> Result<Taken, Refused> {
        let (head, body) = request.into_parts();
        let controls = *self.controls.borrow();
        gate::check(&self.endpoint, controls, &head)?;
        self.limiter.admit(peer, &head.headers, controls.replicas, Instant::now).map_err(Refused::Rate)?;
        let overhead = body::overhead(&head.headers);
        let kept = Arc::new(body::read(body, self.endpoint.body_limit, overhead, &self.memory).await?);
        // From here on the sender waits for us.
        let deadline = time::Instant::now() + self.endpoint.patience;
        let at = Timestamp::now();
        let request = Signed { peer, headers: &head.headers, query: head.uri.query(), body: &kept.bytes };
        self.verify(request, at, deadline).await?;
        self.limiter.admit_genuine(controls.replicas, Instant::now).map_err(Refused::Rate)?;
        if let Some(text) = self.endpoint.scheme.challenge(request.body) {
            return Ok(Taken::Challenge(text));
        }
        let mut headers = Arc::new(head.headers);
        let events = judge(&self.endpoint, &headers, &kept, &self.judges, deadline).await?;
        if span.has_begun() {
            span::carry_on(Arc::make_mut(&mut headers), span);
        }
        let weight = weight::of_events(&events, || self.endpoint.envelope.carried(&headers));
        kept.take_for_events(weight, &self.memory)?;
        // Past the deadline the events go on being written: what becomes of them is found out, and their ids stay reserved until then.
        let written = timeout_at(deadline, self.write_all(events, headers, kept, at)).await;
        let (tally, refused) = written.map_err(|_| Refused::Deferred(DeferredBecause::Unconfirmed))?;
        refused.map_or(Ok(Taken::Events(tally)), Err)
    }

    /// While a key is missing, or its issuer is yet to say which keys there are, a request that no other one signed may be genuine: its
    /// sender is to try again. A key that the issuer did not have just now is none.
    async fn verify(&self, request: Signed<'_>, now: Timestamp, deadline: time::Instant) -> Result<(), Refused> {
        let mut judged = self.judge(request, now);
        if judged == Err(Refusal::KeyUnknown) {
            if !self.keys.renew(deadline).await {
                return Err(Refused::Deferred(DeferredBecause::Secret));
            }
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
