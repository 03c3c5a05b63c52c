//! Access tokens of a real authorization server.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sluice_cluster::testing;
use sluice_crds::{ClientAuthentication, wire::AuthConfig};

use crate::{
    api::{Api, Request, status},
    credentials::with_auth,
    kafka::Place,
    mounted::Mounted,
    running::{Worker, numbered},
    until,
};

pub(crate) const SECRET: &str = "s3cr:et/+&=% x";

/// The folder with the server and its packages.
fn programs() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let files = [
            ("package.json", include_str!("../../../receiver/tests/signers/package.json")),
            ("package-lock.json", include_str!("../../../receiver/tests/signers/package-lock.json")),
            ("issuer.mjs", include_str!("../foreign/issuer.mjs")),
        ];
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        testing::prepared("issuer", &files, &mut [npm]).expect("npm installs the authorization server")
    });
    &FOLDER
}

/// An authorization server, until it is dropped.
pub(crate) struct Issuer(Child);

impl Issuer {
    pub(crate) async fn start(port: u16, lifetime: u64) -> Self {
        let process = Command::new("node")
            .args(["issuer.mjs", &port.to_string(), &lifetime.to_string()])
            .current_dir(programs())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let issuer = Self(process);
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        until("the authorization server listens", listens, |listens| *listens).await;
        issuer
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port for a server that starts later.
pub(crate) fn free_port() -> u16 {
    testing::free_address().unwrap().port()
}

/// An API that takes what its tokens allow, and remembers them.
struct Ledger {
    api: Api,
    tokens: Arc<Mutex<Tokens>>,
}

#[derive(Default)]
struct Tokens {
    /// Ids of tokens, in the order in which they came first.
    seen: Vec<String>,
    revoked: BTreeSet<String>,
    /// Requests whose token was refused.
    refused: usize,
}

impl Ledger {
    async fn new() -> Self {
        let tokens = Arc::<Mutex<Tokens>>::default();
        let kept = Arc::clone(&tokens);
        let api = Api::scripted(move |request| status(kept.lock().unwrap().judge(request))).await;
        Self { api, tokens }
    }

    fn seen(&self) -> usize {
        self.tokens.lock().unwrap().seen.len()
    }

    fn refused(&self) -> usize {
        self.tokens.lock().unwrap().refused
    }

    fn revoke_all(&self) {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.revoked = tokens.seen.iter().cloned().collect();
    }
}

impl Tokens {
    fn judge(&mut self, request: &Request) -> u16 {
        let Some(claims) = claims(request) else { return 400 };
        let id = claims["jti"].as_str().unwrap().to_owned();
        if !self.seen.contains(&id) {
            self.seen.push(id.clone());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        if self.revoked.contains(&id) || claims["exp"].as_u64().unwrap() <= now {
            self.refused += 1;
            return 401;
        }
        if claims["scope"] == "ledger.write" && claims["aud"] == "ledger.example" { 200 } else { 403 }
    }
}

pub(crate) fn claims(request: &Request) -> Option<serde_json::Value> {
    let token = request.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

fn auth(mounted: &Mounted, port: u16, client_authentication: ClientAuthentication) -> AuthConfig {
    AuthConfig::OAuth2 {
        token_url: format!("http://127.0.0.1:{port}/token"),
        client_id: mounted.file("ledger", "id"),
        client_secret: mounted.file("ledger", "secret"),
        client_authentication,
        parameters: [("scope", "ledger.write"), ("resource", "https://ledger.example")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

#[tokio::test]
async fn all_requests_share_a_token_and_a_refused_one_is_replaced_once() {
    let schemes = [(ClientAuthentication::Basic, "by:basic"), (ClientAuthentication::Post, "by-post")];
    for (authentication, client) in schemes {
        let (place, mounted, port) = (Place::new("tokens", 4).await, Mounted::new(), free_port());
        let (_issuer, ledger) = (Issuer::start(port, 600).await, Ledger::new().await);
        mounted.write("ledger", &[("id", client), ("secret", SECRET)]);
        place.write(numbered(0..200)).await;
        let worker = Worker::start(&with_auth(&place, &ledger.api.url, auth(&mounted, port, authentication)));
        ledger.api.until_numbers(200).await;
        assert_eq!((ledger.seen(), ledger.refused()), (1, 0), "{client}");

        ledger.revoke_all();
        place.write(numbered(200..400)).await;
        ledger.api.until_numbers(400).await;
        place.until_no_lag().await;
        assert_eq!(ledger.seen(), 2, "{client}");
        assert!(ledger.refused() >= 1);
        let told = worker.until_status("all are told", |told| told.delivered == 400).await;
        assert_eq!((told.retries, told.dead_lettered), (0, 0), "{client}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_anew_before_it_expires() {
    let (place, mounted, port) = (Place::new("expiry", 1).await, Mounted::new(), free_port());
    let (_issuer, ledger) = (Issuer::start(port, 4).await, Ledger::new().await);
    mounted.write("ledger", &[("id", "by:basic"), ("secret", SECRET)]);
    let worker = Worker::start(&with_auth(&place, &ledger.api.url, auth(&mounted, port, ClientAuthentication::Basic)));
    let mut records = numbered(0..1_000_000);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut written = 0;
    while ledger.seen() < 3 {
        ticks.tick().await;
        place.write(records.next()).await;
        written += 1;
        ledger.api.until_numbers(written).await;
    }
    place.until_no_lag().await;
    assert_eq!(worker.status().await.dead_lettered, 0);
}

#[tokio::test]
async fn a_server_that_gives_no_token_is_asked_again_and_a_corrected_secret_is_used() {
    let (place, mounted, port) = (Place::new("no-token", 1).await, Mounted::new(), free_port());
    let ledger = Ledger::new().await;
    mounted.write("ledger", &[("id", "by:basic"), ("secret", "wrong-wrong")]);
    let worker = Worker::start(&with_auth(&place, &ledger.api.url, auth(&mounted, port, ClientAuthentication::Basic)));
    place.write(numbered(0..10)).await;
    worker.until_status("retried while the server is away", |told| told.retries > 0).await;
    worker.until_logged(&format!("no token from http://127.0.0.1:{port}/token: error sending request")).await;

    let _issuer = Issuer::start(port, 600).await;
    let before = worker.status().await.retries;
    worker.until_status("retried while the secret is wrong", |told| told.retries > before + 10).await;
    assert_eq!(ledger.api.requests().len(), 0);

    mounted.write("ledger", &[("id", "by:basic"), ("secret", SECRET)]);
    ledger.api.until_numbers(10).await;
    place.until_no_lag().await;
    let told = worker.until_status("all are told", |told| told.delivered == 10).await;
    assert_eq!((told.dead_lettered, ledger.seen()), (0, 1));
    assert!(!worker.logged("wrong-wrong") && !worker.logged(SECRET));
}
