//! A way to the API server, or a schema registry, on which happens what happens on networks and in busy servers: plain HTTP in.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Error, bail};
use bytes::Bytes;
use futures::{StreamExt, future::pending};
use http::{Method, Request, Response, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use kube::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch as channel,
    task::JoinSet,
    time::timeout,
};

/// How long a request may take to come to where it is held up, and to be answered after that: a test that waits for ever says nothing.
const PATIENCE: Duration = Duration::from_mins(2);

type Body = UnsyncBoxBody<Bytes, Error>;
type Upstream = Client<hyper_rustls::HttpsConnector<HttpConnector>, Body>;
type Judge = Arc<dyn Fn(&Asked) -> Fate + Send + Sync>;
/// Something that is done when a request is lost.
pub type Deed = Arc<dyn Fn() + Send + Sync>;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// What it is about.
    pub path: String,
    /// Its parameters.
    pub query: String,
}

/// What happens to a request.
#[derive(Clone)]
pub enum Fate {
    /// Nothing special.
    Forward,
    /// It is answered without being asked.
    Answer(u16),
    /// The connection breaks before it arrives.
    Lose(Deed),
    /// The connection breaks after it was carried out, before anybody hears of it.
    LoseAnswer(Deed),
    /// It never arrives, and nobody ever answers.
    Swallow,
    /// It arrives late, also where nobody waits for the answer any more.
    Delay(Delay),
    /// A list is answered as it was answered the first time.
    Stale,
    /// A watch is told that its version is too old.
    Gone,
    /// A watch is answered, and then nothing comes any more.
    Silence,
}

impl Fate {
    /// The connection breaks before the request arrives.
    pub fn lose() -> Self {
        Self::Lose(Arc::new(|| ()))
    }

    /// The connection breaks after the request was carried out.
    pub fn lose_answer() -> Self {
        Self::LoseAnswer(Arc::new(|| ()))
    }
}

/// Where requests are held up on their way until they are let through. Clones are one place.
#[derive(Clone, Default)]
pub struct Delay(Arc<Delayed>);

#[derive(Default)]
struct Delayed {
    is_over: channel::Sender<bool>,
    held: channel::Sender<usize>,
    /// What the API server answered to those that were held up.
    answers: channel::Sender<Vec<StatusCode>>,
}

impl Delay {
    /// Waits until a request is held up.
    pub async fn holds_one(&self) {
        let mut held = self.0.held.subscribe();
        let holds = timeout(PATIENCE, held.wait_for(|held| *held > 0)).await;
        holds.expect("no request came to be held up").expect("this is its sender");
    }

    /// Lets everything through, from now on too; gives the answers to what was held up.
    pub async fn end(&self) -> Vec<StatusCode> {
        let held = *self.0.held.borrow();
        self.0.is_over.send_replace(true);
        let mut answers = self.0.answers.subscribe();
        let answers = timeout(PATIENCE, answers.wait_for(|answers| answers.len() >= held)).await;
        answers.expect("what was held up is not answered").expect("this is its sender").clone()
    }

    /// Waits until it is let through; says whether it had to.
    async fn pass(&self) -> bool {
        let mut is_over = self.0.is_over.subscribe();
        let is_held = !*is_over.borrow();
        if is_held {
            self.0.held.send_modify(|held| *held += 1);
            is_over.wait_for(|is_over| *is_over).await.expect("this is its sender");
        }
        is_held
    }

    fn answered(&self, status: StatusCode) {
        self.0.answers.send_modify(|answers| answers.push(status));
    }
}

impl Asked {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it is about a lease.
    pub fn is_about_a_lease(&self) -> bool {
        self.path.contains("/leases")
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|parameter| parameter.starts_with("watch="))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.method == Method::GET && !self.is_watch() && self.query.contains("limit=")
    }
}

/// A running proxy; it ends when this is dropped.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    upstream: Upstream,
    server: Uri,
    judge: Mutex<Judge>,
    first_lists: Mutex<HashMap<String, Bytes>>,
    cuts: channel::Sender<u64>,
}

