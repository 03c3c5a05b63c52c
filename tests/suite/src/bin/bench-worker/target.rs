//! Where records go: a topic, or an API.

use std::{env, net::SocketAddr, process::Command};

use anyhow::{Context, ensure};
use sluice_kafka::{Admin, NewTopic, OffsetAt, TopicPartition};
use sluice_suite::{measured::Measured, program::free_address, until};
use tokio::task;

use crate::{
    PARTITIONS, PATIENCE,
    api::{self, Told},
    arrived,
    job::Job,
};

pub(crate) enum Target {
    Topic(Admin, String),
    /// Its process, which ends with this, and its address.
    Api {
        _process: Measured,
        address: SocketAddr,
    },
}

impl Target {
    /// What the job's records go to, which nothing was delivered to yet.
    pub(crate) async fn open(job: Job, admin: &Admin, name: &str) -> anyhow::Result<Self> {
        let target = match job.delay() {
            None => {
                make_topic(admin, name).await?;
                Self::Topic(admin.clone(), name.to_owned())
            }
            Some(delay) => {
                let address = free_address()?;
                let mut command = Command::new(env::current_exe()?);
                command.args([api::ARGUMENT, &address.to_string(), &delay.as_millis().to_string()]);
                Self::Api { _process: Measured::start(command, tempfile::tempdir()?)?, address }
            }
        };
        // Partitions have their leaders, and a process listens, a moment later.
        let look = async || target.delivered().await.map_err(|error| error.to_string());
        until("where records go", PATIENCE, look).await?;
        Ok(target)
    }

    /// Its name, or its address.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Topic(_, name) => name.clone(),
            Self::Api { address, .. } => address.to_string(),
        }
    }

    /// Whether so many records are there; gives how many came again, which is an error in a topic.
    pub(crate) async fn check(&self, kafka: &str, expected: usize) -> anyhow::Result<usize> {
        match self {
            Self::Topic(_, name) => {
                let (kafka, name) = (kafka.to_owned(), name.clone());
                task::spawn_blocking(move || arrived::once(&kafka, &name, expected)).await??;
                Ok(0)
            }
            Self::Api { address, .. } => {
                let Told { records, repeats, .. } = tell(*address, api::COUNT).await?;
                ensure!(records == expected, "{records} records were delivered instead of {expected}");
                Ok(repeats)
            }
        }
    }

    /// How many records are there, with the markers of transactions.
    pub(crate) async fn delivered(&self) -> anyhow::Result<usize> {
        match self {
            Self::Topic(admin, name) => {
                let partitions: Vec<_> =
                    (0..PARTITIONS).map(|partition| TopicPartition { topic: name.clone(), partition }).collect();
                let ends = admin.list_offsets(&partitions, OffsetAt::Latest).await?;
                ends.into_values().map(|end| Ok(usize::try_from(end?)?)).sum()
            }
            Self::Api { address, .. } => Ok(tell(*address, api::COUNT).await?.records),
        }
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Self::Topic(admin, name) = self {
            admin.delete_topics(&[&name]).await?;
        }
        Ok(())
    }
}

/// What the API tells.
pub(crate) async fn tell(api: SocketAddr, path: &str) -> anyhow::Result<Told> {
    let answer = reqwest::get(format!("http://{api}{path}")).await?;
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}

pub(crate) async fn make_topic(admin: &Admin, name: &str) -> anyhow::Result<()> {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(PARTITIONS), replicas: None, config: [].into() };
    let answers = admin.create_topics(&[topic]).await?;
    answers.into_values().collect::<Result<(), _>>().with_context(|| format!("make topic {name}"))
}
