//! The API server, with an audit log that is complete as soon as a request is answered.

use anyhow::Result;

use super::{Launch, etcd};
use crate::certificates::SERVICE_ACCOUNT_ISSUER;
use crate::readiness::Probe;
use crate::site::{API_PORT, Site};
use crate::template;

const AUDIT_POLICY: &str = include_str!("../../components/kubernetes/audit-policy.yaml");

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    template::write(&site.path("apiserver/audit-policy.yaml"), AUDIT_POLICY)?;
    let readyz = ["get", "--raw", "/readyz"].map(String::from).to_vec();
    Ok(Launch::kubernetes(site, "kube-apiserver", flags(site))
        .ready_when([Probe::Tcp(site.listener(API_PORT)), Probe::Kubectl(site.kubectl(), readyz)]))
}

fn flags(site: &Site) -> [String; 23] {
    [
        format!("--etcd-servers={}", etcd::ADDRESS),
        format!("--advertise-address={}", site.address()),
        "--bind-address=0.0.0.0".into(),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", site.certificate("apiserver.crt")),
        format!("--tls-private-key-file={}", site.certificate("apiserver.key")),
        format!("--client-ca-file={}", site.certificate("ca.crt")),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged".into(),
        format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"),
        format!("--service-account-key-file={}", site.certificate("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", site.certificate("service-accounts.key")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--kubelet-certificate-authority={}", site.certificate("ca.crt")),
        format!("--kubelet-client-certificate={}", site.certificate("apiserver-to-kubelet.crt")),
        format!("--kubelet-client-key={}", site.certificate("apiserver-to-kubelet.key")),
        format!("--audit-policy-file={}", site.text("apiserver/audit-policy.yaml")),
        format!("--audit-log-path={}", site.audit_log().display()),
        // Written before the answer is complete: whoever made a request finds it there.
        "--audit-log-mode=blocking".into(),
        // Megabytes; a test reads one file, so it is never rotated.
        "--audit-log-maxsize=65536".into(),
        "--profiling=false".into(),
    ]
}
