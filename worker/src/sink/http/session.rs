//! What requests are made with: a client and a credential, made of mounted Secrets and made anew when these change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Certificate, Client, Identity, Request,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use sluice_crds::{
    Delivery,
    wire::{AuthConfig, HttpSinkConfig, KeyPlace, TlsConfig},
};
use sluice_outgoing::{Guard, Mounted, read_secret};
use tokio::sync::watch;
use tracing::info;

use super::{
    oauth2::TokenRequest,
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

/// How long a connection of HTTP/2 may be silent, and how long it may take to answer when it is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

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
        let client = self.client()?;
        let mut secrets = Vec::new();
        let credential = match &self.config.auth {
            Some(auth) => self.credential(auth, &client, &mut secrets)?,
            None => Credential::None,
        };
        Ok(Session { client, credential, secrets })
    }

    fn client(&self) -> anyhow::Result<Client> {
        let TlsConfig { ca, certificate, key } = &self.config.tls;
        let timeout = self.delivery.timeout.get();
        let mut client = self
            .guard
            .client()
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_max_idle_per_host(usize::try_from(self.delivery.max_in_flight).unwrap_or(usize::MAX))
            .pool_idle_timeout(Duration::from_secs(30))
            // All requests share one connection of HTTP/2: one that leads nowhere must not be waited for again and again.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .http2_adaptive_window(true)
            .user_agent(concat!("sluice-worker/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca {
            let authorities = Certificate::from_pem_bundle(read_secret(file)?.as_bytes());
            client = client.tls_certs_merge(authorities.with_context(|| no_pem(file))?);
        }
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let pem = format!("{}\n{}\n", read_secret(certificate)?, read_secret(key)?);
            client = client.identity(Identity::from_pem(pem.as_bytes()).with_context(|| no_pem(certificate))?);
        }
        client.build().context("cannot make an HTTP client of the sink's certificates")
    }

    fn credential(&self, auth: &AuthConfig, client: &Client, secrets: &mut Vec<String>) -> anyhow::Result<Credential> {
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
                    client: client.clone(),
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
}

fn no_pem(file: &std::path::Path) -> String {
    format!("{} does not hold certificates as PEM", file.display())
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

    /// Puts the credential into a request.
    pub(super) fn sign(&self, request: &mut Request, token: Option<&Token>) {
        match &self.credential {
            Credential::None => {}
            Credential::Header(name, value) => {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            Credential::Query(name, value) => {
                request.url_mut().query_pairs_mut().append_pair(name, value);
            }
            Credential::Tokens(_) => {
                if let Some(Ok(value)) = token.map(|token| sensitive(&format!("Bearer {}", token.text))) {
                    request.headers_mut().insert(AUTHORIZATION, value);
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
