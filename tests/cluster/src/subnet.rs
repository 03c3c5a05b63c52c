//! Chooses a /30 for a cluster that no route of the machine uses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Clusters take their /30s from 10.200.0.0/16; pods and services of every cluster are elsewhere, inside its namespace.
const POOL: u32 = u32::from_be_bytes([10, 200, 0, 0]);
const POOL_BLOCKS: u32 = 1 << 14;

/// Four addresses: the network, the host's end, the cluster's end, the broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet(u32);

/// A range of addresses that something on this machine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    first: u32,
    last: u32,
}

impl Subnet {
    /// The free /30 nearest to a place given by the name, so that a cluster tends to get the same one again.
    pub(crate) fn choose(name: &str, taken: &[Taken]) -> Result<Self> {
        let digest = Sha256::digest(name);
        let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        (0..POOL_BLOCKS)
            .map(|step| Self(POOL + 4 * (start.wrapping_add(step) % POOL_BLOCKS)))
            .find(|subnet| !taken.iter().any(|range| range.overlaps(*subnet)))
            .context("no /30 of 10.200.0.0/16 is free on this machine: see `ip -4 route show table all`")
    }

    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::from(self.0 + 1)
    }

    pub(crate) fn node(self) -> Ipv4Addr {
        Ipv4Addr::from(self.0 + 2)
    }
}

impl Taken {
    fn overlaps(self, subnet: Subnet) -> bool {
        self.first <= subnet.0 + 3 && subnet.0 <= self.last
    }

    fn parse(destination: &str) -> Option<Self> {
        let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let mask = u32::MAX.checked_shr(length.parse().ok()?).unwrap_or(0);
        Some(Self { first: address & !mask, last: address | mask })
    }
}

/// Reads the answer of `ip -json -4 route show table all`. The default route claims nothing.
pub(crate) fn taken_by_routes(json: &str) -> Result<Vec<Taken>> {
    let routes: Vec<Value> = serde_json::from_str(json).context("`ip -json route` gave no JSON list")?;
    let destinations = routes.iter().filter_map(|route| route["dst"].as_str());
    Ok(destinations.filter(|destination| *destination != "default").filter_map(Taken::parse).collect())
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/30", Ipv4Addr::from(self.0))
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Taken::parse(text) {
            Some(range) if range.last == range.first + 3 => Ok(Self(range.first)),
            _ => bail!("{text:?} is not a /30"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gets_the_same_subnet_on_a_quiet_machine() {
        let chosen = Subnet::choose("demo", &[]).unwrap();
        assert_eq!(chosen, Subnet::choose("demo", &[]).unwrap());
        assert_ne!(chosen, Subnet::choose("test", &[]).unwrap());
    }

    #[test]
    fn a_subnet_in_use_is_passed_over() {
        let first = Subnet::choose("demo", &[]).unwrap();
        let taken = taken_by_routes(&format!(r#"[{{"dst":"default"}},{{"dst":"{first}"}}]"#)).unwrap();
        let second = Subnet::choose("demo", &taken).unwrap();
        assert_eq!(second.0, first.0 + 4);
    }

    #[test]
    fn a_single_address_inside_a_subnet_takes_all_of_it() {
        let first = Subnet::choose("demo", &[]).unwrap();
        let taken = taken_by_routes(&format!(r#"[{{"dst":"{}"}}]"#, first.node())).unwrap();
        assert_ne!(Subnet::choose("demo", &taken).unwrap(), first);
    }

    #[test]
    fn a_full_pool_is_said_so() {
        let taken = taken_by_routes(r#"[{"dst":"10.0.0.0/8"}]"#).unwrap();
        assert!(Subnet::choose("demo", &taken).unwrap_err().to_string().contains("no /30"));
    }

    #[test]
    fn a_subnet_survives_being_written_down() {
        let subnet: Subnet = "10.200.7.8/30".parse().unwrap();
        assert_eq!((subnet.host().to_string(), subnet.node().to_string()), ("10.200.7.9".into(), "10.200.7.10".into()));
        assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
        assert!("10.200.7.8/24".parse::<Subnet>().is_err());
    }
}
