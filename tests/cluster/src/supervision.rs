//! Starts, stops and remembers a cluster's components.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::components::{Component, Launch, Place};
use crate::process::{self, Process, Signal};
use crate::readiness::Probe;
use crate::site::Site;
use crate::{logs, network, readiness, template};

const READY: Duration = Duration::from_mins(5);
const STOP: Duration = Duration::from_mins(2);

/// What is written down about a component that was started.
#[derive(Serialize, Deserialize)]
struct Record {
    process: Process,
    /// Whether it was seen ready since it was started.
    ready: bool,
}

/// Starts the component, unless it runs, without waiting for it.
pub(crate) fn launch(site: &Site, component: Component) -> Result<()> {
    if running(site, component).is_some() {
        return Ok(());
    }
    let launch = component.prepare(site)?;
    let log = component.log(site);
    let command = enter(site, &launch)?;
    let process = process::start(&command, &launch.environment, &log).with_context(|| format!("start {component}"))?;
    remember(site, component, &Record { process, ready: false })
}

/// Starts the component, unless it runs, and waits until it is ready.
pub(crate) fn start(site: &Site, component: Component) -> Result<()> {
    if is_ready(site, component) {
        return Ok(());
    }
    launch(site, component)?;
    wait(site, component, &component.prepare(site)?.ready)?;
    let process = running(site, component).with_context(|| format!("{component} ended right after it got ready"))?;
    remember(site, component, &Record { process, ready: true })
}

/// Waits until the component passes the probes.
pub(crate) fn wait(site: &Site, component: Component, probes: &[Probe]) -> Result<()> {
    let log = component.log(site);
    let process = running(site, component).with_context(|| format!("{component} ended\n{}", logs::tail(&log)))?;
    readiness::wait(&process, probes, READY, &log).with_context(|| format!("{component} did not get ready"))
}

/// Ends the component as a shutdown of its machine would, and waits for its end.
pub(crate) fn stop(site: &Site, component: Component) -> Result<()> {
    end(site, component, Signal::TERM)
}

/// Ends the component with SIGKILL, and waits for its end.
pub(crate) fn kill(site: &Site, component: Component) -> Result<()> {
    end(site, component, Signal::KILL)
}

/// Whether it runs and was seen ready since it was started.
pub(crate) fn is_ready(site: &Site, component: Component) -> bool {
    recall(site, component).is_some_and(|record| record.ready && record.process.is_alive())
}

pub(crate) fn running(site: &Site, component: Component) -> Option<Process> {
    recall(site, component).map(|record| record.process).filter(Process::is_alive)
}

fn end(site: &Site, component: Component, signal: Signal) -> Result<()> {
    let Some(process) = running(site, component) else { return Ok(()) };
    process.signal(signal)?;
    ensure!(process.wait_for_end(STOP)?, "{component} (process {}) still runs {STOP:?} after {signal:?}", process.pid);
    Ok(())
}

/// The command inside the namespaces it belongs to.
fn enter(site: &Site, launch: &Launch) -> Result<Vec<String>> {
    let network = network::namespace(site.name()).display().to_string();
    let mut command = vec!["nsenter".to_owned(), format!("--net={network}")];
    if launch.place == Place::NetworkAndMounts {
        let mounts = running(site, Component::Mounts).context("the process that holds the node's mounts is gone")?;
        command.push(format!("--mount=/proc/{}/ns/mnt", mounts.pid));
    }
    command.push("--".to_owned());
    command.extend(launch.command.iter().cloned());
    Ok(command)
}

fn remember(site: &Site, component: Component, record: &Record) -> Result<()> {
    template::write(&path(site, component), &serde_json::to_string(record)?)
}

fn recall(site: &Site, component: Component) -> Option<Record> {
    serde_json::from_str(&fs::read_to_string(path(site, component)).ok()?).ok()
}

fn path(site: &Site, component: Component) -> PathBuf {
    site.path("processes").join(format!("{component}.json"))
}
