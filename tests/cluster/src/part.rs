//! The parts of a cluster that can be asked for, and what each one brings along.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// What a caller can ask for. A part brings along the parts it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// etcd, the API server and the controller manager: enough for everything that needs no pods.
    ControlPlane,
    /// One Kafka broker in `KRaft` mode.
    Kafka,
    /// Three Kafka brokers that are one cluster, for what has copies.
    KafkaReplicated,
    /// One Kafka broker with TLS, logins, client certificates and access control.
    KafkaSecured,
    /// A schema registry.
    SchemaRegistry,
    /// Scheduler, containerd, kubelet, kube-proxy and DNS: pods run.
    Node,
    /// The Gateway API's resource definitions, without anything that serves them.
    GatewayCrds,
    /// Contour and Envoy behind the Gateway `edge` in the namespace `gateways`.
    Gateway,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::ControlPlane,
        Self::Kafka,
        Self::KafkaReplicated,
        Self::KafkaSecured,
        Self::SchemaRegistry,
        Self::Node,
        Self::GatewayCrds,
        Self::Gateway,
    ];
    /// What Sluice needs to run, without what only tests of special cases do.
    pub const USUAL: [Self; 5] = [Self::ControlPlane, Self::Kafka, Self::Node, Self::GatewayCrds, Self::Gateway];

    fn needs(self) -> &'static [Self] {
        match self {
            Self::ControlPlane | Self::Kafka | Self::KafkaReplicated | Self::KafkaSecured | Self::SchemaRegistry => &[],
            Self::Node | Self::GatewayCrds => &[Self::ControlPlane],
            Self::Gateway => &[Self::Node, Self::GatewayCrds],
        }
    }
}

/// A set of parts that holds what each of its members needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts(BTreeSet<Part>);

impl Parts {
    pub(crate) fn closed_over(wanted: &[Part]) -> Self {
        let mut all = BTreeSet::new();
        let mut open = wanted.to_vec();
        while let Some(part) = open.pop() {
            if all.insert(part) {
                open.extend(part.needs());
            }
        }
        Self(all)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_brings_node_and_control_plane_but_no_kafka() {
        let parts = Parts::closed_over(&[Part::Gateway]);
        let expected = [Part::ControlPlane, Part::Node, Part::GatewayCrds, Part::Gateway];
        assert_eq!(parts, Parts(expected.into_iter().collect()));
    }

    #[test]
    fn kafka_stands_alone() {
        assert_eq!(Parts::closed_over(&[Part::Kafka]), Parts([Part::Kafka].into_iter().collect()));
    }
}
