//! The scheduler.

use std::net::SocketAddrV4;

use super::Launch;
use crate::readiness::Probe;
use crate::site::Site;

const PORT: u16 = 10259;

pub(super) fn prepare(site: &Site) -> Launch {
    let flags = [
        format!("--kubeconfig={}", site.kubeconfig("scheduler")),
        format!("--bind-address={}", site.address()),
        format!("--secure-port={PORT}"),
        "--leader-elect=false".into(),
        "--profiling=false".into(),
    ];
    let served = Probe::Tcp(SocketAddrV4::new(site.address(), PORT));
    Launch::kubernetes(site, "kube-scheduler", flags).ready_when([served])
}
