//! Kafka's brokers: one that stands alone, three that are one cluster, and one that lets nobody in without a login. Each is a
//! controller too, and reached under the same addresses from the machine and from pods.

mod acls;
mod secured;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Component, Launch};
use crate::build::Program;
use crate::readiness::Probe;
use crate::site::{KAFKA_PORT, Site};
use crate::template::{fill, write};

pub(crate) use acls::create as create_acl;
pub(crate) use secured::USERS;

pub(crate) const SETTINGS: &str = include_str!("../../../components/kafka/server.properties");
pub(crate) const LOGGING: &str = include_str!("../../../components/kafka/log4j2.properties");

/// All names that a broker knows. It asks for the name of its own address at every login, and the cluster's network has no DNS
/// to say that there is none: each login would take 10 s.
pub(crate) const HOSTS: &str = "127.0.0.1 localhost\n";

/// Where the three brokers of one cluster listen, and their controllers.
pub(crate) const REPLICATED_PORTS: [u16; 3] = [9111, 9112, 9113];
const REPLICATED_CONTROLLERS: [u16; 3] = [9121, 9122, 9123];

/// Where the secured broker listens: for anybody, with a login over TLS, with a certificate.
pub(crate) const OPEN_PORT: u16 = 9131;
pub(crate) const LOGIN_PORT: u16 = 9132;
pub(crate) const CERTIFICATE_PORT: u16 = 9133;

/// One broker of a Kafka cluster.
#[derive(Clone, Copy)]
struct Broker {
    component: Component,
    /// The Kafka cluster, as the folder of its id.
    cluster: &'static str,
    /// Its number, from 1.
    node: usize,
    /// The ports of all controllers of its cluster, in the order of the nodes.
    controllers: &'static [u16],
    /// The first one takes anybody.
    listeners: &'static [(&'static str, u16)],
}

const ALONE: Broker = Broker {
    component: Component::Kafka,
    cluster: "kafka",
    node: 1,
    controllers: &[9093],
    listeners: &[("PLAINTEXT", KAFKA_PORT)],
};

const FIRST: Broker = Broker {
    component: Component::Kafka1,
    cluster: "kafka-replicated",
    node: 1,
    controllers: &REPLICATED_CONTROLLERS,
    listeners: &[("PLAINTEXT", REPLICATED_PORTS[0])],
};

const SECURED: Broker = Broker {
    component: Component::KafkaSecured,
    cluster: "kafka-secured",
    node: 1,
    controllers: &[9134],
    listeners: &[("PLAINTEXT", OPEN_PORT), ("LOGIN", LOGIN_PORT), ("CERTIFICATE", CERTIFICATE_PORT)],
};

pub(super) fn alone(site: &Site) -> Result<Launch> {
    prepare(site, ALONE, "")
}

pub(super) fn first(site: &Site) -> Result<Launch> {
    prepare(site, FIRST, "")
}

pub(super) fn second(site: &Site) -> Result<Launch> {
    let listeners = &[("PLAINTEXT", REPLICATED_PORTS[1])];
    prepare(site, Broker { component: Component::Kafka2, node: 2, listeners, ..FIRST }, "")
}

pub(super) fn third(site: &Site) -> Result<Launch> {
    let listeners = &[("PLAINTEXT", REPLICATED_PORTS[2])];
    prepare(site, Broker { component: Component::Kafka3, node: 3, listeners, ..FIRST }, "")
}

pub(super) fn secured(site: &Site) -> Result<Launch> {
    prepare(site, SECURED, &secured::settings(site))
}

/// Where lines stand that are added to a broker's configuration file.
pub(crate) fn added_settings(site: &Site, component: Component) -> std::path::PathBuf {
    site.path(component.name()).join("added.properties")
}

