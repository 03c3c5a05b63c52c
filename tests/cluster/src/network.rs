//! The cluster's network: a namespace of the kernel, joined to the machine by one cable.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::lock::Lock;
use crate::name::Name;
use crate::process;
use crate::site::{self, Site};
use crate::subnet::{self, Subnet};

/// One lock for the whole machine: two clusters that are made at once must not choose the same addresses.
const LOCK: &str = "/run/lock/sluice-network.lock";

/// Makes namespace and cable, and the folder that remembers their addresses.
pub(crate) fn create(name: Name) -> Result<Site> {
    let lock = Lock::acquire(Path::new(LOCK), "the network of another cluster")?;
    let routes = ip(&["-json", "-4", "route", "show", "table", "all"])?;
    let subnet = Subnet::choose(name.as_str(), &subnet::taken_by_routes(&routes)?)?;
    connect(&name, subnet)?;
    let site = Site::create(name, subnet);
    lock.remove()?;
    site
}

/// Removes whatever there is of both, in any state.
pub(crate) fn remove(name: &Name) -> Result<()> {
    if namespace(name).exists() {
        ip(&["netns", "delete", &name.scoped()])?;
    }
    let cable = cable(name);
    if link(&cable).exists() {
        // The kernel takes it away with the namespace, in its own time: it may be gone by now.
        let removed = ip(&["link", "delete", &cable]);
        ensure!(!link(&cable).exists(), "network link {cable} is still there: {removed:?}");
    }
    Ok(())
}

pub(crate) fn namespace(name: &Name) -> PathBuf {
    Path::new("/run/netns").join(name.scoped())
}

/// What `/proc/PID/ns/net` leads to for the processes inside.
pub(crate) fn identity(name: &Name) -> Option<(u64, u64)> {
    let metadata = fs::metadata(namespace(name)).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Names are unique on a machine, even among clusters whose folders are in different places: refuses to touch another's.
pub(crate) fn ensure_ours(name: &Name) -> Result<()> {
    let owner = fs::read_to_string(link(&cable(name)).join("ifalias")).unwrap_or_default();
    let owner = Path::new(owner.trim());
    ensure!(
        owner == site::folder_of(name) || !owner.exists(),
        "cluster {name} exists already, with its folder at {}: stop that one (SLUICE_STATE={} sluice-cluster down \
         --name {name}) or choose another name",
        owner.display(),
        owner.parent().unwrap_or(owner).display(),
    );
    Ok(())
}

fn connect(name: &Name, subnet: Subnet) -> Result<()> {
    let (namespace, cable) = (name.scoped(), cable(name));
    let (host, node) = (subnet.host().to_string(), subnet.node().to_string());
    let owner = site::folder_of(name).display().to_string();
    ip(&["netns", "add", &namespace])?;
    ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
    ip(&["link", "set", &cable, "alias", &owner])?;
    ip(&["address", "add", &format!("{host}/30"), "dev", &cable])?;
    ip(&["link", "set", &cable, "up"])?;
    ip(&["-n", &namespace, "address", "add", &format!("{node}/30"), "dev", "eth0"])?;
    ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
    ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
    ip(&["-n", &namespace, "route", "add", "default", "via", &host])?;
    forward(name)
}

/// Packets between pods pass through the namespace.
fn forward(name: &Name) -> Result<()> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace(name).display()));
    process::run(command.args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])).map(drop)
}

/// The host's end of the cable. An interface has at most 15 letters, so its name cannot hold the cluster's.
fn cable(name: &Name) -> String {
    format!("sluice{}", hex::encode(&Sha256::digest(name.as_str())[..4]))
}

fn link(interface: &str) -> PathBuf {
    Path::new("/sys/class/net").join(interface)
}

fn ip(arguments: &[&str]) -> Result<String> {
    process::run(Command::new("ip").args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_cable_fits_the_kernel() {
        let longest: Name = "a".repeat(40).parse().unwrap();
        assert_eq!(cable(&longest).len(), 14);
        assert_ne!(cable(&longest), cable(&"a".repeat(39).parse().unwrap()));
    }
}
