//! Where senders reach a Webhook: scheme and host come from the listener that serves it.

use std::net::Ipv6Addr;

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
    /// Those of namespaces with certain labels, which the endpoint's has, as far as that is known.
    Selected,
    /// Those of namespaces with other labels than the endpoint's.
    NotSelected,
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
    let selects = left.iter().any(|one| one.allowed == Allowed::NotSelected);
    left.retain(|one| takes_routes(endpoint, one));
    if left.is_empty() {
        let why = if selects {
            "it does not have the labels that allowedRoutes.namespaces.selector of a listener asks for; label it, or change \
             the selector"
        } else {
            "allowedRoutes.namespaces.from of its listeners is Same, as it is by default; make it All or Selector"
        };
        return Some(format!("takes no routes from the namespace {own:?}: {why}"));
    }
    let served = list(left.iter().filter_map(|one| one.hostname.as_deref()));
    left.retain(|one| one.hostname.as_ref().is_none_or(|served| meets(served, &endpoint.hostnames)));
    let wanted = list(endpoint.hostnames.iter().map(String::as_str));
    left.is_empty()
        .then(|| format!("serves {served}, and not {wanted}; change route.hostnames, or the hostname of a listener"))
}

/// Whether a listener takes routes from the endpoint's namespace.
fn takes_routes(endpoint: &Endpoint, listener: &Listener) -> bool {
    match listener.allowed {
        Allowed::All | Allowed::Selected => true,
        Allowed::OwnNamespace => listener.namespace == endpoint.owner.name.namespace,
        Allowed::NotSelected => false,
    }
}

/// Whether a listener for a host name serves one of these; without any, it serves its own.
fn meets(served: &str, hostnames: &[String]) -> bool {
    hostnames.is_empty() || hostnames.iter().any(|name| covers(served, name) || covers(name, served))
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}

/// The address of an endpoint behind an Ingress: its first host name, without any the address that its controller has given it.
pub(super) fn ingress_url(endpoint: &Endpoint, ingress: &Ingress, address: Option<&str>) -> Option<String> {
    let scheme = if ingress.tls_secret_name.is_some() { "https" } else { "http" };
    let host = match endpoint.hostnames.as_slice() {
        [] => in_url(address?),
        names => names.iter().find(|name| is_one(name))?.clone(),
    };
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
    is_http
        && takes_routes(endpoint, listener)
        && parents.iter().any(|parent| names(endpoint, parent, listener))
        && host(endpoint, listener).is_some()
}

fn is_of(endpoint: &Endpoint, parent: &ParentReference, listener: &Listener) -> bool {
    let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
    parent.name == listener.gateway && namespace == listener.namespace
}

fn names(endpoint: &Endpoint, parent: &ParentReference, listener: &Listener) -> bool {
    is_of(endpoint, parent, listener) && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
}

/// The host that senders use at this listener: a name that both allow, without any the Gateway's address. Of a wildcard
/// nobody can tell from here which of its names lead to the gateway.
fn host(endpoint: &Endpoint, listener: &Listener) -> Option<String> {
    let mut names = endpoint.hostnames.iter();
    match &listener.hostname {
        None if endpoint.hostnames.is_empty() => listener.address.as_deref().map(in_url),
        None => names.find(|name| is_one(name)).cloned(),
        Some(served) if is_one(served) => meets(served, &endpoint.hostnames).then(|| served.clone()),
        Some(served) => names.find(|name| is_one(name) && covers(served, name)).cloned(),
    }
}

/// Whether it is one name and no wildcard.
fn is_one(name: &str) -> bool {
    !name.starts_with("*.")
}

/// An address as it stands in a URL: one of IPv6 between brackets (RFC 3986, section 3.2.2).
fn in_url(address: &str) -> String {
    if address.parse::<Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.to_owned() }
}

