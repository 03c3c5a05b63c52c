//! Delivers each record as one HTTP request.

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use reqwest::{
    Client, Method, RequestBuilder, Url,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use sluice_crds::{
    Delivery, Refused,
    wire::{HttpSinkConfig, is_template},
};
use sluice_outgoing::Guard;
use sluice_pipeline::HttpRequest;

use super::{DeliveryError, Outgoing, answer};
use crate::retry::Failure;

/// An HTTP API.
pub(crate) struct HttpSink {
    client: Client,
    /// Why its address is not called, where it is not.
    refused: Option<Refused>,
    /// Statuses that mean success beside 2xx.
    success_codes: Vec<u16>,
    /// Those of every request.
    headers: HeaderMap,
    idempotency_header: HeaderName,
    /// Values that no message may tell.
    secrets: Vec<String>,
}

/// How long a connection of HTTP/2 may be silent, and how long it may take to answer when it is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Headers whose values a message may tell.
const HARMLESS: [&str; 5] = ["accept", "accept-language", "content-type", "prefer", "user-agent"];
/// W3C trace context, carried on from the record.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

impl HttpSink {
    /// Makes the sink. Nothing is connected yet.
    pub(crate) fn new(config: &HttpSinkConfig, delivery: &Delivery, guard: &Guard) -> anyhow::Result<Self> {
        let idempotency_header = delivery.idempotency_key.header.parse();
        let origin: Url =
            config.origin().parse().with_context(|| format!("sink.http.url {:?} is no address", config.url))?;
        // Those in which records have a say come with them.
        let headers = config.headers.iter().filter(|(_, value)| !is_template(value)).collect();
        Ok(Self {
            client: client(delivery, guard)?,
            refused: guard.check(&origin).err(),
            success_codes: config.success_codes.clone(),
            headers: header_map(&headers)?,
            idempotency_header: idempotency_header.context("delivery.idempotencyKey.header is no name of a header")?,
            secrets: secrets(&headers),
        })
    }

    /// Makes one attempt: 2xx is success, and what the configuration counts as such.
    pub(crate) async fn deliver(&self, outgoing: &Outgoing<'_>) -> Result<(), DeliveryError> {
        self.refused.map_or(Ok(()), |refused| Err(forbidden(&refused)))?;
        let response = self.request(outgoing).send().await.map_err(|error| self.no_answer(error))?;
        let status = response.status();
        let is_success = status.is_success() || self.success_codes.contains(&status.as_u16());
        let failure = answer::failure(status, response.headers(), SystemTime::now());
        let body = answer::body(response).await;
        if is_success {
            return Ok(());
        }
        let message = self.without_secrets(format!("the API answered {status}{}", answer::quoted(&body)));
        Err(DeliveryError { failure, code: status.as_u16().to_string(), message })
    }

    fn request(&self, outgoing: &Outgoing<'_>) -> RequestBuilder {
        let request = outgoing.message.request.as_deref().expect("the pipeline of an HTTP sink makes requests");
        let method = Method::from_bytes(request.method.as_str().as_bytes()).expect("it is a method of HTTP");
        let message = self
            .client
            .request(method, request.url.clone())
            .headers(self.record_headers(outgoing, request))
            .headers(self.headers.clone());
        if request.has_body { message.body(outgoing.message.value.clone()) } else { message }
    }

    /// The headers that differ between records; those of the configuration are stronger. What is no valid value of an HTTP header is left out.
    fn record_headers(&self, outgoing: &Outgoing<'_>, request: &HttpRequest) -> HeaderMap {
        let key = HeaderValue::from_str(outgoing.idempotency_key).ok();
        let key = key.map(|value| (self.idempotency_header.clone(), value));
        let trace = TRACE_HEADERS.into_iter().filter_map(|name| {
            let value = HeaderValue::from_bytes(outgoing.record.header(name)?).ok()?;
            Some((HeaderName::from_static(name), value))
        });
        let content_type = HeaderValue::from_static(outgoing.message.media.content_type());
        let content_type = request.has_body.then_some((CONTENT_TYPE, content_type));
        let own = request.headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        });
        trace.chain(key).chain(content_type).chain(own).collect()
    }

    fn no_answer(&self, error: reqwest::Error) -> DeliveryError {
        let code = if error.is_timeout() {
            "Timeout"
        } else if let Some(refused) = causes(&error).find_map(|cause| cause.downcast_ref::<Refused>()) {
            return forbidden(refused);
        } else if error.is_connect() {
            "Connect"
        } else {
            "Broken"
        };
        // The address may carry an API key in its query.
        let message = self.without_secrets(format!("no answer from the API: {}", with_causes(&error.without_url())));
        DeliveryError { failure: Failure::Passing { retry_after: None }, code: code.to_owned(), message }
    }

    /// An API may quote in its answer what it was sent.
    fn without_secrets(&self, message: String) -> String {
        self.secrets.iter().fold(message, |message, secret| message.replace(secret.as_str(), "***"))
    }
}

/// The platform team may change its mind, or a name its address: it may pass.
fn forbidden(refused: &Refused) -> DeliveryError {
    let failure = Failure::Passing { retry_after: None };
    DeliveryError { failure, code: "Forbidden".to_owned(), message: refused.to_string() }
}

fn client(delivery: &Delivery, guard: &Guard) -> anyhow::Result<Client> {
    let timeout = delivery.timeout.get();
    guard
        .client()
        .timeout(timeout)
        .connect_timeout(timeout)
        .pool_max_idle_per_host(usize::try_from(delivery.max_in_flight).unwrap_or(usize::MAX))
        .pool_idle_timeout(Duration::from_secs(30))
        // All requests share one connection of HTTP/2: one that leads nowhere must not be waited for again and again.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .http2_adaptive_window(true)
        .user_agent(concat!("sluice-worker/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot make an HTTP client")
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

/// An error and all that led to it; reqwest itself says only that sending failed.
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