fn prepare(site: &Site, broker: Broker, secured: &str) -> Result<Launch> {
    let name = broker.component.name();
    let (folder, data) = (site.path(name), site.path("data").join(name));
    let added = fs::read_to_string(added_settings(site, broker.component)).unwrap_or_default();
    let listeners = broker.listeners.iter().map(|(name, port)| format!("{name}://{}", site.listener(*port)));
    let listeners = listeners.collect::<Vec<_>>().join(",");
    let settings = settings(broker.node, broker.controllers, &listeners, &data);
    write(&folder.join("server.properties"), &format!("{settings}{secured}\n{added}"))?;
    write(&folder.join("log4j2.properties"), LOGGING)?;
    write(&folder.join("hosts"), HOSTS)?;
    if !data.exists() {
        let formatted = if secured.is_empty() { "data" } else { "secured" };
        format(site, broker, &site.program(Program::KafkaClasses).join(formatted), &data)?;
    }
    // The archive is bound to the paths of the jars it was made from: the ones in the cache, not the cluster's link.
    let jars = fs::canonicalize(site.program(Program::Kafka)).context("find Kafka's jars")?;
    let archive = site.program(Program::KafkaClasses).join("classes.jsa");
    let sharing = format!("-XX:SharedArchiveFile={}", archive.display());
    let command = java_arguments(&sharing, &jars, &folder);
    Ok(Launch::new(command).ready_when([Probe::Kafka(site.listener(broker.listeners[0].1), broker.node)]))
}

/// The broker's configuration file. All controllers are inside the cluster's network.
pub(crate) fn settings(node: usize, controllers: &[u16], listeners: &str, data: &Path) -> String {
    let voters = controllers.iter().enumerate().map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1));
    let voters = voters.collect::<Vec<_>>().join(",");
    let values = [
        ("node", node.to_string()),
        ("voters", voters),
        ("listeners", listeners.to_owned()),
        ("controller_port", controllers[node - 1].to_string()),
        ("brokers", controllers.len().to_string()),
        ("data", data.display().to_string()),
    ];
    fill(SETTINGS, &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// The broker's command line, for the configuration files in that folder.
pub(crate) fn java_arguments(sharing: &str, jars: &Path, folder: &Path) -> Vec<String> {
    vec![
        "java".into(),
        "-Xmx512m".into(),
        "-XX:+UseSerialGC".into(),
        "-XX:TieredStopAtLevel=1".into(),
        sharing.into(),
        format!("-Djdk.net.hosts.file={}", folder.join("hosts").display()),
        format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()),
        "-cp".into(),
        jars.join("*").display().to_string(),
        "kafka.Kafka".into(),
        folder.join("server.properties").display().to_string(),
    ]
}

/// Copies a formatted folder and gives it identities of its own, as formatting anew would, without the second it takes.
fn format(site: &Site, broker: Broker, formatted: &Path, data: &Path) -> Result<()> {
    let (node, cluster, directory) = (broker.node, cluster_id(site, broker.cluster)?, random_id()?);
    let properties = format!("version=1\nnode.id={node}\ncluster.id={cluster}\ndirectory.id={directory}\n");
    let checkpoint = "bootstrap.checkpoint";
    write(&data.join("meta.properties"), &properties)?;
    fs::copy(formatted.join(checkpoint), data.join(checkpoint)).context("copy Kafka's formatted folder")?;
    Ok(())
}

/// All brokers of a Kafka cluster have the same one.
fn cluster_id(site: &Site, cluster: &str) -> Result<String> {
    let file = site.path("kafka-clusters").join(cluster);
    if !file.exists() {
        write(&file, &random_id()?)?;
    }
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// A version 4 UUID in Kafka's writing; a leading dash would be taken for an option by its tools.
fn random_id() -> Result<String> {
    loop {
        let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("ask the kernel for a UUID")?;
        let id = URL_SAFE_NO_PAD.encode(hex::decode(text.trim().replace('-', ""))?);
        if !id.starts_with('-') {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_kafka_writes_it() {
        let id = random_id().unwrap();
        assert_eq!(id.len(), 22);
        assert_ne!(id, random_id().unwrap());
    }

    #[test]
    fn clients_are_sent_to_the_address_they_came_to() {
        let settings = settings(1, &[9093], "PLAINTEXT://10.200.0.2:9092", Path::new("/data"));
        assert!(settings.contains("\nadvertised.listeners=PLAINTEXT://10.200.0.2:9092\n"));
        assert!(settings.contains("\nlisteners=PLAINTEXT://10.200.0.2:9092,CONTROLLER://127.0.0.1:9093\n"));
    }

    #[test]
    fn brokers_of_one_cluster_know_each_others_controllers() {
        let settings = settings(2, &REPLICATED_CONTROLLERS, "PLAINTEXT://10.200.0.2:9112", Path::new("/data"));
        assert!(settings.contains("\nnode.id=2\n"));
        assert!(settings.contains("\ncontroller.quorum.voters=1@127.0.0.1:9121,2@127.0.0.1:9122,3@127.0.0.1:9123\n"));
        assert!(settings.contains(",CONTROLLER://127.0.0.1:9122\n"));
    }
}
