//! What a machine needs to have before anything is started, all that is missing named at once.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::part::{Part, Parts};

/// A file or program, the Debian package it comes in, and the part that needs it.
struct Need {
    what: &'static str,
    package: &'static str,
    parts: &'static [Part],
}

const EVERYTHING: &[Part] = &Part::ALL;
const IN_GO: &[Part] = &[Part::ControlPlane];
const IN_JAVA: &[Part] = &[Part::Kafka, Part::KafkaReplicated, Part::KafkaSecured, Part::SchemaRegistry];

const NEEDS: [Need; 14] = [
    Need { what: "ip", package: "iproute2", parts: EVERYTHING },
    Need { what: "nsenter", package: "util-linux", parts: EVERYTHING },
    Need { what: "setsid", package: "util-linux", parts: EVERYTHING },
    Need { what: "bash", package: "bash", parts: EVERYTHING },
    Need { what: "go", package: "none: Go 1.26 from go.dev/dl", parts: IN_GO },
    Need { what: "java", package: "openjdk-17-jre-headless", parts: IN_JAVA },
    Need { what: "mvn", package: "maven", parts: IN_JAVA },
    Need { what: "containerd", package: "containerd", parts: &[Part::Node] },
    Need { what: "runc", package: "runc", parts: &[Part::Node] },
    Need { what: "iptables", package: "iptables", parts: &[Part::Node] },
    Need { what: "/usr/lib/cni/ptp", package: "containernetworking-plugins", parts: &[Part::Node] },
    Need { what: "gcc", package: "gcc libc6-dev", parts: &[Part::Node] },
    Need { what: "strip", package: "binutils", parts: &[Part::Node] },
    Need { what: "python3", package: "python3 python3-pip", parts: &[Part::Gateway] },
];

/// Bits of `CapEff` in `/proc/self/status`, see capabilities(7).
const CAPABILITIES: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];

pub(crate) fn check(parts: &Parts) -> Result<()> {
    check_rights()?;
    let missing = missing(parts, is_there);
    ensure!(
        missing.is_empty(),
        "this machine lacks what a local cluster needs:\n{}\ninstall it with tests/cluster/prerequisites",
        missing
            .iter()
            .map(|need| format!("  {} (Debian package {})", need.what, need.package))
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}

/// Whether this process may make network namespaces, mounts and control groups.
pub(crate) fn check_rights() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read this process's rights")?;
    let lacking = lacking_rights(&status);
    ensure!(
        lacking.is_empty(),
        "a local cluster makes network namespaces, mounts and control groups; this process lacks {}: run it as root \
         (in a container: privileged)",
        lacking.join(" and ")
    );
    Ok(())
}

fn missing(parts: &Parts, is_there: impl Fn(&str) -> bool) -> Vec<&'static Need> {
    let needed = NEEDS.iter().filter(|need| need.parts.iter().any(|part| parts.has(*part)));
    needed.filter(|need| !is_there(need.what)).collect()
}

fn is_there(what: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = [Path::new("/usr/sbin"), Path::new("/sbin")].map(Path::to_owned);
    Path::new(what).is_absolute() && Path::new(what).exists()
        || env::split_paths(&path).chain(system).any(|folder| folder.join(what).is_file())
}

fn lacking_rights(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES.iter().filter(|(_, bit)| effective & (1 << bit) == 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(parts: &[Part], present: &[&str]) -> Vec<&'static str> {
        missing(&Parts::closed_over(parts), |what| present.contains(&what)).iter().map(|need| need.what).collect()
    }

    #[test]
    fn only_what_the_parts_need_is_asked_for() {
        assert_eq!(named(&[Part::Kafka], &["ip", "nsenter", "setsid", "bash", "java"]), ["mvn"]);
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        assert_eq!(named(&[Part::Gateway], &[]).len(), NEEDS.len() - 2);
    }

    #[test]
    fn a_plain_user_lacks_both_rights() {
        assert_eq!(lacking_rights("CapEff:\t0000000000000000\n"), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert_eq!(lacking_rights("CapEff:\t000001fffeffffff\n"), Vec::<&str>::new());
    }
}
