//! A program that is measured: how it is started, and what it takes of the machine.

use std::{
    env, fs, iter,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};
use sluice_crds::wire::SharedWebhook;
use sluice_suite::{
    measured::Measured,
    program::{free_address, program},
    until,
};

use crate::{
    bare,
    load::{Connection, SECRET, SHARING, WEBHOOK, sharing},
    peers,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Receiver,
    /// A receiver that many Webhooks share, which write to one topic as that of the receiver: what differs is that they share.
    Shared,
    /// The same with many topics, each of which needs requests of its own.
    SharedTopics,
    /// The handler that checks nothing, with librdkafka's linger at 0.
    Bare,
    /// The same with 1 ms.
    BareLingering,
    /// The same with the receiver's producer.
    BareTuned,
    /// The same with a linger of 0.
    BareTunedAtOnce,
    Benthos,
    ArgoEvents,
}

pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) endpoint: SocketAddr,
    pub(crate) program: Measured,
    /// Events that it has acknowledged.
    pub(crate) acknowledged: Arc<AtomicU64>,
}

/// The Webhooks that share a receiver and have many topics write to so many.
const TOPICS: u64 = 100;
/// In milliseconds: what `sluice_receiver` has its events wait.
const RECEIVERS_LINGER: &str = "1";
const PATIENCE: Duration = Duration::from_secs(30);

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Receiver,
        Self::Shared,
        Self::SharedTopics,
        Self::Bare,
        Self::BareLingering,
        Self::BareTuned,
        Self::BareTunedAtOnce,
        Self::Benthos,
        Self::ArgoEvents,
    ];

    pub(crate) const BARE: [Self; 4] = [Self::Bare, Self::BareLingering, Self::BareTuned, Self::BareTunedAtOnce];

    /// The one with that name. Error: none has it.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let unknown = || format!("there is no program {name:?}: there are {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(unknown)
    }

    /// For people, and in the names of its topics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Shared => "receiver-shared",
            Self::SharedTopics => "receiver-shared-100-topics",
            Self::Bare => "bare",
            Self::BareLingering => "bare-linger-1ms",
            Self::BareTuned => "bare-tuned",
            Self::BareTunedAtOnce => "bare-tuned-linger-0",
            Self::Benthos => "benthos",
            Self::ArgoEvents => "argo-events",
        }
    }

    /// The topics that it writes to.
    pub(crate) fn topics(self) -> Vec<String> {
        match self {
            Self::SharedTopics => (0..TOPICS).map(|number| format!("{}-{number}", self.name())).collect(),
            _ => vec![self.name().to_owned()],
        }
    }

    /// Whether it is ours, and nothing that is acknowledged may be missing.
    pub(crate) fn is_receiver(self) -> bool {
        self == Self::Receiver || self.is_shared()
    }

    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::SharedTopics)
    }

    pub(crate) fn is_bare(self) -> bool {
        Self::BARE.contains(&self)
    }

    /// Whether requests come to it at a steady rate as well. With many topics it would not keep up, and nothing is judged by its time.
    pub(crate) fn is_paced(self) -> bool {
        !matches!(self, Self::SharedTopics | Self::Benthos | Self::ArgoEvents)
    }

    fn command(self, endpoint: SocketAddr, kafka: &str, folder: &Path) -> anyhow::Result<Command> {
        match self {
            Self::Receiver => of_one(endpoint, kafka, folder),
            Self::Shared | Self::SharedTopics => of_many(endpoint, &self.topics(), kafka, folder),
            Self::Bare => handler(endpoint, [kafka, self.name(), bare::PLAIN, "0"]),
            Self::BareLingering => handler(endpoint, [kafka, self.name(), bare::PLAIN, "1"]),
            Self::BareTuned => handler(endpoint, [kafka, self.name(), bare::TUNED, RECEIVERS_LINGER]),
            Self::BareTunedAtOnce => handler(endpoint, [kafka, self.name(), bare::TUNED, "0"]),
            Self::Benthos => peers::benthos(endpoint, kafka, self.name(), folder),
            Self::ArgoEvents => peers::argo_events(endpoint, kafka, self.name()),
        }
    }
}

