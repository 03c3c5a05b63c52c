//! What the sender is told. Pure.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use sluice_crds::wire::{DeferredBecause, RejectedBecause};
use sluice_pipeline::Rejection;

use crate::{config::Endpoint, event::Unusable, limit::Exceeded, verify::Refusal};

/// A request that was taken. A sender is told the same of an event that is new and of one that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Kafka confirmed its events, those that were not received before.
    Events(Tally),
    /// It is a provider's test of the endpoint, which wants this text for an answer.
    Challenge(String),
}

/// What became of the events of a request, of those that are safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many Kafka confirmed.
    pub(crate) written: u64,
    /// How many Kafka confirmed as dead letters.
    pub(crate) dead_letters: u64,
    /// How many were received before.
    pub(crate) duplicates: u64,
}

/// A request that was not taken, and why: for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("its path is not the endpoint's")]
    Path,
    #[error("its method is not POST")]
    Method,
    #[error("it has more than 100 headers")]
    Headers,
    #[error("its body is compressed")]
    Encoding,
    #[error("its body is larger than the limit, or than what the Kafka topic takes")]
    Size,
    #[error("its body did not come within 10 s")]
    BodyLate,
    #[error("its body did not come whole")]
    BodyBroken,
    #[error("it is not genuine: {0}")]
    Signature(Refusal),
    #[error("{0}")]
    Event(Unusable),
    #[error("its body is not as it must be: {}", .0.code)]
    Schema(Rejection),
    #[error("more requests come than {} allows", .0.limit)]
    Rate(Exceeded),
    #[error("it is to come again: {0:?}")]
    Deferred(DeferredBecause),
}

/// What a refusal is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// For what it is, or because there are too many.
    Rejected(RejectedBecause),
    /// Sending again helps.
    Deferred(DeferredBecause),
}

/// The answer to a request.
pub(super) fn response(outcome: &Result<Taken, Refused>, endpoint: &Endpoint) -> Response {
    match outcome {
        Ok(Taken::Events(_)) => answer(endpoint.respond, Body::empty(), None),
        Ok(Taken::Challenge(text)) => answer(StatusCode::OK, Body::from(text.clone()), Some(PLAIN_TEXT)),
        Err(refused @ Refused::Signature(_)) => {
            let authenticate = endpoint.scheme.authenticate().map(HeaderValue::from_static);
            let header = authenticate.map(|scheme| (header::WWW_AUTHENTICATE, scheme));
            answer(refused.status(), Body::from(refused.text() + "\n"), header)
        }
        Err(refused) => answer(refused.status(), Body::from(refused.text() + "\n"), refused.header()),
    }
}

/// The answer to a request for no endpoint that receivers of many Webhooks know. Gateways send only what is for one that was declared, so its
/// configuration is on the way, or could not be read.
pub(crate) fn unknown() -> Response {
    let refused = Refused::Deferred(DeferredBecause::NotWritten);
    let header = (header::RETRY_AFTER, HeaderValue::from_static(UNTIL_KNOWN));
    answer(refused.status(), Body::from(refused.text() + "\n"), Some(header))
}

/// Kubernetes brings a configuration within 90 s.
const UNTIL_KNOWN: &str = "30";

/// A challenge is the sender's text: no browser is to take it for a page.
const PLAIN_TEXT: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));

fn answer(status: StatusCode, body: Body, header: Option<(HeaderName, HeaderValue)>) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(header);
    response
}

