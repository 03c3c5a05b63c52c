//! The processes of a cluster: the closed set of them, one file each, which says how it is started and when it is ready.

mod apiserver;
pub(crate) mod containerd;
pub(crate) mod contour;
mod controller_manager;
pub(crate) mod coredns;
mod envoy;
mod etcd;
pub(crate) mod kafka;
mod kube_proxy;
mod kubelet;
mod mounts;
mod scheduler;
mod schema_registry;

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::build::Program;
use crate::readiness::Probe;
use crate::site::Site;

pub(crate) use kubelet::NODE;

/// In the order in which they are stopped and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Component {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
    Mounts,
    Containerd,
    Kubelet,
    KubeProxy,
    Coredns,
    Kafka,
    #[value(name = "kafka-1")]
    Kafka1,
    #[value(name = "kafka-2")]
    Kafka2,
    #[value(name = "kafka-3")]
    Kafka3,
    KafkaSecured,
    SchemaRegistry,
    Contour,
    Envoy,
}

/// How a component is started, and how one sees that it can be used.
pub(crate) struct Launch {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) place: Place,
    pub(crate) ready: Vec<Probe>,
}

/// Which of the cluster's namespaces a component lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Network,
    /// Also the mounts of the node, which only containers and those who make them see.
    NetworkAndMounts,
}

impl Component {
    pub const ALL: [Self; 17] = [
        Self::Etcd,
        Self::Apiserver,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Mounts,
        Self::Containerd,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Coredns,
        Self::Kafka,
        Self::Kafka1,
        Self::Kafka2,
        Self::Kafka3,
        Self::KafkaSecured,
        Self::SchemaRegistry,
        Self::Contour,
        Self::Envoy,
    ];

    /// The brokers of [`Part::KafkaReplicated`](crate::Part::KafkaReplicated).
    pub const REPLICATED: [Self; 3] = [Self::Kafka1, Self::Kafka2, Self::Kafka3];

    /// The name of its log and of its process record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Mounts => "mounts",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Coredns => "coredns",
            Self::Kafka => "kafka",
            Self::Kafka1 => "kafka-1",
            Self::Kafka2 => "kafka-2",
            Self::Kafka3 => "kafka-3",
            Self::KafkaSecured => "kafka-secured",
            Self::SchemaRegistry => "schema-registry",
            Self::Contour => "contour",
            Self::Envoy => "envoy",
        }
    }

    /// Writes the component's configuration and says how to start it. For one that runs it changes nothing.
    pub(crate) fn prepare(self, site: &Site) -> Result<Launch> {
        match self {
            Self::Etcd => Ok(etcd::prepare(site)),
            Self::Apiserver => apiserver::prepare(site),
            Self::ControllerManager => Ok(controller_manager::prepare(site)),
            Self::Scheduler => Ok(scheduler::prepare(site)),
            Self::Mounts => mounts::prepare(site),
            Self::Containerd => containerd::prepare(site),
            Self::Kubelet => kubelet::prepare(site),
            Self::KubeProxy => kube_proxy::prepare(site),
            Self::Coredns => coredns::prepare(site),
            Self::Kafka => kafka::alone(site),
            Self::Kafka1 => kafka::first(site),
            Self::Kafka2 => kafka::second(site),
            Self::Kafka3 => kafka::third(site),
            Self::KafkaSecured => kafka::secured(site),
            Self::SchemaRegistry => Ok(schema_registry::prepare(site)),
            Self::Contour => contour::prepare(site),
            Self::Envoy => envoy::prepare(site),
        }
    }

    pub(crate) fn log(self, site: &Site) -> PathBuf {
        site.path("logs").join(format!("{}.log", self.name()))
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Launch {
    fn new(command: Vec<String>) -> Self {
        Self { command, environment: Vec::new(), place: Place::Network, ready: Vec::new() }
    }

    /// A component of the Kubernetes binary.
    fn kubernetes<const N: usize>(site: &Site, component: &str, flags: [String; N]) -> Self {
        let binary = site.program(Program::Kubernetes).join("kubernetes").display().to_string();
        Self::new([binary, component.to_owned()].into_iter().chain(flags).collect())
    }

    fn among_the_mounts(mut self) -> Self {
        self.place = Place::NetworkAndMounts;
        self
    }

    fn ready_when<const N: usize>(mut self, probes: [Probe; N]) -> Self {
        self.ready.extend(probes);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_component_has_a_name_of_its_own_and_is_listed() {
        let names: BTreeSet<_> = Component::ALL.iter().map(|component| component.name()).collect();
        assert_eq!(names.len(), Component::value_variants().len());
    }

    #[test]
    fn the_command_line_calls_a_component_by_the_name_of_its_log() {
        for component in Component::ALL {
            assert_eq!(component.to_possible_value().unwrap().get_name(), component.name());
        }
    }
}
