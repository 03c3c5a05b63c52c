//! The worker's process: the real binary with a configuration folder of its own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use sluice_crds::{
    Backoff, Decode, Delivery, Duration as Text, HeaderStyle, LogLevel, NamespacedName, OutgoingCalls, Retry,
    StartFrom,
    wire::{
        CONFIG_KEY, GENERATION_KEY, HttpSinkConfig, Operation, SinkConfig, SourceConfig, StepConfig, WorkerConfig,
        WorkerStatus,
    },
};
use tempfile::TempDir;

use crate::{kafka::Place, until};

/// A worker that runs. It is killed with the test.
pub(crate) struct Worker {
    process: Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Worker {
    /// Starts a worker and waits until it serves its status.
    pub(crate) fn start(config: &WorkerConfig) -> Self {
        Self::start_as("worker", config)
    }

    /// The same, with a name that tells it from the others of its Integration.
    pub(crate) fn start_as(instance: &str, config: &WorkerConfig) -> Self {
        Self::start_with(instance, config, &[("NO_PROXY", "*")])
    }

    /// The same, which says nothing of single attempts: where one in thirty fails that is most of what there is to say, and what a test
    /// has to say that fails is lost in it.
    pub(crate) fn start_quietly(instance: &str, config: &WorkerConfig) -> Self {
        Self::start_with(
            instance,
            config,
            &[("NO_PROXY", "*"), ("RUST_LOG", "warn,sluice_worker=info,sluice_worker::status=off")],
        )
    }

    /// The same, where the environment names these proxies.
    pub(crate) fn start_behind(proxies: &[(&str, &str)], config: &WorkerConfig) -> Self {
        Self::start_with("worker", config, proxies)
    }

    /// The same, whose source hangs after so many seconds without a sign of life.
    pub(crate) fn start_watched(silence: u64, config: &WorkerConfig) -> Self {
        Self::start_with("worker", config, &[("NO_PROXY", "*"), ("SLUICE_SILENCE", &silence.to_string())])
    }

    fn start_with(instance: &str, config: &WorkerConfig, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG_KEY), serde_json::to_string(config).unwrap()).unwrap();
        std::fs::write(folder.path().join(GENERATION_KEY), "4\n").unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_sluice-worker"))
            .args(["--status-listen", "127.0.0.1:0", "--log-format", "json", "--config"])
            .arg(folder.path())
            .args(["--instance", instance])
            .env_remove("NO_PROXY")
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, first_lines) = mpsc::channel();
        let (stderr, kept) = (process.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                drop(lines.send(line.clone()));
                kept.lock().unwrap().push(line);
            }
        });
        let address = first_lines.iter().find_map(|line| status_address(&line)).expect("the worker tells its address");
        Self { process, address, log, _folder: folder }
    }

    /// What `/status` tells.
    pub(crate) async fn status(&self) -> WorkerStatus {
        serde_json::from_str(&self.get("/status").await.1).unwrap()
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until_status(&self, what: &str, wanted: impl Fn(&WorkerStatus) -> bool) -> WorkerStatus {
        until(what, async || self.status().await, wanted).await
    }

    /// The HTTP status and the body of a path of the status server.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        // Only the first call installs it.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        let answer = client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Whether a line of the log holds this text.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Waits until a line of the log holds this text: it comes by another way than what the worker tells otherwise.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(text, async || self.logged(text), |logged| *logged).await;
    }

    /// How many lines of the log hold this text.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The most memory that it ever took, in bytes: `VmHWM` of proc(5).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL: the process ends at once.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM: the process is asked to end.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Any signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.process.wait().unwrap()).await.unwrap()
    }
}

fn status_address(line: &str) -> Option<String> {
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    Some(fields.get("status")?.as_str()?.to_owned())
}

/// The configuration of a worker that reads this place and delivers to this address.
pub(crate) fn config(place: &Place, url: &str) -> WorkerConfig {
    let backoff = Backoff { initial: Text::from_millis(50), max: Text::from_millis(500), ..Backoff::default() };
    let retry = Retry { max_attempts: 1_000, backoff, ..Retry::default() };
    // On a machine that stands still for some seconds too no attempt fails that the test does not let fail.
    let delivery = Delivery { retry, timeout: Text::from_secs(60), ..Delivery::default() };
    WorkerConfig {
        integration: NamespacedName { namespace: "shop".into(), name: "payments-to-ledger".into() },
        source: SourceConfig::Kafka {
            connection: place.connection.clone(),
            topics: vec![place.topic.clone()],
            group: place.group.clone(),
            start_from: StartFrom::Earliest,
        },
        decode: Decode::default(),
        steps: vec![],
        sink: SinkConfig::Http(HttpSinkConfig::new(url)),
        delivery,
        dead_letters: place.dead_letters.clone(),
        dead_letter_headers: HeaderStyle::Sluice,
        outgoing: OutgoingCalls { allow: vec!["127.0.0.0/8".parse().unwrap()], deny: vec![] },
        log_level: LogLevel::Debug,
    }
}

/// A step that lets records through.
pub(crate) fn filter(name: &str, program: &str) -> StepConfig {
    StepConfig { name: name.to_owned(), operation: Operation::Filter(program.to_owned()) }
}

/// A step that changes records.
pub(crate) fn map(name: &str, program: &str) -> StepConfig {
    StepConfig { name: name.to_owned(), operation: Operation::Map(program.to_owned()) }
}

/// So many records, spread over some keys: `{"n": 0}`, `{"n": 1}` and so on.
pub(crate) fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
    range.map(|n| (format!("key-{}", n % 10), format!(r#"{{"n": {n}}}"#)))
}
