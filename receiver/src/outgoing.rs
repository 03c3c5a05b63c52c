//! Calls that leave the pod: which addresses they may reach. A name is resolved once and the address that was judged is the one
//! that is used, so that a name cannot mean another address a moment later.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// Which addresses may be called beside those of other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// None: loopback is where sidecars listen, link-local where clouds give out credentials.
    OtherMachines,
    /// This one as well.
    Loopback,
}

/// The address is none that may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is an address of this machine, its link or its cloud's metadata, which is not called")]
pub(crate) struct Forbidden(IpAddr);

/// AWS gives out credentials here over IPv6.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Reach {
    pub(crate) fn check(self, address: IpAddr) -> Result<(), Forbidden> {
        let canonical = address.to_canonical();
        let loopback = canonical.is_loopback() && self != Self::Loopback;
        if loopback || is_local(canonical) { Err(Forbidden(address)) } else { Ok(()) }
    }
}

/// Addresses that never are another machine's service.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address == Ipv4Addr::BROADCAST
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address == METADATA_V6
        }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = found.iter().copied().filter(|address| reach.check(address.ip()).is_ok()).collect();
            match (allowed.is_empty(), found.first()) {
                (true, Some(address)) => Err(io::Error::other(Forbidden(address.ip())).into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_machines_are_called() {
        for (address, reach, expected) in [
            ("10.0.0.1", Reach::OtherMachines, true),
            ("2001:db8::1", Reach::OtherMachines, true),
            ("127.0.0.1", Reach::OtherMachines, false),
            ("::1", Reach::OtherMachines, false),
            ("::ffff:127.0.0.1", Reach::OtherMachines, false),
            ("127.0.0.1", Reach::Loopback, true),
            ("169.254.169.254", Reach::Loopback, false),
            ("::ffff:169.254.169.254", Reach::Loopback, false),
            ("fe80::1", Reach::Loopback, false),
            ("fd00:ec2::254", Reach::Loopback, false),
            ("0.0.0.0", Reach::Loopback, false),
            ("::", Reach::Loopback, false),
        ] {
            assert_eq!(reach.check(address.parse().unwrap()).is_ok(), expected, "{address} {reach:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_not_resolved() {
        let name = || "localhost".parse().unwrap();
        let refused = Reach::OtherMachines.resolve(name()).await.err().unwrap();
        assert!(refused.to_string().contains("is an address of this machine"), "{refused}");
        assert!(Reach::Loopback.resolve(name()).await.unwrap().count() > 0);
    }
}
