//! The cluster that demo and tests work on: a local one, or the one that `KUBECONFIG_EXTERNAL` names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cluster::Cluster;
use crate::external::External;
use crate::part::{Part, Parts};

/// The cluster that demo and tests work on.
#[derive(Clone, Debug)]
pub enum Target {
    /// One of this machine, made for it.
    Local(Cluster),
    /// One that was there before, and stays.
    External(External),
}

impl Target {
    /// The external cluster where the environment names one, else the local cluster of that name, with those parts.
    pub fn up(name: &str, parts: &[Part]) -> Result<Self> {
        match External::from_environment(&Parts::closed_over(parts))? {
            Some(external) => Ok(Self::External(external)),
            None => Cluster::up(name, parts).map(Self::Local),
        }
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Self::Local(cluster) => cluster.kubeconfig(),
            Self::External(external) => &external.kubectl().kubeconfig,
        }
    }

    /// The broker, the same from this machine and from pods.
    pub fn kafka_bootstrap(&self) -> Result<SocketAddr> {
        match self {
            Self::Local(cluster) => Ok(cluster.kafka_bootstrap().parse()?),
            Self::External(external) => external.kafka_bootstrap(),
        }
    }

    /// The HTTP listener of the Gateway `gateways/edge`.
    pub fn gateway_address(&self) -> Result<SocketAddr> {
        match self {
            Self::Local(cluster) => Ok(cluster.gateway_address()),
            Self::External(external) => external.gateway_address(),
        }
    }

    /// The API server's own log of requests, which only a local cluster shows.
    pub fn audit_log(&self) -> Option<PathBuf> {
        match self {
            Self::Local(cluster) => Some(cluster.audit_log()),
            Self::External(_) => None,
        }
    }

    /// Runs kubectl and returns what it printed.
    pub fn kubectl(&self, arguments: &[impl AsRef<str>]) -> Result<String> {
        match self {
            Self::Local(cluster) => cluster.kubectl(arguments),
            Self::External(external) => external.kubectl().run(arguments),
        }
    }

    /// Creates or updates manifests, server-side.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        match self {
            Self::Local(cluster) => cluster.apply(manifests),
            Self::External(external) => external.kubectl().apply(manifests),
        }
    }

    /// Makes an image of programs of this machine and gives it to the nodes; the first program is the entry point.
    pub fn load_image(&self, reference: &str, programs: &[&Path]) -> Result<()> {
        match self {
            Self::Local(cluster) => cluster.load_image(reference, programs).map(drop),
            Self::External(external) => external.load_image(reference, programs),
        }
    }
}
