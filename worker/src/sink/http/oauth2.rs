//! Fetches access tokens from an authorization server by client credentials (RFC 6749, section 4.4).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use reqwest::{Client, RequestBuilder, Response, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Deserializer};
use sluice_crds::ClientAuthentication;
use sluice_outgoing::Guard;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{
    answer::{self, Parts},
    token::{Token, Tokens},
    with_causes,
};
use crate::{retry::Failure, sink::DeliveryError};

/// Who asks, whom, and for what.
#[derive(Clone)]
pub(super) struct TokenRequest {
    pub(super) client: Client,
    pub(super) guard: Guard,
    pub(super) url: Url,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) authentication: ClientAuthentication,
    /// What is asked for beside the grant.
    pub(super) parameters: Vec<(String, String)>,
}

/// A token endpoint's answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

impl TokenRequest {
    /// Tokens that are fetched by this request.
    pub(super) fn tokens(self) -> Tokens {
        let request = Arc::new(self);
        Tokens::new(move || {
            let request = Arc::clone(&request);
            async move { request.fetch().await.map(Arc::new) }.boxed()
        })
    }

    async fn fetch(&self) -> Result<Token, DeliveryError> {
        let no_token = |what: String| failed(format!("no token from {}: {what}", self.url));
        self.guard.check(&self.url).map_err(|refused| no_token(refused.to_string()))?;
        let mut response = self.request().send().await.map_err(|error| no_token(with_causes(&error.without_url())))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = answer::text(&headers, &mut response).await;
        if !status.is_success() {
            return Err(no_token(format!("it answered {status}{}", answer::quoted(&body))));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|error| no_token(format!("it answered {status}, but no token: {error}")))?;
        match granted.token_type {
            Some(kind) if !kind.eq_ignore_ascii_case("bearer") => {
                Err(no_token(format!("it gave a token of type {kind:?}; only bearer tokens can be used")))
            }
            _ => Ok(Token::new(granted.access_token, granted.expires_in.map(Duration::from_secs))),
        }
    }

    fn request(&self) -> RequestBuilder {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.extend_pairs(&self.parameters);
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match self.authentication {
            ClientAuthentication::Basic => {
                let [user, password] = [&self.client_id, &self.client_secret].map(|text| form_encoded(text));
                request.basic_auth(user, Some(password)).body(form.finish())
            }
            ClientAuthentication::Post => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", &self.client_secret);
                request.body(form.finish())
            }
        }
    }
}

impl Parts for Response {
    async fn next(&mut self) -> Option<Bytes> {
        self.chunk().await.ok().flatten()
    }
}

/// RFC 6749, section 2.3.1, wants user and password encoded before they are put together.
fn form_encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// A server that refuses a client may be told about it later, or its secret be changed: it may pass.
fn failed(message: String) -> DeliveryError {
    DeliveryError { failure: Failure::Passing { retry_after: None }, code: "Token".to_owned(), message }
}

/// Some servers write the number as a text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Seconds>::deserialize(deserializer)? {
        Some(Seconds::Number(number)) => Some(number),
        Some(Seconds::Text(text)) => text.parse().ok(),
        None => None,
    })
}
