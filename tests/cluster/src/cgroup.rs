//! The branch of the machine's control groups below which the cluster's pods run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::name::Name;

const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the branch in every hierarchy: the kubelet wants to find it.
pub(crate) fn create(name: &Name) -> Result<()> {
    for hierarchy in hierarchies()? {
        delegate(&hierarchy);
        let branch = hierarchy.join(name.scoped());
        fs::create_dir_all(&branch).with_context(|| format!("create {}", branch.display()))?;
    }
    Ok(())
}

/// The processes of the cluster's pods.
pub(crate) fn processes(name: &Name) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for branch in branches(name)? {
        for group in groups_below(&branch) {
            let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    Ok(pids)
}

/// Removes the branch, which must have no processes any more. The kernel needs a moment after the last one.
pub(crate) fn remove(name: &Name) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for branch in branches(name)? {
        while let Err(error) = remove_branch(&branch) {
            if Instant::now() >= deadline {
                bail!("control group {} cannot be removed: {error}", branch.display());
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn branches(name: &Name) -> Result<Vec<PathBuf>> {
    let branches = hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(name.scoped()));
    Ok(branches.filter(|branch| branch.exists()).collect())
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read this process's mounts")?;
    Ok(mount_points(&mounts))
}

/// Where version 1 hierarchies or the single one of version 2 are mounted; a hybrid machine has both.
fn mount_points(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let groups = fields.filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))));
    groups.map(|fields| PathBuf::from(fields[1])).collect()
}

/// Version 2 hands controllers down only where it is told to. What cannot be handed down the kubelet reports by name.
fn delegate(hierarchy: &Path) {
    let available = fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn remove_branch(branch: &Path) -> std::io::Result<()> {
    groups_below(branch).iter().rev().try_for_each(fs::remove_dir)
}

/// The group and all below it, parents first.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    let mut groups = vec![group.to_owned()];
    let mut next = 0;
    while let Some(parent) = groups.get(next) {
        let children = fs::read_dir(parent).into_iter().flatten().flatten();
        let children: Vec<_> = children.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        groups.extend(children);
        next += 1;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_among_the_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            mount_points(mounts),
            [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/unified")].map(Path::to_owned)
        );
    }

    #[test]
    fn parents_come_before_their_children() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        assert_eq!(groups_below(folder.path()), ["", "a", "a/b"].map(|inside| folder.path().join(inside)));
        remove_branch(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }
}
