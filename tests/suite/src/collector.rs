//! The Collector of OpenTelemetry, built from a module of our own that names its version. What it is sent it passes on to us, as JSON.

mod guard;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::guard::TOKEN_CHECK;
pub use self::guard::{Guard, TOKEN, mistake_authority};
use crate::{catcher::Catcher, peers::go_build, program::free_address, until, world::PATIENCE};

/// A Collector; it is killed when this is dropped.
pub struct Collector {
    /// Where it takes OTLP by gRPC.
    pub grpc: SocketAddr,
    /// Where it takes OTLP by HTTP.
    pub http: SocketAddr,
    /// What it knows senders by, where it does not let in everybody.
    pub guard: Option<Guard>,
    child: Option<Child>,
    sink: Catcher,
    folder: TempDir,
}

/// A span as the Collector understood it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The service's name.
    pub service: String,
    /// Its attributes and those of its resource; numbers as OTLP writes them.
    pub attributes: BTreeMap<String, String>,
    /// As in `POST /payments`.
    pub name: String,
    /// `server`, `client`, `producer`, `consumer`.
    pub kind: &'static str,
    /// The trace's id.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's id; empty where it has none.
    pub parent: String,
    /// Whether its status is an error.
    pub failed: bool,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts one that lets in only whom it knows, by TLS.
    pub async fn start_guarded() -> anyhow::Result<Self> {
        Self::start_with(Some(Guard::new()?)).await
    }

    async fn start_with(guard: Option<Guard>) -> anyhow::Result<Self> {
        let (grpc, http, sink) = (free_address()?, free_address()?, Catcher::start().await?);
        let mut collector = Self { grpc, http, guard, child: None, sink, folder: tempfile::tempdir()? };
        collector.resume().await?;
        Ok(collector)
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, where it was.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let config = json!({
            "extensions": {TOKEN_CHECK: {"token": TOKEN}},
            "receivers": {"otlp": {"protocols": self.protocols()}},
            "exporters": {"otlp_http": {
                "endpoint": format!("http://{}", self.sink.address),
                "encoding": "json",
                "compression": "none",
                "sending_queue": {"enabled": false},
            }},
            "service": {
                "extensions": if self.guard.is_some() { vec![TOKEN_CHECK] } else { Vec::new() },
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
            },
        });
        let path = self.folder.path().join("config.yaml");
        fs::write(&path, serde_saphyr::to_string(&config)?)?;
        let log = File::create(self.log())?;
        let mut command = Command::new(program()?);
        command.arg("--config").arg(path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        let connects = || async {
            let connected = [self.grpc, self.http].map(|address| TcpStream::connect(address).map(drop));
            connected.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())
        };
        let ready = until("the Collector listens", PATIENCE, connects).await;
        ready.with_context(|| fs::read_to_string(self.log()).unwrap_or_default())
    }

    fn protocols(&self) -> Value {
        let [grpc, http] = [self.grpc, self.http].map(|address| address.to_string());
        let Some(guard) = &self.guard else {
            return json!({"grpc": {"endpoint": grpc}, "http": {"endpoint": http}});
        };
        let mut http = guard.settings(&http);
        http["compression_algorithms"] = json!(["gzip"]);
        json!({"grpc": guard.settings(&grpc), "http": http})
    }

    /// All spans that it was sent.
    pub fn spans(&self) -> Vec<Seen> {
        self.sink.caught().iter().flat_map(|caught| seen(&caught.body)).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("collector/go.mod")),
        ("go.sum", include_str!("collector/go.sum")),
        ("main.go", include_str!("collector/main.go")),
    ];
    go_build("collector", &files)
}

/// The spans of a request as OTLP writes it in JSON.
fn seen(body: &[u8]) -> Vec<Seen> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut spans = Vec::new();
    for resource in list(&request["resourceSpans"]) {
        let of_resource = attributes(&resource["resource"]["attributes"]);
        let scopes = list(&resource["scopeSpans"]);
        spans.extend(scopes.flat_map(|scope| list(&scope["spans"])).map(|span| of_span(span, &of_resource)));
    }
    spans
}

fn of_span(span: &Value, of_resource: &BTreeMap<String, String>) -> Seen {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let mut all = attributes(&span["attributes"]);
    all.extend(of_resource.clone());
    Seen {
        service: of_resource.get("service.name").cloned().unwrap_or_default(),
        attributes: all,
        name: text("name"),
        kind: match span["kind"].as_u64() {
            Some(2) => "server",
            Some(3) => "client",
            Some(4) => "producer",
            Some(5) => "consumer",
            _ => "internal",
        },
        trace: text("traceId"),
        id: text("spanId"),
        parent: text("parentSpanId"),
        failed: span["status"]["code"].as_u64() == Some(2),
    }
}

fn attributes(value: &Value) -> BTreeMap<String, String> {
    let pair = |attribute: &Value| {
        let value = attribute["value"].as_object()?.values().next()?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((attribute["key"].as_str()?.to_owned(), value))
    };
    list(value).filter_map(pair).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
