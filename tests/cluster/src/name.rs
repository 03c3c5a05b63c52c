//! The name of a cluster, judged once: it becomes part of a folder, a network namespace, a cgroup and a node.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, ensure};

/// A DNS label of at most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The network namespace and the cgroup of the cluster.
    pub(crate) fn scoped(&self) -> String {
        format!("sluice-{}", self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=40).contains(&text.len()) && text.chars().all(allowed);
        let bounded = !text.starts_with('-') && !text.ends_with('-');
        ensure!(
            fits && bounded,
            "cluster name {text:?}: use 1 to 40 lower-case letters, digits and dashes, no dash at either end"
        );
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["demo", "t-1", "0", &"a".repeat(40)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "../x", "a b", &"a".repeat(41)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} must be refused");
        }
    }
}