impl Proxy {
    /// Starts a proxy before the API server of that kubeconfig. Whoever comes through it brings his own credentials.
    pub async fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
        config.auth_info = AuthInfo::default();
        let upstream = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
        Self::to(config.cluster_url.clone(), upstream).await
    }

    /// The same before something else that speaks plain HTTP, such as a schema registry; `url` has the path of its address too.
    pub async fn before(url: &str) -> anyhow::Result<Self> {
        let server: Uri = url.parse().context("the address to forward to")?;
        let trusts_nobody =
            ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let connector = hyper_rustls::HttpsConnector::from((HttpConnector::new(), trusts_nobody));
        let path = server.path().trim_end_matches('/').to_owned();
        let proxy = Self::to(server, Client::builder(TokioExecutor::new()).build(connector)).await?;
        Ok(Self { url: format!("{}{path}", proxy.url), ..proxy })
    }

    async fn to(server: Uri, upstream: Upstream) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            upstream,
            server,
            judge: Mutex::new(Arc::new(|_| Fate::Forward)),
            first_lists: Mutex::default(),
            cuts: channel::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the operator")?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { url, shared, _serving: serving })
    }

    /// From now on this decides what happens to requests.
    pub fn judge(&self, judge: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        *lock(&self.shared.judge) = Arc::new(judge);
    }

    /// Ends all watches that run, in the middle of whatever they tell.
    pub fn cut_watches(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    });
    // An error is a connection that was broken, by either side.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    /// The answer; an error breaks the connection.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        };
        let judge = Arc::clone(&lock(&self.judge));
        match judge(&asked) {
            Fate::Answer(code) => Ok(refusal(StatusCode::from_u16(code)?)),
            Fate::Lose(deed) => {
                deed();
                bail!("the connection broke")
            }
            Fate::LoseAnswer(deed) => {
                self.forward(&asked, request.map(sent)).await?.into_body().collect().await?;
                deed();
                bail!("the connection broke")
            }
            Fate::Swallow => pending().await,
            Fate::Delay(delay) => self.forward_late(asked, request, delay).await,
            Fate::Stale if let Some(list) = self.first_list(&asked) => Ok(json_response(StatusCode::OK, list)),
            Fate::Gone if asked.is_watch() => Ok(json_response(StatusCode::OK, gone())),
            Fate::Silence if asked.is_watch() => Ok(json_response_of(StatusCode::OK, silence())),
            Fate::Forward | Fate::Stale | Fate::Gone | Fate::Silence => self.forward(&asked, request.map(sent)).await,
        }
    }

    /// In a task of its own, which does not end with the connection.
    async fn forward_late(
        self: Arc<Self>,
        asked: Asked,
        request: Request<Incoming>,
        delay: Delay,
    ) -> anyhow::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, whole(body.collect().await?.to_bytes()));
        let late = async move {
            let was_held = delay.pass().await;
            let answer = self.forward(&asked, request).await?;
            if was_held {
                delay.answered(answer.status());
            }
            Ok(answer)
        };
        tokio::spawn(late).await?
    }

    async fn forward(&self, asked: &Asked, mut request: Request<Body>) -> anyhow::Result<Response<Body>> {
        let mut parts = self.server.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().remove(HOST);
        let (parts, body) = self.upstream.request(request).await?.into_parts();
        if asked.is_list() {
            let list = body.collect().await?.to_bytes();
            lock(&self.first_lists).entry(key(asked)).or_insert_with(|| list.clone());
            return Ok(Response::from_parts(parts, whole(list)));
        }
        let mut cuts = self.cuts.subscribe();
        let is_watch = asked.is_watch();
        let cut = async move {
            if !is_watch || cuts.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        let frames = body.into_data_stream().take_until(Box::pin(cut));
        let body = StreamBody::new(frames.map(|data| data.map(Frame::data).map_err(Error::from)));
        Ok(Response::from_parts(parts, UnsyncBoxBody::new(body)))
    }

    fn first_list(&self, asked: &Asked) -> Option<Bytes> {
        lock(&self.first_lists).get(&key(asked)).cloned()
    }
}

fn key(asked: &Asked) -> String {
    format!("{}?{}", asked.path, asked.query)
}

/// A body as it comes.
fn sent(body: Incoming) -> Body {
    body.map_err(Error::from).boxed_unsync()
}

fn whole(bytes: Bytes) -> Body {
    UnsyncBoxBody::new(Full::new(bytes).map_err(|never: Infallible| match never {}))
}

fn silence() -> Body {
    UnsyncBoxBody::new(StreamBody::new(futures::stream::pending::<anyhow::Result<Frame<Bytes>>>()))
}

fn json_response(code: StatusCode, body: Bytes) -> Response<Body> {
    json_response_of(code, whole(body))
}

fn json_response_of(code: StatusCode, body: Body) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(body).expect("a plain response")
}

fn refusal(code: StatusCode) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "message": "as the test wants it",
    });
    json_response(code, status.to_string().into())
}

fn gone() -> Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    });
    format!("{}\n", json!({"type": "ERROR", "object": status})).into()
}

/// What these locks guard is whole after each statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
