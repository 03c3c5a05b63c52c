//! Delivers each record as one HTTP request.
//!
//! - `session`: the client and the credential, made of mounted Secrets.
//! - `oauth2`, `token`: access tokens, shared by all requests.
//! - `answer`: what an answer means.
//! - `attempt`: what a trace says of a request.
//! - `client`: requests to one API and its answers.
//! - `origin`: how a request says whom it is for. Pure.
//! - `pool`: the connections to the API.
//! - `connect`, `tls`: how one is made.
//! - `http1`, `http2`: what goes over it.

mod answer;
mod attempt;
mod client;
mod connect;
mod http1;
mod http2;
mod oauth2;
mod origin;
mod pool;
mod session;
mod tls;
mod token;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use sluice_crds::{
    Delivery, HttpMethod, Refused,
    wire::{HttpSinkConfig, is_template},
};
use sluice_outgoing::Guard;
use sluice_pipeline::{Envelope, HttpRequest};
use sluice_telemetry::traces::{Span, TRACE_HEADERS};
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::{
    attempt::Target,
    client::{Answer, NoAnswer, Request, USER},
    session::{Session, Sessions},
    token::Token,
};
use super::{DeliveryError, NotOpen, Outgoing};
use crate::{retry::Failure, status::Status};

/// An HTTP API.
pub(crate) struct HttpSink {
    sessions: Sessions,
    /// Why its address is not called, where it is not.
    refused: Option<Refused>,
    /// Statuses that mean success beside 2xx.
    success_codes: Vec<u16>,
    /// Those of every request.
    headers: HeaderMap,
    idempotency_header: HeaderName,
    /// Values of headers that no message may tell.
    secrets: Vec<String>,
    /// How long an attempt may take, with all its requests.
    timeout: Duration,
    target: Target,
}

/// Headers of a request, at most, beside those of the configuration and of the record's request.
const FURTHER_HEADERS: usize = 9;
/// Headers whose values a message may tell.
const HARMLESS: [&str; 5] = ["accept", "accept-language", "content-type", "prefer", "user-agent"];

impl HttpSink {
    /// Makes the sink. Nothing is connected yet.
    pub(crate) fn open(
        config: &HttpSinkConfig,
        delivery: &Delivery,
        guard: &Guard,
        status: &Arc<Status>,
    ) -> Result<Self, NotOpen> {
        let idempotency_header = delivery.idempotency_key.header.parse();
        let origin: Url =
            config.origin().parse().with_context(|| format!("sink.http.url {:?} is no address", config.url))?;
        // Those in which records have a say come with them.
        let headers = config.headers.iter().filter(|(_, value)| !is_template(value)).collect();
        Ok(Self {
            sessions: Sessions::open(config, delivery, guard, status)?,
            refused: guard.check(&origin).err(),
            success_codes: config.success_codes.clone(),
            headers: header_map(&headers)?,
            idempotency_header: idempotency_header.context("delivery.idempotencyKey.header is no name of a header")?,
            secrets: secrets(&headers),
            timeout: delivery.timeout.get(),
            target: Target::of(config),
        })
    }

    /// Makes one attempt: 2xx is success, and what the configuration counts as such. Where the API takes tokens and refuses
    /// one, the attempt is made once more with another.
    pub(crate) async fn deliver(&self, outgoing: &Outgoing<'_>) -> Result<(), DeliveryError> {
        self.refused.map_or(Ok(()), |refused| Err(forbidden(&refused)))?;
        let session = self.sessions.current();
        let deadline = Instant::now() + self.timeout;
        let mut token = self.token(&session, None, deadline).await?;
        let mut answer = self.send(&session, outgoing, (token.as_deref(), deadline)).await?;
        if let (StatusCode::UNAUTHORIZED, Some(refused)) = (answer.status, &token) {
            answer::finish(&mut answer.body).await;
            token = self.token(&session, Some(refused), deadline).await?;
            answer = self.send(&session, outgoing, (token.as_deref(), deadline)).await?;
        }
        self.judge(&session, answer, token.as_deref()).await
    }

