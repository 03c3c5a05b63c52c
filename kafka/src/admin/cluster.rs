//! Who the Kafka cluster is.

use super::Admin;
use crate::{Error, native};

/// A Kafka cluster, as one of its brokers describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The id that the cluster got when it was formatted; the same under every name and address.
    pub id: String,
    /// A broker that takes admin requests. Without `ZooKeeper` any broker does, and this may be a different one each time.
    pub controller: Option<i32>,
    /// The brokers that are up.
    pub brokers: Vec<Broker>,
}

/// A broker, at the address that it advertises to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Its `broker.rack`, where it has one.
    pub rack: Option<String>,
}

impl Admin {
    /// Describes the cluster (Kafka's Metadata request).
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let event = self.request("describe the cluster", false, native::describe_cluster).await?;
        Ok(native::cluster_description(&event))
    }
}
