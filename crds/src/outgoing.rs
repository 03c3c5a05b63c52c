//! Which addresses may be called from pods, whose owners write the names: the rules of the platform team, and what nobody calls
//! unless they say so.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Which addresses receivers and workers may call for a Webhook or an Integration. Loopback, link-local, multicast and
/// clouds' metadata addresses are not called unless `allow` names them; a name is judged by the addresses that it resolves to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutgoingCalls {
    /// Networks that may be called, whatever else is said about them. With `deny: ["0.0.0.0/0", "::/0"]` they are the only ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// Networks that may not be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Network>,
}

/// A network, `10.0.0.0/8` or `2001:db8::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network; write an address with or without the length of its prefix, as in 10.0.0.0/8 or 2001:db8::1"
)]
pub struct InvalidNetwork(String);

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Sidecars and the pod's own status listen there, or a cloud gives out credentials.
    #[error(
        "{0} is an address of this machine, its link or its cloud's metadata, which is not called unless `outgoing.allow` of the operator's configuration names it"
    )]
    Local(IpAddr),
    /// The platform team says so.
    #[error("{0} lies in {1}, which `outgoing.deny` of the operator's configuration names")]
    Denied(IpAddr, Network),
}

/// Where clouds give out credentials beside the link-local addresses: Azure, Alibaba, Oracle, AWS and Google over IPv6.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

impl OutgoingCalls {
    /// Whether an address may be called. An IPv6 address that only wraps an IPv4 address is judged as that one.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let inner = unwrapped(address);
        if self.allow.iter().any(|network| network.holds(inner)) {
            return Ok(());
        }
        if is_local(inner) || METADATA.contains(&inner) {
            return Err(Refused::Local(address));
        }
        let denied = self.deny.iter().find(|network| network.holds(inner) || network.holds(address));
        denied.map_or(Ok(()), |network| Err(Refused::Denied(address, *network)))
    }

    /// Whether nothing is said, so that the defaults apply.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped, or through a translator (NAT64) or relay (6to4).
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(address) = address.to_canonical() else { return address.to_canonical() };
    let [a, b, c, d] = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            [a, b, c, d]
        }
        _ => return address.into(),
    };
    Ipv4Addr::new(a, b, c, d).into()
}

/// Addresses that never are another machine's service.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.octets()[0] == 0
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified()
        }
    }
}

impl Network {
    /// Whether an address lies in it. One of IPv6 that only wraps one of IPv4 lies in no network of IPv4.
    pub fn holds(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| single()).map(Self).map_err(|_| InvalidNetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 64})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> OutgoingCalls {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        OutgoingCalls { allow: networks(allow), deny: networks(deny) }
    }

    fn is_called(rules: &OutgoingCalls, address: &str) -> bool {
        rules.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_other_machines_are_called() {
        let rules = OutgoingCalls::default();
        for address in
            ["10.0.0.1", "192.168.1.1", "1.1.1.1", "2001:db8::1", "fd00::1", "64:ff9b::a00:1", "2002:a00:1::1"]
        {
            assert!(is_called(&rules, address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "fe80::1",
            "169.254.169.254",
            "169.254.170.2",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "2002:a9fe:a9fe::1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(!is_called(&rules, address), "{address}");
        }
    }

    #[test]
    fn the_platform_team_may_allow_and_deny_and_allowing_is_stronger() {
        let sidecar = rules(&["127.0.0.0/8", "::1"], &[]);
        for (address, expected) in
            [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("::1", true), ("169.254.169.254", false)]
        {
            assert_eq!(is_called(&sidecar, address), expected, "{address}");
        }
        let only = rules(&["10.1.0.0/16"], &["0.0.0.0/0", "::/0"]);
        for (address, expected) in
            [("10.1.2.3", true), ("10.2.2.3", false), ("2001:db8::1", false), ("::ffff:10.1.2.3", true)]
        {
            assert_eq!(is_called(&only, address), expected, "{address}");
        }
        let message = only.check("10.2.2.3".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(message, "10.2.2.3 lies in 0.0.0.0/0, which `outgoing.deny` of the operator's configuration names");
    }

    #[test]
    fn networks_are_addresses_with_or_without_a_prefix() {
        for (text, expected) in [("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.1", "10.0.0.1/32"), ("::1", "::1/128")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), expected);
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "example.org", "10.0.0.0-10.0.0.9"] {
            assert!(text.parse::<Network>().unwrap_err().to_string().contains("10.0.0.0/8"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_network_that_reads_back_or_is_refused(text in "([0-9a-f:.]{0,20}|[ -~]{0,8})(/[0-9]{1,3})?") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            }
        }

        #[test]
        fn no_address_of_this_machine_is_called_however_it_is_wrapped([b, c, d] in any::<[u8; 3]>()) {
            let (high, low) = (u16::from_be_bytes([127, b]), u16::from_be_bytes([c, d]));
            for address in [
                format!("127.{b}.{c}.{d}"),
                format!("::ffff:127.{b}.{c}.{d}"),
                format!("64:ff9b::{high:x}:{low:x}"),
                format!("2002:{high:x}:{low:x}::1"),
            ] {
                prop_assert!(!is_called(&OutgoingCalls::default(), &address), "{}", address);
            }
        }
    }
}