    async fn token(
        &self,
        session: &Session,
        refused: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<Option<Arc<Token>>, DeliveryError> {
        if !session.takes_tokens() {
            return Ok(None);
        }
        let in_time = timeout_at(deadline, session.token(refused)).await;
        in_time
            .unwrap_or_else(|_| Err(no_token_within(self.timeout)))
            .map_err(|error| DeliveryError { message: self.without_secrets(session, error.message, None), ..error })
    }

    async fn send<'a>(
        &self,
        session: &'a Session,
        outgoing: &Outgoing<'_>,
        (token, deadline): (Option<&Token>, Instant),
    ) -> Result<Answer<'a>, DeliveryError> {
        let asked = asked(outgoing);
        let mut span = outgoing.span.child(|| self.target.attempt(asked));
        let answer = match self.request(session, outgoing, (token, &span)) {
            Ok(request) => session.client.send(request, deadline).await,
            Err(no_answer) => Err(no_answer),
        };
        let answer = answer.map_err(|no_answer| self.no_answer(session, no_answer));
        let answered = answer.as_ref().map(|answer| answer.status).map_err(|error| error.code.as_str());
        attempt::answered(&mut span, answered, |status| self.is_success(status));
        answer
    }

    async fn judge(
        &self,
        session: &Session,
        Answer { status, headers, mut body }: Answer<'_>,
        token: Option<&Token>,
    ) -> Result<(), DeliveryError> {
        if self.is_success(status) {
            answer::finish(&mut body).await;
            return Ok(());
        }
        let failure = answer::failure(status, &headers, SystemTime::now());
        let text = answer::text(&headers, &mut body).await;
        let message = format!("the API answered {status}{}", answer::quoted(&text));
        let message = self.without_secrets(session, message, token);
        Err(DeliveryError { failure, code: status.as_u16().to_string(), message })
    }

    fn is_success(&self, status: StatusCode) -> bool {
        status.is_success() || self.success_codes.contains(&status.as_u16())
    }

    fn request(
        &self,
        session: &Session,
        outgoing: &Outgoing<'_>,
        (token, span): (Option<&Token>, &Span),
    ) -> Result<Request, NoAnswer> {
        let asked = asked(outgoing);
        let target = origin::target(&session.address(&asked.url));
        let body = outgoing.message.value.clone().unwrap_or_default();
        // An API may refuse a request that leaves it open whether a body follows (RFC 9110, section 8.6), and hyper says nothing of none.
        let is_without = asked.method.has_body() && body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method(asked.method);
        *request.uri_mut() = target.map_err(|error| NoAnswer::Broken(format!("there is no such address: {error}")))?;
        *request.headers_mut() = self.headers_for(outgoing, asked, span);
        if is_without {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        session.sign(request.headers_mut(), token);
        Ok(request)
    }

    /// What the configuration says of a header is strongest. What is no valid value of a header is left out.
    fn headers_for(&self, outgoing: &Outgoing<'_>, request: &HttpRequest, span: &Span) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + request.headers.len() + FURTHER_HEADERS);
        headers.insert(USER_AGENT, HeaderValue::from_static(USER));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        carry_on(&mut headers, outgoing, span);
        if let Ok(key) = HeaderValue::from_str(outgoing.idempotency_key) {
            headers.insert(self.idempotency_header.clone(), key);
        }
        if request.has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(outgoing.message.media.content_type()));
        }
        for (name, value) in &request.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers
    }

    fn no_answer(&self, session: &Session, no_answer: NoAnswer) -> DeliveryError {
        let (code, message) = match no_answer {
            NoAnswer::Refused(refused) => return forbidden(&refused),
            NoAnswer::Timeout => ("Timeout", format!("no answer from the API within {:?}", self.timeout)),
            NoAnswer::Connect(why) => ("Connect", format!("no answer from the API: {why}")),
            NoAnswer::Broken(why) => ("Broken", format!("no answer from the API: {why}")),
        };
        let message = self.without_secrets(session, message, None);
        DeliveryError { failure: Failure::Passing { retry_after: None }, code: code.to_owned(), message }
    }

    /// An API may quote in its answer what it was sent.
    fn without_secrets(&self, session: &Session, message: String, token: Option<&Token>) -> String {
        let message = session.without_secrets(message, token);
        self.secrets.iter().fold(message, |message, secret| message.replace(secret.as_str(), "***"))
    }
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Get => Method::GET,
    }
}

fn no_token_within(timeout: Duration) -> DeliveryError {
    let message = format!("no access token within the {timeout:?} of an attempt");
    DeliveryError { failure: Failure::Passing { retry_after: None }, code: "Timeout".to_owned(), message }
}

fn asked<'a>(outgoing: &Outgoing<'a>) -> &'a HttpRequest {
    let Envelope::Http(asked) = &outgoing.message.envelope else {
        unreachable!("the pipeline of an HTTP sink makes requests")
    };
    asked
}

/// The trace goes on with the request's span; where tracing is off, as the record has it.
fn carry_on(headers: &mut HeaderMap, outgoing: &Outgoing<'_>, span: &Span) {
    let mut insert = |name, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    match span.context() {
        Some(context) => context.headers().for_each(|(name, value)| insert(name, value.as_bytes())),
        None => TRACE_HEADERS.into_iter().for_each(|name| {
            if let Some(value) = outgoing.record.header(name) {
                insert(name, value);
            }
        }),
    }
}

/// The platform team may change its mind, or a name its address: it may pass.
fn forbidden(refused: &Refused) -> DeliveryError {
    let failure = Failure::Passing { retry_after: None };
    DeliveryError { failure, code: "Forbidden".to_owned(), message: refused.to_string() }
}

fn header_map(headers: &BTreeMap<&String, &String>) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).with_context(|| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::from_str(value).with_context(|| format!("the header {name} has no valid value"))?;
        map.insert(name, value);
    }
    Ok(map)
}

/// The values that are told to nobody, and those without their scheme, as in `Bearer ...`. The longest come first, so that
/// no rest of one remains.
fn secrets(headers: &BTreeMap<&String, &String>) -> Vec<String> {
    let telling = |name: &str| !HARMLESS.contains(&name.to_ascii_lowercase().as_str());
    let values = headers.iter().filter(|(name, _)| telling(name)).map(|(_, value)| value.as_str());
    let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, token)| token)]).flatten();
    let mut secrets: Vec<_> = parts.filter(|part| part.len() >= 6).map(str::to_owned).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// An error and all that led to it; what sends says only that it failed.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_told_in_messages() {
        let headers =
            [("Authorization", "Bearer s3cr3t-token"), ("X-Api-Key", "k-123456"), ("Accept", "application/json")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = secrets(&headers.iter().map(|(name, value)| (name, value)).collect());
        let message = "422: application/json, \"Bearer s3cr3t-token\", s3cr3t-token, k-123456".to_owned();
        let told = secrets.iter().fold(message, |message, secret| message.replace(secret.as_str(), "***"));
        assert_eq!(told, "422: application/json, \"***\", ***, ***");
    }
}
