//! The kubelet: the cluster's one node, with a branch of the machine's cgroups of its own.

use anyhow::Result;

use super::{Launch, containerd};
use crate::readiness::Probe;
use crate::site::Site;
use crate::template::{fill, write};

const CONFIG: &str = include_str!("../../components/kubernetes/kubelet.yaml");

pub(crate) const NODE: &str = "node";

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    write(&site.path("kubelet/config.yaml"), &config(site))?;
    // Pods ask the cluster's DNS, which knows nothing of the machine's.
    write(&site.path("kubelet/resolv.conf"), "")?;
    let flags = [
        format!("--config={}", site.text("kubelet/config.yaml")),
        format!("--kubeconfig={}", site.kubeconfig("kubelet")),
        format!("--root-dir={}", site.text("kubelet")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", site.address()),
    ];
    let node = format!("node/{NODE}");
    let created = ["wait", "--for=create", &node, "--timeout=30s"].map(String::from).to_vec();
    let ready = ["wait", "--for=condition=Ready", &node, "--timeout=30s"].map(String::from).to_vec();
    Ok(Launch::kubernetes(site, "kubelet", flags)
        .among_the_mounts()
        .ready_when([Probe::Kubectl(site.kubectl(), created), Probe::Kubectl(site.kubectl(), ready)]))
}

fn config(site: &Site) -> String {
    let values = [
        ("authority", site.certificate("ca.crt")),
        ("certificate", site.certificate("kubelet.crt")),
        ("key", site.certificate("kubelet.key")),
        ("cgroup", format!("/{}", site.name().scoped())),
        ("socket", site.text(containerd::SOCKET)),
        ("folder", site.text("kubelet")),
    ];
    fill(CONFIG, &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}