fn covers(served: &str, name: &str) -> bool {
    served == name || served.strip_prefix('*').is_some_and(|domain| name.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::webhook::{References, validate};

    const ROUTE: &str = "{parentRefs: [{name: edge, namespace: gateways}], hostnames: [hooks.example]}";

    /// The Webhook `shop/stripe` with this route.
    fn endpoint(route: &str) -> Endpoint {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {route}, verify: {{none: {{}}}}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        validate(&webhook, &References::default(), &serde_saphyr::from_str(settings).unwrap()).unwrap()
    }

    fn listener(protocol: &str, hostname: Option<&str>) -> Listener {
        Listener {
            namespace: "gateways".into(),
            gateway: "edge".into(),
            name: protocol.to_lowercase(),
            protocol: protocol.into(),
            port: if protocol == "HTTPS" { 443 } else { 8080 },
            hostname: hostname.map(str::to_owned),
            address: Some("192.0.2.1".into()),
            allowed: Allowed::All,
        }
    }

    #[test]
    fn a_listener_that_cannot_serve_the_endpoint_is_told_before_anybody_is_blamed() {
        let endpoint = endpoint(ROUTE);
        let Entry::Gateways(parents) = &endpoint.entry else { panic!("{endpoint:?}") };
        let complaint = |listeners: &[Listener]| no_listener(&endpoint, &parents[0], listeners);
        let selecting = |allowed| Listener { allowed, ..listener("HTTP", None) };
        let closed = selecting(Allowed::OwnNamespace);
        for (listeners, expected) in [
            (vec![], None),
            (vec![listener("HTTP", None)], None),
            (vec![listener("HTTP", Some("*.example"))], None),
            (vec![closed.clone(), listener("HTTPS", Some("hooks.example"))], None),
            (vec![listener("TCP", None)], Some("has no listener for HTTP or HTTPS")),
            (vec![closed], Some("takes no routes from the namespace \"shop\": allowedRoutes")),
            (
                vec![selecting(Allowed::NotSelected)],
                Some("takes no routes from the namespace \"shop\": it does not have"),
            ),
            (vec![selecting(Allowed::NotSelected), selecting(Allowed::Selected)], None),
            (
                vec![listener("HTTP", Some("other.example"))],
                Some("serves \"other.example\", and not \"hooks.example\""),
            ),
        ] {
            let told = complaint(&listeners);
            assert_eq!(told.is_some(), expected.is_some(), "{listeners:?}");
            assert!(told.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{listeners:?}");
        }
        let mut parent = parents[0].clone();
        parent.section_name = Some("web".into());
        let told = no_listener(&endpoint, &parent, &[listener("HTTP", None), listener("HTTPS", None)]);
        assert_eq!(told.as_deref(), Some("has no listener \"web\"; it has: \"http\", \"https\""));
    }

    #[test]
    fn the_url_is_that_of_the_listener_that_serves_the_host() {
        let endpoint = endpoint(ROUTE);
        let cases = [
            (vec![], None),
            (vec![listener("HTTP", None)], Some("http://hooks.example:8080/shop/stripe")),
            (vec![listener("HTTP", None), listener("HTTPS", None)], Some("https://hooks.example/shop/stripe")),
            (vec![listener("HTTPS", Some("*.example"))], Some("https://hooks.example/shop/stripe")),
            (vec![listener("HTTPS", Some("other.example"))], None),
            (vec![listener("TCP", None)], None),
            (vec![Listener { allowed: Allowed::NotSelected, ..listener("HTTP", None) }], None),
        ];
        for (listeners, expected) in cases {
            assert_eq!(url(&endpoint, &listeners).as_deref(), expected, "{listeners:?}");
        }
    }

    #[test]
    fn the_url_has_a_host_that_senders_can_use() {
        let at = |address: &str| Listener { address: Some(address.into()), ..listener("HTTPS", None) };
        let listener = |hostname| listener("HTTPS", Some(hostname));
        for (hostnames, listener, expected) in [
            ("", at("2001:db8::1"), Some("[2001:db8::1]")),
            ("", at("192.0.2.1"), Some("192.0.2.1")),
            ("", at("lb.example"), Some("lb.example")),
            ("", listener("*.example"), None),
            ("", listener("a.example"), Some("a.example")),
            ("'*.example'", at("192.0.2.1"), None),
            ("'*.example', hooks.example", at("192.0.2.1"), Some("hooks.example")),
            ("'*.example'", listener("a.example"), Some("a.example")),
            ("'*.example'", listener("*.example"), None),
            ("'*.example', hooks.example", listener("*.example"), Some("hooks.example")),
        ] {
            let route = format!("{{parentRefs: [{{name: edge, namespace: gateways}}], hostnames: [{hostnames}]}}");
            let endpoint = endpoint(&route);
            let expected = expected.map(|host| format!("https://{host}/shop/stripe"));
            assert_eq!(url(&endpoint, std::slice::from_ref(&listener)), expected, "{hostnames} at {listener:?}");
        }
    }

    #[test]
    fn the_url_behind_an_ingress_has_a_host_that_senders_can_use() {
        for (hostnames, address, expected) in [
            ("", None, None),
            ("", Some("2001:db8::1"), Some("[2001:db8::1]")),
            ("", Some("lb.example"), Some("lb.example")),
            ("'*.example', hooks.example", Some("192.0.2.1"), Some("hooks.example")),
            ("'*.example'", Some("192.0.2.1"), None),
        ] {
            let route = format!("{{ingress: {{className: nginx}}, hostnames: [{hostnames}]}}");
            let endpoint = endpoint(&route);
            let Entry::Ingress(ingress) = &endpoint.entry else { panic!("{endpoint:?}") };
            let expected = expected.map(|host| format!("http://{host}/shop/stripe"));
            assert_eq!(ingress_url(&endpoint, ingress, address), expected, "{hostnames} at {address:?}");
        }
    }
}
