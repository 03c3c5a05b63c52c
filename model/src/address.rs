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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_an_address_or_is_refused(url in "(https?://)?([a-z0-9.:@%/?#]|\\[|\\]|[ -~]|\u{e9}){0,20}") {
            if let Some(complaint) = complaint("spec.sink.http.url", &url, &Settings::default()) {
                prop_assert_eq!(complaint.field, "spec.sink.http.url");
            }
        }

        #[test]
        fn no_address_of_this_machine_is_taken([b, c, d] in any::<[u8; 3]>(), port in "(:[0-9]{1,4})?", path in "[/?][a-z@:.]{0,8}") {
            for host in [format!("127.{b}.{c}.{d}"), format!("[::ffff:127.{b}.{c}.{d}]")] {
                let url = format!("http://{host}{port}{path}");
                prop_assert!(complaint("f", &url, &Settings::default()).is_some(), "{}", url);
            }
        }
    }
}
