//! Judges addresses that a resource has called.

use std::net::IpAddr;

use http::Uri;
use sluice_crds::Settings;

use crate::Rejection;

/// What is wrong with an address, as far as it says itself: names are judged when they are resolved.
pub(crate) fn complaint(field: &str, url: &str, settings: &Settings) -> Option<Rejection> {
    let uri = match url.parse::<Uri>() {
        Ok(uri) => uri,
        Err(error) => return Some(Rejection::invalid(field, format!("{url:?} is no address: {error}"))),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some(Rejection::invalid(field, "an address must not carry a user or a password"));
    }
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return Some(Rejection::invalid(field, format!("{url:?} names no host")));
    };
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
    settings.outgoing.check(literal).err().map(|refused| Rejection::invalid(field, refused.to_string()))
}
