//! `CoreDNS`: the pods' DNS server, as a process beside the node instead of a pod on it.

use std::net::SocketAddrV4;

use anyhow::Result;

use super::Launch;
use crate::build::Program;
use crate::readiness::Probe;
use crate::site::Site;
use crate::template::{fill, write};

const COREFILE: &str = include_str!("../../components/coredns/Corefile");
const SERVICE: &str = include_str!("../../components/coredns/service.yaml");

const READY: u16 = 8181;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let corefile = site.path("coredns/Corefile");
    let values = [("address", &*site.address().to_string()), ("kubeconfig", &site.kubeconfig("coredns"))];
    write(&corefile, &fill(COREFILE, &values))?;
    let binary = site.program(Program::Coredns).join("coredns").display().to_string();
    let command = vec![binary, "-conf".into(), corefile.display().to_string()];
    Ok(Launch::new(command).ready_when([Probe::Http(SocketAddrV4::new(site.address(), READY), "/ready")]))
}

/// The Service that pods ask, and where it leads.
pub(crate) fn service(site: &Site) -> String {
    fill(SERVICE, &[("address", &site.address().to_string())])
}
