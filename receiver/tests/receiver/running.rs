//! A receiver and its configuration.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

use rustix::process::{Pid, Signal, kill_process};
use sluice_cluster::testing;
use sluice_crds::{
    Duration, KafkaConnection, NamespacedName, PresetName, Size,
    wire::{EventSources, RateLimits, ReceiverConfig, ReceiverControls, ReceiverStatus, SharedWebhook, Verification},
};
use tempfile::TempDir;

use crate::{sender::Sender, until};

/// A receiver that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) endpoint: SocketAddr,
    pub(crate) status: SocketAddr,
    child: Child,
    folder: TempDir,
}

/// A folder with the files that a receiver reads.
pub(crate) struct Setup {
    pub(crate) config: ReceiverConfig,
    pub(crate) controls: ReceiverControls,
    /// How long it takes requests after it was told to end.
    pub(crate) drain_delay: Duration,
    /// A folder with authorities that are believed beside the system's.
    pub(crate) authorities: Option<PathBuf>,
    folder: TempDir,
}

/// What a receiver's container may take by default, in bytes.
pub(crate) const CONTAINER: u64 = 128 * 1024 * 1024;
pub(crate) const PATH: &str = "/shop/github";
/// Where senders believe that they send.
pub(crate) const URL: &str = "https://hooks.example/shop/github";
pub(crate) const SECRET: &[u8] = b"It's a Secret to Everybody";
/// The patience of senders that are to be sent back, as most of them have it.
pub(crate) const SHORT: Duration = Duration::from_millis(2500);

impl Setup {
    /// GitHub's scheme with one secret.
    pub(crate) fn new(connection: KafkaConnection, topic: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("current");
        fs::write(&secret, SECRET).unwrap();
        let config = ReceiverConfig {
            webhook: NamespacedName { namespace: "shop".into(), name: "github".into() },
            uid: "uid".into(),
            path: PATH.into(),
            connection,
            topic: topic.into(),
            verification: Verification::Preset { name: PresetName::GitHub, secrets: vec![secret], urls: vec![] },
            tolerance: Duration::from_secs(300),
            event: EventSources::default(),
            contract: None,
            deduplication_window: Duration::from_secs(3600),
            deduplication_redis: None,
            body_limit: Size::from_mebibytes(1),
            rate_limits: RateLimits::default(),
            respond: 202,
            // Kafka, and the whole machine, may stand still for some seconds.
            patience: Duration::from_secs(25),
            deprecation: None,
            outgoing: sluice_crds::OutgoingCalls::default(),
        };
        let controls = ReceiverControls { paused: false, replicas: 1 };
        Self { config, controls, drain_delay: DRAIN_DELAY, authorities: None, folder }
    }

    /// The file of the secret with this name.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn secrets(&mut self, names: &[&str]) {
        self.preset(PresetName::GitHub, names);
    }

    /// A provider's scheme with some secrets. Twilio is told that it is here.
    pub(crate) fn preset(&mut self, name: PresetName, secrets: &[&str]) {
        let secrets = secrets.iter().map(|secret| self.secret(secret)).collect();
        self.config.verification = Verification::Preset { name, secrets, urls: vec![URL.to_owned()] };
    }

    /// Starts a receiver; it need not be ready.
    pub(crate) fn start(self) -> Running {
        let Self { config, controls, drain_delay, authorities, folder } = self;
        fs::write(folder.path().join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        fs::write(folder.path().join("generation"), "3").unwrap();
        Running::start(folder, controls, drain_delay, |command, folder| {
            command.arg("--config").arg(folder);
            if let Some(authorities) = authorities {
                // As the operator names them to receivers.
                command.env("SSL_CERT_DIR", format!("/etc/ssl/certs:{}", authorities.display()));
            }
        })
    }

    /// Starts a receiver and waits until it is ready.
    pub(crate) async fn ready(self) -> Running {
        let running = self.start();
        until(async || running.is_ready().await, |ready| *ready).await;
        running
    }
}

const DRAIN_DELAY: Duration = Duration::from_secs(3);
/// The folder with the configurations of many Webhooks.
const WEBHOOKS: &str = "webhooks";

fn put(folder: &Path, webhook: &str, text: &str) {
    let next = folder.join("next-webhook");
    fs::write(&next, text).unwrap();
    fs::rename(next, folder.join(WEBHOOKS).join(format!("{webhook}.json"))).unwrap();
}

/// A port for a server that starts later.
pub(crate) fn free_port() -> u16 {
    free_address().port()
}

/// The address with such a port.
pub(crate) fn free_address() -> SocketAddr {
    testing::free_address().unwrap()
}

impl Running {
    /// Starts a receiver of many Webhooks; it need not be ready.
    pub(crate) fn start_of_many(webhooks: &[SharedWebhook]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(WEBHOOKS)).unwrap();
        for webhook in webhooks {
            put(folder.path(), &webhook.config.webhook.name, &serde_json::to_string(webhook).unwrap());
        }
        Self::start(folder, ReceiverControls { paused: false, replicas: 1 }, DRAIN_DELAY, |command, folder| {
            command.arg("--webhooks").arg(folder.join(WEBHOOKS));
        })
    }

    fn start(
        folder: TempDir,
        controls: ReceiverControls,
        drain_delay: Duration,
        more: impl FnOnce(&mut Command, &Path),
    ) -> Self {
        fs::write(folder.path().join("controls.json"), serde_json::to_vec(&controls).unwrap()).unwrap();
        let [endpoint, status] = [free_address(), free_address()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice-receiver"));
        command
            .args(["--log-format", "text", "--drain-delay", &drain_delay.to_string()])
            .args(["--listen", &endpoint.to_string(), "--status-listen", &status.to_string()])
            .arg("--controls")
            .arg(folder.path())
            .stderr(File::create(folder.path().join("log")).unwrap());
        more(&mut command, folder.path());
        let child = command.spawn().unwrap();
        Self { endpoint, status, child, folder }
    }

    /// Gives it another configuration of one of many Webhooks, in one step as a mounted file changes.
    pub(crate) fn put(&self, webhook: &str, text: &str) {
        put(self.folder.path(), webhook, text);
    }

    /// Takes the configuration of one of many Webhooks away.
    pub(crate) fn take_away(&self, webhook: &str) {
        fs::remove_file(self.folder.path().join(WEBHOOKS).join(format!("{webhook}.json"))).unwrap();
    }

    pub(crate) async fn is_ready(&self) -> bool {
        Sender::to(self.status).get("/readyz").await.is_ok_and(|answer| answer.status == 200)
    }

    /// What it tells the operator.
    pub(crate) async fn status(&self) -> ReceiverStatus {
        let answer = Sender::to(self.status).get("/status").await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8(Sender::to(self.status).get("/metrics").await.unwrap().body.to_vec()).unwrap()
    }

    /// Changes what it obeys without a restart, in one step as a mounted file changes.
    pub(crate) fn control(&self, controls: ReceiverControls) {
        self.write_controls(&serde_json::to_string(&controls).unwrap());
    }

    pub(crate) fn write_controls(&self, text: &str) {
        let [next, file] = ["next-controls", "controls.json"].map(|name| self.folder.path().join(name));
        fs::write(&next, text).unwrap();
        fs::rename(next, file).unwrap();
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Ends it without a chance to do anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The most memory that it ever took, in bytes: `VmHWM` of proc(5).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the receiver's log\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
