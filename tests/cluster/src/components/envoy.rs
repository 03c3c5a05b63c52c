//! Envoy: the proxy of the local gateway, told what to serve by Contour.

use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::Result;

use super::{Launch, contour};
use crate::build::Program;
use crate::process;
use crate::readiness::Probe;
use crate::site::Site;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    std::fs::create_dir_all(site.path("envoy"))?;
    let bootstrap = site.text("envoy/bootstrap.json");
    let mut write = Command::new(contour::program(site));
    write.args(["bootstrap", "--xds-address=127.0.0.1"]).arg(format!("--xds-port={}", contour::DISCOVERY));
    process::run(write.arg(format!("--admin-address={}", site.text("envoy/admin.sock"))).arg(&bootstrap))?;
    let flags = [
        site.program(Program::Envoy).join("envoy").display().to_string(),
        format!("--config-path={bootstrap}"),
        "--service-cluster=projectcontour".into(),
        "--service-node=envoy".into(),
        // Shared memory under a name that a second Envoy of the machine would use as well.
        "--disable-hot-restart".into(),
        "--log-level=info".into(),
    ];
    // Envoy has this listener only after it learnt everything from Contour.
    let ready = Probe::Http(SocketAddrV4::new(site.address(), contour::ENVOY_STATISTICS), "/ready");
    Ok(Launch::new(flags.to_vec()).ready_when([ready]))
}
