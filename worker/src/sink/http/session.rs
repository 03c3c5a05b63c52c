//! What requests are made with: a client and a credential, made of mounted Secrets and made anew when these change.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use rustls::ClientConfig;
use sluice_crds::{
    Delivery,
    wire::{AuthConfig, HttpSinkConfig, KeyPlace},
};
use sluice_outgoing::{Guard, Mounted, read_secret};
use tokio::sync::watch;
use tracing::info;
use url::Url;

use super::{
    client::{Client, USER},
    oauth2::TokenRequest,
    tls,
    token::{Token, Tokens},
};
use crate::{
    sink::{DeliveryError, NotOpen},
    status::{Area, Status},
};

/// What requests are made with, for as long as the Secrets stay as they are.
pub(super) struct Session {
    pub(super) client: Client,
    credential: Credential,
    /// Texts that no message may tell.
    secrets: Vec<String>,
}

/// What proves to the API who calls.
enum Credential {
    None,
    Header(HeaderName, HeaderValue),
    /// A parameter of the query.
    Query(String, String),
    Tokens(Tokens),
}

/// The session, kept current.
pub(super) struct Sessions {
    current: watch::Receiver<Arc<Session>>,
}

/// How the Secrets of a sink become a session.
struct Recipe {
    config: HttpSinkConfig,
    delivery: Delivery,
    guard: Guard,
}

/// How long a connection to a token endpoint may wait for the next request.
const MOST_WAITING: Duration = Duration::from_secs(30);

impl Sessions {
    /// Reads the Secrets and keeps the session current for as long as anybody uses it. Errors: what is missing, which may come.
    pub(super) fn open(
        config: &HttpSinkConfig,
        delivery: &Delivery,
        guard: &Guard,
        status: &Arc<Status>,
    ) -> Result<Self, NotOpen> {
        let recipe = Recipe { config: config.clone(), delivery: delivery.clone(), guard: guard.clone() };
        let mounted = Mounted::new(config.secrets().cloned().collect());
        let session = recipe.session().map_err(|error| NotOpen::Yet(format!("{error:#}")))?;
        let (sender, current) = watch::channel(Arc::new(session));
        if config.secrets().next().is_some() {
            tokio::spawn(keep_current(recipe, mounted, sender, Arc::clone(status)));
        }
        Ok(Self { current })
    }

    pub(super) fn current(&self) -> Arc<Session> {
        Arc::clone(&self.current.borrow())
    }
}

/// Secrets that cannot be used leave the session as it is.
async fn keep_current(recipe: Recipe, mut mounted: Mounted, sender: watch::Sender<Arc<Session>>, status: Arc<Status>) {
    while mounted.change(&sender).await {
        match recipe.session() {
            Ok(session) => {
                sender.send_replace(Arc::new(session));
                status.well(Area::SinkSecrets);
                info!("The sink's Secrets have changed and are used");
            }
            Err(error) => {
                status
                    .trouble(Area::SinkSecrets, format!("the sink's Secrets are used as they were before: {error:#}"));
            }
        }
    }
}

impl Recipe {
    fn session(&self) -> anyhow::Result<Session> {
        let tls = tls::client_config(&self.config.tls)?;
        let origin: Url =
            self.config.origin().parse().with_context(|| format!("{:?} is no address", self.config.origin()))?;
        let client = Client::new(&origin, &tls, &self.guard, self.delivery.timeout.get())?;
        let mut secrets = Vec::new();
        let credential = match &self.config.auth {
            Some(auth) => self.credential(auth, tls, &mut secrets)?,
            None => Credential::None,
        };
        Ok(Session { client, credential, secrets })
    }

