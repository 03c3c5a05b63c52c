//! Fetches access tokens from an authorization server by client credentials (RFC 6749, section 4.4).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header::CONTENT_TYPE};
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
        granted(status, &body).map_err(no_token)
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

/// The token that an answer gives, or what is wrong with it.
fn granted(status: StatusCode, body: &[u8]) -> Result<Token, String> {
    let Granted { access_token, token_type, expires_in } =
        serde_json::from_slice(body).map_err(|error| format!("it answered {status}, but no token: {error}"))?;
    if let Some(kind) = token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(format!("it gave a token of type {kind:?}; only bearer tokens can be used"));
    }
    // As RFC 6749 has it, appendix A.12. Without a token the API would refuse one record after the other.
    if access_token.is_empty() {
        return Err("it gave an empty token".to_owned());
    }
    if !access_token.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("it gave a token that cannot stand in a header".to_owned());
    }
    Ok(Token::new(access_token, expires_in.map(Duration::from_secs)))
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(Value::from("bearer")),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<u64>().prop_map(|number| Value::from(number.to_string())),
            any::<String>().prop_map(Value::from),
            vec(any::<String>(), 0..3).prop_map(Value::from),
        ]
    }

    /// What a token endpoint may answer: something like a token, or anything.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let like_a_token = (value(), value(), value()).prop_map(|(token, kind, lifetime)| {
            json!({"access_token": token, "token_type": kind, "expires_in": lifetime}).to_string().into_bytes()
        });
        prop_oneof![like_a_token, vec(any::<u8>(), 0..200)]
    }

    proptest! {
        #[test]
        fn any_answer_gives_a_token_that_can_stand_in_a_header_or_says_why_not(body in body()) {
            match granted(StatusCode::OK, &body) {
                Ok(token) => {
                    let header = format!("Bearer {}", token.text);
                    prop_assert!(HeaderValue::from_str(&header).is_ok());
                }
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }

        #[test]
        fn a_token_is_taken_whatever_it_lasts(token in "[ -~]{1,100}", lifetime: u64, as_text: bool) {
            let lifetime = if as_text { Value::from(lifetime.to_string()) } else { Value::from(lifetime) };
            let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime}).to_string();
            let granted = granted(StatusCode::OK, body.as_bytes()).map(|token| token.text);
            prop_assert_eq!(granted, Ok(token));
        }
    }

    #[test]
    fn what_cannot_be_used_as_a_token_is_none() {
        let told = |token: &str| {
            let body = json!({"access_token": token, "token_type": "bearer", "expires_in": "300"});
            granted(StatusCode::OK, body.to_string().as_bytes()).map(|token| token.text)
        };
        assert_eq!(told("a.b-c"), Ok("a.b-c".to_owned()));
        assert_eq!(told(""), Err("it gave an empty token".to_owned()));
        for text in ["a\nb", "gr\u{fc}n"] {
            assert_eq!(told(text), Err("it gave a token that cannot stand in a header".to_owned()), "{text:?}");
        }
    }
}
