//! Gives each request a deadline, counts it, and notes it while it may change something.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

use super::gate::Gate;
use crate::metrics::Metrics;

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {0:?}")]
struct NoAnswer(Duration);

/// Adds [`Counted`] to a client.
#[derive(Clone)]
pub struct CountedLayer {
    patience: Duration,
    gate: Gate,
    metrics: Arc<Metrics>,
}

impl CountedLayer {
    /// `patience` is the time to the head of an answer.
    pub fn new(patience: Duration, gate: Gate, metrics: Arc<Metrics>) -> Self {
        Self { patience, gate, metrics }
    }
}

impl<S> Layer<S> for CountedLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, layer: self.clone() }
    }
}

/// A client whose requests have a deadline and are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    layer: CountedLayer,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let CountedLayer { patience, gate, metrics } = self.layer.clone();
        let verb = verb(&request);
        let permit = if matches!(verb, "get" | "list" | "watch") { None } else { gate.changing() };
        let answer = self.inner.call(request);
        let answer = async move {
            let answer = timeout(patience, answer).await.unwrap_or_else(|_| Err(NoAnswer(patience).into()));
            metrics.api_request(verb, answer.as_ref().ok().map(|answer| answer.status().as_u16()));
            answer
        };
        let Some(permit) = permit else { return answer.boxed() };
        // It goes on where nobody waits for the answer any more: what was sent may still be carried out.
        let ended = tokio::spawn(async move {
            let _permit = permit;
            answer.await
        });
        async move { ended.await.unwrap_or_else(|panic| Err(panic.into())) }.boxed()
    }
}

/// What RBAC and audit logs call the request. kube notes on each request which of its calls it is.
fn verb<B>(request: &Request<B>) -> &'static str {
    let call = request.extensions().get::<&'static str>().copied().unwrap_or_default();
    match (call.split('_').next().unwrap_or_default(), request.method()) {
        ("list", _) => "list",
        ("watch", _) => "watch",
        (_, &Method::POST) => "create",
        (_, &Method::PUT) => "update",
        (_, &Method::PATCH) => "patch",
        (_, &Method::DELETE) => "delete",
        _ => "get",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_as_what_rbac_calls_it() {
        let request = |method, call: &'static str| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            request.extensions_mut().insert(call);
            verb(&request)
        };
        let verbs = [
            request(Method::GET, "list_metadata"),
            request(Method::GET, "watch"),
            request(Method::GET, "get"),
            request(Method::PATCH, "patch_status"),
            request(Method::PUT, "replace"),
        ];
        assert_eq!(verbs, ["list", "watch", "get", "patch", "update"]);
    }
}