    fn credential(
        &self,
        auth: &AuthConfig,
        tls: ClientConfig,
        secrets: &mut Vec<String>,
    ) -> anyhow::Result<Credential> {
        let mut secret = |file: &PathBuf| -> anyhow::Result<String> {
            let text = read_secret(file)?;
            secrets.push(text.clone());
            Ok(text)
        };
        match auth {
            AuthConfig::Bearer { token } => authorization(&format!("Bearer {}", secret(token)?)),
            AuthConfig::Basic { username, password } => {
                let pair = STANDARD.encode(format!("{}:{}", read_secret(username)?, secret(password)?));
                secrets.push(pair.clone());
                authorization(&format!("Basic {pair}"))
            }
            AuthConfig::ApiKey { place: KeyPlace::Header(name), key } => {
                let name = HeaderName::try_from(name).with_context(|| format!("{name:?} is no name of a header"))?;
                Ok(Credential::Header(name, sensitive(&secret(key)?)?))
            }
            AuthConfig::ApiKey { place: KeyPlace::Query(name), key } => {
                Ok(Credential::Query(name.clone(), secret(key)?))
            }
            AuthConfig::OAuth2 { token_url, client_id, client_secret, client_authentication, parameters } => {
                let request = TokenRequest {
                    client: self.token_client(tls)?,
                    guard: self.guard.clone(),
                    url: token_url.parse().with_context(|| format!("{token_url:?} is no address"))?,
                    client_id: read_secret(client_id)?,
                    client_secret: secret(client_secret)?,
                    authentication: *client_authentication,
                    parameters: parameters.clone().into_iter().collect(),
                };
                Ok(Credential::Tokens(request.tokens()))
            }
        }
    }

    /// Token endpoints are called seldom, and some of them stand elsewhere than the API.
    fn token_client(&self, tls: ClientConfig) -> anyhow::Result<reqwest::Client> {
        let timeout = self.delivery.timeout.get();
        let client = self.guard.client().timeout(timeout).connect_timeout(timeout);
        let client = client.pool_idle_timeout(MOST_WAITING).user_agent(USER).tls_backend_preconfigured(tls);
        client.build().context("cannot make an HTTP client for the token endpoint")
    }
}

fn authorization(value: &str) -> anyhow::Result<Credential> {
    Ok(Credential::Header(AUTHORIZATION, sensitive(value)?))
}

fn sensitive(value: &str) -> anyhow::Result<HeaderValue> {
    // Not even its beginning may get into a message.
    let mut value = HeaderValue::from_str(value).ok().context("the credential of the sink cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Session {
    /// Whether requests need a token, which may take a while to get.
    pub(super) fn takes_tokens(&self) -> bool {
        matches!(self.credential, Credential::Tokens(_))
    }

    /// The token for a request, where the API takes tokens; another one than the one that it refused.
    pub(super) async fn token(&self, refused: Option<&Arc<Token>>) -> Result<Option<Arc<Token>>, DeliveryError> {
        match &self.credential {
            Credential::Tokens(tokens) => tokens.current(refused).await.map(Some),
            Credential::None | Credential::Header(..) | Credential::Query(..) => Ok(None),
        }
    }

    /// The address with the credential, where that is its place.
    pub(super) fn address<'a>(&self, url: &'a Url) -> Cow<'a, Url> {
        let Credential::Query(name, value) = &self.credential else { return Cow::Borrowed(url) };
        let mut url = url.clone();
        url.query_pairs_mut().append_pair(name, value);
        Cow::Owned(url)
    }

    /// Puts the credential into the headers of a request, where that is its place.
    pub(super) fn sign(&self, headers: &mut HeaderMap, token: Option<&Token>) {
        match &self.credential {
            Credential::None | Credential::Query(..) => {}
            Credential::Header(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            Credential::Tokens(_) => {
                if let Some(Ok(value)) = token.map(|token| sensitive(&format!("Bearer {}", token.text))) {
                    headers.insert(AUTHORIZATION, value);
                }
            }
        }
    }

    /// An API may quote in its answer what it was sent.
    pub(super) fn without_secrets(&self, message: String, token: Option<&Token>) -> String {
        let token = token.map(|token| &token.text);
        self.secrets.iter().chain(token).fold(message, |message, secret| message.replace(secret.as_str(), "***"))
    }
}
