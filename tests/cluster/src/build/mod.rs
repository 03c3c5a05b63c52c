//! Everything that is built or downloaded once per machine: the closed set of it, each by a pinned version.

pub(crate) mod cache;
mod contour;
mod coredns;
mod envoy;
mod gateway_api;
mod go;
mod kafka;
mod kubernetes;
mod pause;
mod schema_registry;

use std::path::PathBuf;

use anyhow::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Kubernetes,
    Coredns,
    Pause,
    Kafka,
    KafkaClasses,
    SchemaRegistry,
    GatewayApi,
    Contour,
    Envoy,
}

impl Program {
    /// The name of its folder in the cache and of the link to it in a cluster's folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Coredns => "coredns",
            Self::Pause => "pause",
            Self::Kafka => "kafka",
            Self::KafkaClasses => "kafka-classes",
            Self::SchemaRegistry => "schema-registry",
            Self::GatewayApi => "gateway-api",
            Self::Contour => "contour",
            Self::Envoy => "envoy",
        }
    }

    /// The folder in the cache that holds it; builds it the first time.
    pub(crate) fn obtain(self) -> Result<PathBuf> {
        match self {
            Self::Kubernetes => kubernetes::PROGRAM.obtain(),
            Self::Coredns => coredns::PROGRAM.obtain(),
            Self::Pause => pause::obtain(),
            Self::Kafka => kafka::obtain(),
            Self::KafkaClasses => kafka::obtain_classes(),
            Self::SchemaRegistry => schema_registry::obtain(),
            Self::GatewayApi => gateway_api::obtain(),
            Self::Contour => contour::PROGRAM.obtain(),
            Self::Envoy => envoy::obtain(),
        }
    }
}
