//! The controller manager: without it nothing owned is ever collected, and no namespace gets its service account.

use super::Launch;
use crate::readiness::Probe;
use crate::site::Site;

pub(super) fn prepare(site: &Site) -> Launch {
    let flags = [
        format!("--kubeconfig={}", site.kubeconfig("controller-manager")),
        format!("--bind-address={}", site.address()),
        format!("--root-ca-file={}", site.certificate("ca.crt")),
        format!("--service-account-private-key-file={}", site.certificate("service-accounts.key")),
        "--leader-elect=false".into(),
        "--profiling=false".into(),
        // With 20, as by default, it takes a quarter of an hour for the Deployments of a benchmark.
        "--kube-api-qps=200".into(),
        "--kube-api-burst=400".into(),
    ];
    let account = ["wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=20s"];
    Launch::kubernetes(site, "kube-controller-manager", flags)
        .ready_when([Probe::Kubectl(site.kubectl(), account.map(String::from).to_vec())])
}
