//! Envoy: the proxy of the local gateway, told what to serve by Contour.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::Result;

use super::{Launch, contour};
use crate::build::Program;
use crate::process;
use crate::readiness::Probe;
use crate::site::Site;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let bootstrap = site.text("envoy/bootstrap.json");
    site.once("envoy-bootstrap", || write_bootstrap(site, &bootstrap))?;
    let flags = [
        site.program(Program::Envoy).join("envoy").display().to_string(),
        "--config-path".into(),
        bootstrap,
        "--service-cluster".into(),
        "projectcontour".into(),
        "--service-node".into(),
        "envoy".into(),
        // Shared memory under a name that a second Envoy of the machine would use as well.
        "--disable-hot-restart".into(),
        "--log-level".into(),
        "info".into(),
    ];
    // Envoy has this listener only after it learnt everything from Contour.
    let ready = Probe::Http(SocketAddrV4::new(site.address(), contour::ENVOY_STATISTICS), "/ready");
    Ok(Launch::new(flags.to_vec()).ready_when([ready]))
}

fn write_bootstrap(site: &Site, file: &str) -> Result<()> {
    fs::create_dir_all(site.path("envoy"))?;
    let mut write = Command::new(contour::program(site));
    write.args(["bootstrap", "--xds-address=127.0.0.1"]).arg(format!("--xds-port={}", contour::DISCOVERY));
    process::run(write.arg(format!("--admin-address={}", site.text("envoy/admin.sock"))).arg(file)).map(drop)
}
