//! What the operator's own metrics say of its work, for benchmarks.

use std::{fs, time::Duration};

use anyhow::Context;
use sluice_crds::metrics::{operator, process};
use sluice_kafka::VISIT;
use tokio::time::sleep;

use crate::operator::Operator;

/// What the operator has done since it started, and what it has.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Requests to the API server that change something.
    pub writes: f64,
    /// Requests to the API server that read, watches apart.
    pub reads: f64,
    /// Renewals of the lease.
    pub renewals: f64,
    /// Watches that were begun.
    pub watches: f64,
    /// Requests to Kafka.
    pub kafka: f64,
    /// Requests to Kafka for the offsets of one group.
    pub groups: f64,
    /// Visits to consumer groups without workers, which count as requests to Kafka.
    pub visits: f64,
    /// Seconds of CPU.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory: f64,
    /// Bytes of memory at the moment when it was most.
    pub peak: f64,
}

impl Meter {
    /// Reads all of them at one moment.
    pub async fn read(operator: &Operator) -> anyhow::Result<Self> {
        let verb = |verb: &str| format!("{}{{verb=\"{verb}\"", operator::API_REQUESTS.name);
        let metric = async |name: String| operator.metric(&name).await;
        let kafka = operator::KAFKA_REQUESTS.name;
        let of_kind = |request: &str| format!("{kafka}{{cluster=\"default\",request=\"{request}\"");
        Ok(Self {
            writes: metric(verb("patch")).await? + metric(verb("create")).await? + metric(verb("delete")).await?,
            reads: metric(verb("get")).await? + metric(verb("list")).await?,
            // Nothing else is written with this verb.
            renewals: metric(verb("update")).await?,
            watches: metric(verb("watch")).await?,
            kafka: metric(kafka.to_owned()).await?,
            groups: metric(of_kind("read the offsets of a consumer group")).await?,
            visits: metric(of_kind(VISIT)).await?,
            cpu: metric(process::CPU.name.to_owned()).await?,
            memory: metric(process::MEMORY.name.to_owned()).await?,
            peak: peak(operator)?,
        })
    }
}

/// The kernel's `VmHWM`.
fn peak(operator: &Operator) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", operator.id()))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("the kernel does not tell how much memory was used")?.parse::<f64>()? * 1024.0)
}

/// The meters before and after some work.
pub async fn during(operator: &Operator, work: impl Future<Output = ()>) -> anyhow::Result<[Meter; 2]> {
    let before = Meter::read(operator).await?;
    work.await;
    Ok([before, Meter::read(operator).await?])
}

/// Lets a phase of a benchmark last that long.
#[allow(clippy::disallowed_methods, reason = "phases last a time")]
pub async fn pause(time: Duration) {
    sleep(time).await;
}
