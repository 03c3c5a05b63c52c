//! kube-proxy: Services as iptables rules, all of them inside the cluster's network namespace.

use std::net::SocketAddrV4;

use anyhow::Result;

use super::{Launch, kubelet};
use crate::readiness::Probe;
use crate::site::Site;
use crate::template::{fill, write};

const CONFIG: &str = include_str!("../../components/kubernetes/kube-proxy.yaml");

const HEALTH: u16 = 10256;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let config = site.path("kube-proxy/config.yaml");
    let address = site.address().to_string();
    let values = [("kubeconfig", &*site.kubeconfig("kube-proxy")), ("address", &address), ("node", kubelet::NODE)];
    write(&config, &fill(CONFIG, &values))?;
    let healthy = Probe::Http(SocketAddrV4::new(site.address(), HEALTH), "/healthz");
    Ok(Launch::kubernetes(site, "kube-proxy", [format!("--config={}", config.display())]).ready_when([healthy]))
}
