//! Takes a cluster away, whatever state it is in: running, half started, crashed, or left over from before a restart.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::components::Component;
use crate::name::Name;
use crate::process::{Process, Signal};
use crate::site::{self, Site};
use crate::{cgroup, network, supervision};

const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing of the cluster is worth keeping, so everything is killed. Mounts vanish with the last process that sees them.
pub(crate) fn remove(name: &Name) -> Result<()> {
    end_processes(name)?;
    network::remove(name)?;
    cgroup::remove(name)?;
    remove_folder(&site::folder_of(name))
}

/// Kills until none is left: what is killed may have been starting another one.
fn end_processes(name: &Name) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let processes = processes(name)?;
        if processes.is_empty() {
            return Ok(());
        }
        for process in &processes {
            process.signal(Signal::KILL)?;
        }
        for process in &processes {
            let ended = process.wait_for_end(deadline.saturating_duration_since(Instant::now()))?;
            ensure!(ended, "process {} of cluster {name} does not end, not even by SIGKILL", process.pid);
        }
    }
}

/// The components that were written down, whatever else lives in the cluster's network, and the processes of its pods.
fn processes(name: &Name) -> Result<Vec<Process>> {
    let mut pids: BTreeSet<i32> = cgroup::processes(name)?.into_iter().collect();
    pids.extend(living_in_the_network(name)?);
    if let Some(site) = Site::find(name)? {
        pids.extend(
            Component::ALL.iter().filter_map(|component| supervision::running(&site, *component)).map(|p| p.pid),
        );
    }
    Ok(pids.into_iter().filter_map(Process::find).collect())
}

fn living_in_the_network(name: &Name) -> Result<Vec<i32>> {
    let Some(network) = network::identity(name) else { return Ok(Vec::new()) };
    let entries = fs::read_dir("/proc").context("list processes")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter(|pid| network_of(*pid) == Some(network)).collect())
}

fn network_of(pid: i32) -> Option<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn remove_folder(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}
