//! What a trace says of a request, by OpenTelemetry's conventions for HTTP: nothing that only its sender may know.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use sluice_telemetry::traces::{Beginning, Span, TRACE_HEADERS, TraceContext};

use super::answer::{Because, Refused, Taken};
use crate::config::Endpoint;

/// The span of a request, in the trace that its sender names. Of another path than the endpoint's anybody can say anything.
pub(super) fn of_request<B>(request: &Request<B>, endpoint: &Endpoint) -> Beginning {
    let method = method(request.method());
    let parent = TraceContext::read(|name| request.headers().get_all(name).iter().map(HeaderValue::as_bytes));
    let span = if request.uri().path() == endpoint.path {
        let path = endpoint.path.clone();
        Beginning::server(format!("{method} {path}")).with("http.route", path.clone()).with("url.path", path)
    } else {
        Beginning::server(method)
    };
    span.child_of(parent).with("http.request.method", method).with("url.scheme", "http")
}

/// What comes of a request has its span for a parent, in place of the sender's.
pub(super) fn carry_on(headers: &mut HeaderMap, span: &Span) {
    let Some(context) = span.context() else { return };
    for name in TRACE_HEADERS {
        headers.remove(name);
    }
    for (name, value) in context.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// A request that is refused for what it is has not failed here.
pub(super) fn answered(span: &mut Span, outcome: &Result<Taken, Refused>, status: StatusCode) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if let Err(refused) = outcome {
        let because = || match refused.because() {
            Because::Rejected(because) => format!("{because:?}"),
            Because::Deferred(because) => format!("{because:?}"),
        };
        if status.is_server_error() { span.fail(because) } else { span.refuse(because) }
    }
}

/// Names that anybody can make up would have no end.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::POST => "POST",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}