fn handler(endpoint: SocketAddr, rest: [&str; 4]) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args([bare::ARGUMENT, &endpoint.to_string()]).args(rest);
    Ok(command)
}

/// As the operator sets it up for a Webhook with GitHub's preset and nothing else said.
fn of_one(endpoint: SocketAddr, kafka: &str, folder: &Path) -> anyhow::Result<Command> {
    let secret = folder.join("secret");
    fs::write(&secret, SECRET)?;
    fs::write(folder.join("config.json"), config(WEBHOOK, Kind::Receiver.name(), kafka, &secret).to_string())?;
    fs::write(folder.join("generation"), "1")?;
    let mut command = receiver(endpoint, folder)?;
    command.arg("--config").arg(folder);
    Ok(command)
}

/// As it sets it up for many such Webhooks, whose keys are in one Secret, and which write to these topics in turn.
fn of_many(endpoint: SocketAddr, topics: &[String], kafka: &str, folder: &Path) -> anyhow::Result<Command> {
    let [webhooks, secrets] = ["webhooks", "secrets"].map(|name| folder.join(name));
    mount(&secrets, iter::once(("key".to_owned(), SECRET.to_owned())))?;
    let secret = secrets.join("key");
    let file = |(number, topic): (u64, &String)| {
        let name = sharing(number);
        let config = config(&name, topic, kafka, &secret);
        let webhook = json!({"revision": "1", "generation": 1, "paused": false, "config": config});
        (name + SharedWebhook::FILE_SUFFIX, webhook.to_string())
    };
    mount(&webhooks, (0..SHARING).zip(topics.iter().cycle()).map(file))?;
    let mut command = receiver(endpoint, folder)?;
    command.arg("--webhooks").arg(webhooks);
    Ok(command)
}

fn config(webhook: &str, topic: &str, kafka: &str, secret: &Path) -> Value {
    json!({
        "webhook": {"namespace": "shop", "name": webhook}, "path": format!("/shop/{webhook}"), "topic": topic,
        "connection": {"bootstrapServers": [kafka]},
        "verification": {"preset": {"name": "GitHub", "secrets": [secret]}},
        "tolerance": "5m", "event": {"cloudEvents": "Ignore"}, "deduplicationWindow": "24h", "bodyLimit": "1Mi",
        "respond": 202, "patience": "2500ms",
    })
}

fn receiver(endpoint: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    fs::write(folder.join("controls.json"), json!({"paused": false, "replicas": 1}).to_string())?;
    let mut command = Command::new(program("sluice-receiver")?);
    command.args(["--log-format", "json", "--listen", &endpoint.to_string()]);
    command.args(["--status-listen", &free_address()?.to_string(), "--drain-delay", "0s"]);
    command.arg("--controls").arg(folder);
    Ok(command)
}

/// Makes a folder as Kubernetes mounts them: one link leads to all of its files, so that one look tells whether any has changed.
fn mount(folder: &Path, files: impl Iterator<Item = (String, String)>) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("..1"))?;
    symlink("..1", folder.join("..data"))?;
    for (name, text) in files {
        fs::write(folder.join("..1").join(&name), text)?;
        symlink(Path::new("..data").join(&name), folder.join(&name))?;
    }
    Ok(())
}

impl Subject {
    /// Starts it and waits until it takes events.
    pub(crate) async fn start(kind: Kind, kafka: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let endpoint = free_address()?;
        let command = kind.command(endpoint, kafka, folder.path())?;
        let (program, acknowledged) = (Measured::start(command, folder)?, Arc::default());
        let subject = Self { kind, endpoint, program, acknowledged };
        until(&format!("{} takes events", kind.name()), PATIENCE, || async {
            let told = |error: anyhow::Error| format!("{error:#}");
            Connection::open(&subject).await.map_err(told)?.post().await.map_err(told)
        })
        .await
        .with_context(|| subject.program.log())?;
        Ok(subject)
    }

    /// How many events it has acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}
