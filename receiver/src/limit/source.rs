//! Where a request came from. Each proxy on the way adds the address that it sees to `X-Forwarded-For`, so that entries are to be
//! believed from the end on, as many as there are proxies to be trusted; what stands before them anybody may have written.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// Who shares a limit: an IPv4 address, or an IPv6 network of 64 bits, of which one machine may use every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

const FORWARDED: &str = "x-forwarded-for";

impl Source {
    /// The source of a request that came from `peer` through proxies that are trusted, `peer` being the last of them.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted_hops: u8) -> Self {
        let forwarded = trusted_hops.checked_sub(1).and_then(|skipped| forwarded(headers, skipped.into()));
        Self::from(forwarded.unwrap_or(peer))
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(*address.octets().first_chunk().expect("an address has 16 bytes")),
        }
    }
}

/// The entry that stands so far from the end; the first one where there are fewer: somebody left out the outermost proxies.
fn forwarded(headers: &HeaderMap, from_end: usize) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED).iter().rev().filter_map(|line| line.to_str().ok());
    let entries = lines.flat_map(|line| line.rsplit(','));
    address(entries.take(from_end + 1).last()?.trim())
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PEER: &str = "10.0.0.9";

    fn source(forwarded: &[&str], trusted_hops: u8) -> Source {
        let name: http::HeaderName = FORWARDED.parse().unwrap();
        let headers = forwarded.iter().map(|value| (name.clone(), value.parse().unwrap())).collect();
        Source::of(PEER.parse().unwrap(), &headers, trusted_hops)
    }

    fn of(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_source_is_what_the_last_trusted_proxy_saw() {
        for (forwarded, trusted_hops, expected) in [
            (vec![], 1, PEER),
            (vec!["192.0.2.1"], 0, PEER),
            (vec!["192.0.2.1"], 1, "192.0.2.1"),
            // What a sender writes itself is not believed.
            (vec!["198.51.100.7, 192.0.2.1"], 1, "192.0.2.1"),
            (vec!["198.51.100.7", "192.0.2.1"], 1, "192.0.2.1"),
            (vec!["198.51.100.7, 192.0.2.1,10.0.0.1"], 2, "192.0.2.1"),
            (vec!["198.51.100.7, 192.0.2.1", "10.0.0.1"], 2, "192.0.2.1"),
            (vec!["192.0.2.1"], 2, "192.0.2.1"),
            (vec!["192.0.2.1:4711"], 1, "192.0.2.1"),
            (vec!["[2001:db8::1]:4711"], 1, "2001:db8::1"),
            (vec!["[2001:db8::1]"], 1, "2001:db8::1"),
            (vec!["2001:db8::1"], 1, "2001:db8::1"),
            (vec!["unknown"], 1, PEER),
            (vec![""], 1, PEER),
        ] {
            assert_eq!(source(&forwarded, trusted_hops), of(expected), "{forwarded:?} {trusted_hops}");
        }
    }

    #[test]
    fn addresses_of_one_network_of_64_bits_are_one_source() {
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::7"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_header_has_a_source(lines in vec("[ -~]{0,40}", 0..4), trusted_hops in any::<u8>()) {
            source(&lines.iter().map(String::as_str).collect::<Vec<_>>(), trusted_hops);
        }

        #[test]
        fn nothing_before_the_last_entry_changes_the_source(before in "[0-9a-f:., \\[\\]]{0,40}") {
            prop_assert_eq!(source(&[&format!("{before},192.0.2.1")], 1), of("192.0.2.1"));
            prop_assert_eq!(source(&[&before, "192.0.2.1"], 1), of("192.0.2.1"));
        }
    }
}
