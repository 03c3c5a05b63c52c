//! A program that is measured, and how it is set up.

use std::{env, fs, path::Path, process::Command};

use serde_json::{Value, json};
use sluice_crds::{
    Decode, Delivery, Guarantee, HeaderStyle, KafkaConnection, LogLevel, NamespacedName, OutgoingCalls, StartFrom,
    wire::{
        CONFIG_KEY, GENERATION_KEY, HttpSinkConfig, KafkaSinkConfig, Operation, SinkConfig, SourceConfig, StepConfig,
        WorkerConfig,
    },
};
use sluice_suite::{
    peers,
    program::{free_address, program},
};

use crate::{bare, job::Job};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A loop of the client libraries.
    Bare,
    Worker,
    /// A worker that delivers exactly once.
    WorkerOnce,
    Benthos,
}

/// What a program is to do.
pub(crate) struct Task {
    pub(crate) job: Job,
    /// The broker.
    pub(crate) kafka: String,
    /// The topic that is read.
    pub(crate) source: String,
    /// The topic that is written to, or the address of the API.
    pub(crate) target: String,
    /// The consumer group.
    pub(crate) group: String,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Worker => "worker",
            Self::WorkerOnce => "worker-exactly-once",
            Self::Benthos => "benthos",
        }
    }

    /// How the program is started; files that it needs are written into the folder.
    pub(crate) fn command(self, task: &Task, folder: &Path) -> anyhow::Result<Command> {
        match self {
            Self::Bare => {
                let Task { job, kafka, source, target, group } = task;
                let mut command = Command::new(env::current_exe()?);
                command.args([bare::ARGUMENT, kafka, source, target, group, job.name()]);
                Ok(command)
            }
            Self::Worker => worker(task, Guarantee::AtLeastOnce, folder),
            Self::WorkerOnce => worker(task, Guarantee::ExactlyOnce, folder),
            Self::Benthos => benthos(task, folder),
        }
    }
}

/// As the operator sets it up for an Integration with nothing else said.
fn worker(task: &Task, guarantee: Guarantee, folder: &Path) -> anyhow::Result<Command> {
    let connection = KafkaConnection { bootstrap_servers: vec![task.kafka.clone()], ..KafkaConnection::default() };
    let step = |name: &str, operation| StepConfig { name: name.to_owned(), operation };
    let map = r#". = {"id": .id, "at": .at, "customer": .customer, "amount": .amount, "note": .note}"#;
    let steps = match task.job {
        Job::Transform => vec![
            step("only-purchases", Operation::Filter(r#".action == "purchase""#.to_owned())),
            step("to-purchase", Operation::Map(map.to_owned())),
        ],
        Job::Copy | Job::Quick | Job::Slow => vec![],
    };
    let sink = match task.job.delay() {
        Some(_) => SinkConfig::Http(HttpSinkConfig::new(format!("http://{}/", task.target))),
        None => SinkConfig::Kafka(KafkaSinkConfig {
            connection: connection.clone(),
            topic: task.target.clone(),
            key: None,
            partition: None,
            headers: [].into(),
        }),
    };
    let config = WorkerConfig {
        integration: NamespacedName { namespace: "shop".into(), name: "bench".into() },
        source: SourceConfig::Kafka {
            connection,
            topics: vec![task.source.clone()],
            group: task.group.clone(),
            start_from: StartFrom::Earliest,
        },
        decode: Decode::default(),
        steps,
        sink,
        delivery: Delivery { guarantee, ..Delivery::default() },
        dead_letters: "dead-letters".into(),
        dead_letter_headers: HeaderStyle::Sluice,
        outgoing: OutgoingCalls { allow: vec!["127.0.0.0/8".parse()?], deny: vec![] },
        log_level: LogLevel::Info,
    };
    fs::write(folder.join(CONFIG_KEY), serde_json::to_string(&config)?)?;
    fs::write(folder.join(GENERATION_KEY), "1")?;
    let mut command = Command::new(program("sluice-worker")?);
    let status = free_address()?.to_string();
    command.args(["--log-format", "json", "--status-listen", &status, "--instance", &task.group]);
    command.arg("--config").arg(folder);
    Ok(command)
}

/// Of the settings that were tried these were its fastest.
fn benthos(task: &Task, folder: &Path) -> anyhow::Result<Command> {
    let Task { job, kafka, source, target, group } = task;
    let processors: Vec<Value> = match job {
        Job::Transform => {
            let left = r#"{"id": this.id, "at": this.at, "customer": this.customer, "amount": this.amount, "note": this.note}"#;
            let mapping = format!(r#"root = if this.action == "purchase" {{ {left} }} else {{ deleted() }}"#);
            vec![json!({"mapping": mapping})]
        }
        Job::Copy | Job::Quick | Job::Slow => vec![],
    };
    let mut input = json!({
        "seed_brokers": [kafka], "topics": [source], "consumer_group": group, "start_from_oldest": true,
        "checkpoint_limit": 1024,
    });
    let output = if job.delay().is_some() {
        let headers = json!({"content-type": "application/json"});
        json!({"http_client": {
            "url": format!("http://{target}/"), "verb": "POST", "headers": headers, "max_in_flight": 64,
        }})
    } else {
        input["batching"] = json!({"count": 1000, "period": "5ms"});
        json!({"kafka_franz": {
            "seed_brokers": [kafka], "topic": target, "key": "${! metadata(\"kafka_key\") }", "max_in_flight": 64,
            "compression": "lz4",
        }})
    };
    let config = json!({
        "http": {"enabled": false},
        "logger": {"level": "WARN"},
        "input": {"kafka_franz": input},
        "pipeline": {"threads": 2, "processors": processors},
        "output": output,
    });
    let path = folder.join("benthos.json");
    fs::write(&path, config.to_string())?;
    let mut command = Command::new(peers::benthos()?);
    command.arg("-c").arg(path);
    Ok(command)
}
