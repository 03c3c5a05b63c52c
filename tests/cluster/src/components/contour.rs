//! Contour: the controller that makes Envoy serve the Gateway `edge`.

use std::net::SocketAddrV4;

use anyhow::Result;

use super::Launch;
use crate::build::Program;
use crate::readiness::Probe;
use crate::site::Site;
use crate::template::{fill, write};

const CONFIG: &str = include_str!("../../components/contour/config.yaml");
const GATEWAY: &str = include_str!("../../components/contour/gateway.yaml");

const HEALTH: u16 = 8000;
/// Reached by Envoy only, from inside the cluster's network.
pub(super) const DISCOVERY: u16 = 8001;
pub(super) const ENVOY_STATISTICS: u16 = 8002;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let config = site.path("contour/config.yaml");
    write(&config, CONFIG)?;
    let flags = [
        program(site),
        "serve".into(),
        format!("--kubeconfig={}", site.kubeconfig("contour")),
        format!("--config-path={}", config.display()),
        "--disable-leader-election".into(),
        "--insecure".into(),
        "--xds-address=127.0.0.1".into(),
        format!("--xds-port={DISCOVERY}"),
        format!("--http-address={}", site.address()),
        format!("--http-port={HEALTH}"),
        format!("--health-address={}", site.address()),
        format!("--health-port={HEALTH}"),
        format!("--stats-address={}", site.address()),
        format!("--stats-port={ENVOY_STATISTICS}"),
        "--envoy-service-http-address=0.0.0.0".into(),
        "--envoy-service-https-address=0.0.0.0".into(),
    ];
    let healthy = Probe::Http(SocketAddrV4::new(site.address(), HEALTH), "/healthz");
    Ok(Launch::new(flags.to_vec()).ready_when([healthy]))
}

pub(super) fn program(site: &Site) -> String {
    site.program(Program::Contour).join("contour").display().to_string()
}

/// The Gateway `edge`, and Envoy's Service with the address under which it is reached from everywhere.
pub(crate) fn gateway(site: &Site) -> String {
    fill(GATEWAY, &[("address", &site.address().to_string())])
}

/// The status that a cloud's load balancer would give to Envoy's Service: kube-proxy serves the address by it, and
/// Contour shows it in the Gateway.
pub(crate) fn load_balancer_status(site: &Site) -> String {
    format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{}","ipMode":"VIP"}}]}}}}}}"#, site.address())
}
