//! Where senders reach a Webhook: scheme and host come from the listener that serves it.

use sluice_crds::ParentReference;

use super::Endpoint;

/// One listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Name of the listener.
    pub name: String,
    /// `HTTP`, `HTTPS`, ...
    pub protocol: String,
    /// Port of the listener.
    pub port: u16,
    /// The host name that it serves, if it serves only one.
    pub hostname: Option<String>,
    /// The first address of the Gateway, where its status has one.
    pub address: Option<String>,
}

/// The address of an endpoint: of the first listener that serves it, TLS before plain. `None` while no listener is known.
pub(super) fn url(endpoint: &Endpoint, listeners: &[Listener]) -> Option<String> {
    let mut serving: Vec<&Listener> = listeners.iter().filter(|listener| serves(endpoint, listener)).collect();
    serving.sort_by_key(|listener| listener.protocol != "HTTPS");
    let listener = serving.first()?;
    let host = host(endpoint, listener)?;
    let (scheme, usual_port) = if listener.protocol == "HTTPS" { ("https", 443) } else { ("http", 80) };
    let port = if listener.port == usual_port { String::new() } else { format!(":{}", listener.port) };
    Some(format!("{scheme}://{host}{port}{}", endpoint.path))
}

fn serves(endpoint: &Endpoint, listener: &Listener) -> bool {
    let is_http = matches!(listener.protocol.as_str(), "HTTP" | "HTTPS");
    is_http
        && endpoint.parents.iter().any(|parent| names(endpoint, parent, listener))
        && host(endpoint, listener).is_some()
}

fn names(endpoint: &Endpoint, parent: &ParentReference, listener: &Listener) -> bool {
    let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
    parent.name == listener.gateway
        && namespace == listener.namespace
        && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
}

/// The host name that senders use at this listener: what both allow, without one the Gateway's address.
fn host(endpoint: &Endpoint, listener: &Listener) -> Option<String> {
    match (&listener.hostname, endpoint.hostnames.as_slice()) {
        (None, []) => listener.address.clone(),
        (None, [first, ..]) => Some(first.clone()),
        (Some(served), []) => (!served.starts_with("*.")).then(|| served.clone()),
        (Some(served), hostnames) => hostnames.iter().find(|name| covers(served, name)).cloned(),
    }
}

fn covers(served: &str, name: &str) -> bool {
    served == name || served.strip_prefix('*').is_some_and(|domain| name.ends_with(domain))
}
