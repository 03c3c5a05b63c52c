//! containerd, with folders and a socket of its own.

use anyhow::Result;

use super::Launch;
use crate::readiness::Probe;
use crate::site::Site;
use crate::template::{fill, write};

const CONFIG: &str = include_str!("../../components/containerd/config.toml");
const NETWORK: &str = include_str!("../../components/containerd/network.conflist");

pub(crate) const SOCKET: &str = "containerd.sock";

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let config = site.path("containerd/config.toml");
    write(&config, &fill(CONFIG, &[("folder", &site.text("containerd")), ("socket", &site.text(SOCKET))]))?;
    write(&site.path("containerd/network/10-pods.conflist"), NETWORK)?;
    std::fs::create_dir_all(site.path("containerd/temporary"))?;
    let command = vec!["containerd".into(), "--config".into(), config.display().to_string()];
    let mut launch = Launch::new(command).among_the_mounts().ready_when([Probe::Socket(site.path(SOCKET))]);
    launch.environment.push(("TMPDIR".into(), site.text("containerd/temporary")));
    Ok(launch)
}
