//! Where senders reach a Webhook: scheme and host come from the listener that serves it.

use sluice_crds::{Ingress, ParentReference};

use super::{Endpoint, Entry};

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
    /// Whose routes it takes.
    pub allowed: Allowed,
}

/// Whose routes a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Those of the Gateway's own namespace.
    OwnNamespace,
    /// Those of namespaces with certain labels, which are not looked at.
    Selected,
    /// Everybody's.
    All,
}

/// Why no listener of a Gateway can serve an endpoint, as far as that can be told.
pub(super) fn no_listener(endpoint: &Endpoint, parent: &ParentReference, listeners: &[Listener]) -> Option<String> {
    let own = &endpoint.owner.name.namespace;
    let mut left: Vec<&Listener> = listeners.iter().filter(|one| is_of(endpoint, parent, one)).collect();
    let names = list(left.iter().map(|one| one.name.as_str()));
    if left.is_empty() {
        return None;
    }
    left.retain(|one| parent.section_name.as_ref().is_none_or(|section| *section == one.name));
    if left.is_empty() {
        let section = parent.section_name.as_deref().unwrap_or_default();
        return Some(format!("has no listener {section:?}; it has: {names}"));
    }
    left.retain(|one| matches!(one.protocol.as_str(), "HTTP" | "HTTPS"));
    if left.is_empty() {
        return Some("has no listener for HTTP or HTTPS".to_owned());
    }
    left.retain(|one| one.allowed != Allowed::OwnNamespace || one.namespace == *own);
    if left.is_empty() {
        return Some(format!(
            "takes no routes from the namespace {own:?}: allowedRoutes.namespaces.from of its listeners is Same, as it is by \
             default; make it All or Selector"
        ));
    }
    let served = list(left.iter().filter_map(|one| one.hostname.as_deref()));
    left.retain(|one| one.hostname.as_ref().is_none_or(|served| meets(served, &endpoint.hostnames)));
    let wanted = list(endpoint.hostnames.iter().map(String::as_str));
    left.is_empty()
        .then(|| format!("serves {served}, and not {wanted}; change route.hostnames, or the hostname of a listener"))
}

/// Whether a listener for a host name serves one of these; without any, it serves its own.
fn meets(served: &str, hostnames: &[String]) -> bool {
    hostnames.is_empty() || hostnames.iter().any(|name| covers(served, name) || covers(name, served))
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}

/// The address of an endpoint behind an Ingress: its first host name, without one the address that its controller has given it.
pub(super) fn ingress_url(endpoint: &Endpoint, ingress: &Ingress, address: Option<&str>) -> Option<String> {
    let scheme = if ingress.tls_secret_name.is_some() { "https" } else { "http" };
    let host = endpoint.hostnames.first().map(String::as_str).or(address)?;
    Some(format!("{scheme}://{host}{}", endpoint.path))
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
    let Entry::Gateways(parents) = &endpoint.entry else { return false };
    is_http && parents.iter().any(|parent| names(endpoint, parent, listener)) && host(endpoint, listener).is_some()
}

fn is_of(endpoint: &Endpoint, parent: &ParentReference, listener: &Listener) -> bool {
    let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
    parent.name == listener.gateway && namespace == listener.namespace
}

fn names(endpoint: &Endpoint, parent: &ParentReference, listener: &Listener) -> bool {
    is_of(endpoint, parent, listener) && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
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