impl Refused {
    pub(crate) fn because(&self) -> Because {
        Because::Rejected(match self {
            Self::Path => RejectedBecause::Path,
            Self::Method => RejectedBecause::Method,
            Self::Headers => RejectedBecause::Headers,
            Self::Encoding => RejectedBecause::Encoding,
            Self::Size => RejectedBecause::Size,
            Self::BodyLate | Self::BodyBroken => RejectedBecause::Body,
            Self::Signature(_) => RejectedBecause::Signature,
            Self::Event(Unusable::MissingId { .. }) => RejectedBecause::EventId,
            Self::Event(Unusable::CloudEvent(_)) => RejectedBecause::CloudEvent,
            Self::Schema(_) => RejectedBecause::Schema,
            Self::Rate(_) => RejectedBecause::Rate,
            Self::Deferred(because) => return Because::Deferred(*because),
        })
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Size => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLate => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Event(_) | Self::Schema(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Deferred(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A forger is not told what is wrong, nor anybody what is wrong with us; a genuine sender is told about its event.
    fn text(&self) -> String {
        match self {
            Self::Path => "there is nothing here".into(),
            Self::Method => "send events with POST".into(),
            Self::Headers => "at most 100 headers".into(),
            Self::Encoding => "send the body uncompressed".into(),
            Self::Size => "the body is too large".into(),
            Self::BodyLate => "the body did not come in time".into(),
            Self::BodyBroken => "the body did not come whole".into(),
            Self::Signature(_) => "unauthorized".into(),
            Self::Event(unusable) => unusable.to_string(),
            Self::Schema(rejection) => format!("{}: {}", rejection.stage, rejection.message),
            Self::Rate(_) => "too many requests".into(),
            Self::Deferred(_) => "try again later".into(),
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Method => Some((header::ALLOW, HeaderValue::from_static("POST"))),
            Self::Encoding => Some((header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            Self::Rate(exceeded) => Some((header::RETRY_AFTER, whole_seconds(exceeded.wait).into())),
            Self::Deferred(because) => Some((header::RETRY_AFTER, HeaderValue::from_static(retry_after(*because)))),
            _ => None,
        }
    }
}

/// Rounded up: who comes back too early is refused again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Seconds until another attempt is worth while.
fn retry_after(because: DeferredBecause) -> &'static str {
    match because {
        DeferredBecause::Busy => "1",
        DeferredBecause::InProgress | DeferredBecause::Unconfirmed | DeferredBecause::NotWritten => "5",
        DeferredBecause::Secret => "30",
        // A person has to do something first.
        DeferredBecause::Paused | DeferredBecause::Refused => "60",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::{config::tests::endpoint, verify::Scheme};

    async fn told(outcome: Result<Taken, Refused>) -> (u16, Vec<(String, String)>, String) {
        let (head, body) = response(&outcome, &endpoint()).into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), headers.collect(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_duplicate_is_answered_like_the_original() {
        let original = Taken::Events(Tally { written: 1, ..Tally::default() });
        let duplicate = Taken::Events(Tally { duplicates: 1, ..Tally::default() });
        assert_eq!(told(Ok(original)).await, (202, vec![], String::new()));
        assert_eq!(told(Ok(duplicate)).await, (202, vec![], String::new()));
    }

    #[tokio::test]
    async fn a_forger_is_told_the_same_whatever_is_wrong() {
        let missing = told(Err(Refused::Signature(Refusal::HeaderMissing))).await;
        assert_eq!(missing, (401, vec![], "unauthorized\n".into()));
        for refusal in [Refusal::SignatureWrong, Refusal::SignatureMalformed, Refusal::TimestampTooOld] {
            assert_eq!(told(Err(Refused::Signature(refusal))).await, missing);
        }
    }

    #[tokio::test]
    async fn a_challenge_is_answered_with_its_text() {
        let (status, headers, body) = told(Ok(Taken::Challenge("<b>".into()))).await;
        assert_eq!((status, body.as_str()), (200, "<b>"));
        assert_eq!(headers, [("content-type".to_owned(), "text/plain".to_owned())]);
    }

    #[tokio::test]
    async fn who_must_log_in_is_told_how() {
        let basic = Endpoint { scheme: Scheme::Basic("partner".into()), ..endpoint() };
        let answer = response(&Err(Refused::Signature(Refusal::CredentialWrong)), &basic);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"webhook\"");
    }

    #[tokio::test]
    async fn who_is_to_try_again_is_told_when() {
        for because in DeferredBecause::ALL {
            let (status, headers, _) = told(Err(Refused::Deferred(because))).await;
            assert_eq!((status, headers[0].0.as_str()), (503, "retry-after"), "{because:?}");
        }
    }

    #[tokio::test]
    async fn who_sends_too_much_is_told_when_there_is_room_again() {
        let exceeded = |wait| Exceeded { limit: crate::limit::Limit::Genuine, wait: Duration::from_millis(wait) };
        for (wait, expected) in [(1, "1"), (1000, "1"), (1001, "2")] {
            let (status, headers, body) = told(Err(Refused::Rate(exceeded(wait)))).await;
            assert_eq!((status, body.as_str()), (429, "too many requests\n"));
            assert_eq!(headers, [("retry-after".to_owned(), expected.to_owned())]);
        }
    }

    #[tokio::test]
    async fn another_method_is_told_the_right_one() {
        assert_eq!(told(Err(Refused::Method)).await.1, [("allow".to_owned(), "POST".to_owned())]);
    }
}
