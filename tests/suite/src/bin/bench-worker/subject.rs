//! A program that is measured, and how it is set up.

use std::{env, fs, path::Path, process::Command};

use serde_json::{Value, json};
use sluice_suite::{
    peers,
    program::{free_address, program},
};

use crate::{SOURCE, bare};

/// What is done with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// They are written as they are.
    Copy,
    /// Every other one is left out, and the others get other fields.
    Transform,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Worker,
    /// A worker that delivers exactly once.
    WorkerOnce,
    /// A loop of the client library, with serde_json.
    Bare,
    Benthos,
}

impl Job {
    pub(crate) const ALL: [Self; 2] = [Self::Copy, Self::Transform];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Transform => "transform",
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Worker, Self::WorkerOnce, Self::Benthos];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::WorkerOnce => "worker-exactly-once",
            Self::Bare => "bare",
            Self::Benthos => "benthos",
        }
    }

    pub(crate) fn command(self, job: Job, kafka: &str, target: &str, folder: &Path) -> anyhow::Result<Command> {
        match self {
            Self::Worker => worker(job, kafka, target, "AtLeastOnce", folder),
            Self::WorkerOnce => worker(job, kafka, target, "ExactlyOnce", folder),
            Self::Bare => {
                let mut command = Command::new(env::current_exe()?);
                command.args([bare::ARGUMENT, kafka, target, job.name()]);
                Ok(command)
            }
            Self::Benthos => benthos(job, kafka, target, folder),
        }
    }
}

/// As the operator sets it up for an Integration with nothing else said.
fn worker(job: Job, kafka: &str, target: &str, guarantee: &str, folder: &Path) -> anyhow::Result<Command> {
    let connection = json!({"bootstrapServers": [kafka]});
    let map = ". = {\"id\": .id, \"customer\": .customer, \"amount\": .amount, \"note\": .note}";
    let steps = match job {
        Job::Copy => json!([]),
        Job::Transform => json!([
            {"name": "only-purchases", "operation": {"filter": ".action == \"purchase\""}},
            {"name": "to-purchase", "operation": {"map": map}},
        ]),
    };
    let config = json!({
        "integration": {"namespace": "shop", "name": "bench"},
        "source": {"kafka": {"connection": connection, "topics": [SOURCE], "group": target, "startFrom": "Earliest"}},
        "decode": {}, "steps": steps,
        "sink": {"kafka": {"connection": connection, "topic": target}},
        "delivery": {"guarantee": guarantee}, "deadLetters": "bench-dead-letters", "logLevel": "info",
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    fs::write(folder.join("generation"), "1")?;
    let mut command = Command::new(program("sluice-worker")?);
    command.args(["--log-format", "json", "--status-listen", &free_address()?.to_string(), "--instance", target]);
    command.arg("--config").arg(folder);
    Ok(command)
}

/// Of the settings that were tried these were its fastest.
fn benthos(job: Job, kafka: &str, target: &str, folder: &Path) -> anyhow::Result<Command> {
    let processors: Vec<Value> = match job {
        Job::Copy => vec![],
        Job::Transform => {
            let mapping = "root = if this.action == \"purchase\" { {\"id\": this.id, \"customer\": this.customer, \"amount\": this.amount, \"note\": this.note} } else { deleted() }";
            vec![json!({"mapping": mapping})]
        }
    };
    let config = json!({
        "http": {"enabled": false},
        "logger": {"level": "WARN"},
        "input": {"kafka_franz": {
            "seed_brokers": [kafka], "topics": [SOURCE], "consumer_group": target, "start_from_oldest": true,
            "batching": {"count": 1000, "period": "5ms"},
        }},
        "pipeline": {"threads": 2, "processors": processors},
        "output": {"kafka_franz": {
            "seed_brokers": [kafka], "topic": target, "key": "${! metadata(\"kafka_key\") }", "max_in_flight": 64,
            "compression": "lz4",
        }},
    });
    let path = folder.join("benthos.json");
    fs::write(&path, config.to_string())?;
    let mut command = Command::new(peers::benthos()?);
    command.arg("-c").arg(path);
    Ok(command)
}
