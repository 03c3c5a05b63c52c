//! Kafka: one broker that is its own controller, reached under one address from the machine and from pods.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Launch;
use crate::build::Program;
use crate::readiness::Probe;
use crate::site::{KAFKA_PORT, Site};
use crate::template::{fill, write};

pub(crate) const SETTINGS: &str = include_str!("../../components/kafka/server.properties");
pub(crate) const LOGGING: &str = include_str!("../../components/kafka/log4j2.properties");

const CONTROLLER_PORT: u16 = 9093;

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    let data = site.path("data/kafka");
    let broker = site.listener(KAFKA_PORT);
    write(&site.path("kafka/server.properties"), &settings(broker, CONTROLLER_PORT, &data))?;
    write(&site.path("kafka/log4j2.properties"), LOGGING)?;
    if !data.exists() {
        format(&site.program(Program::KafkaClasses).join("data"), &data)?;
    }
    // The archive is bound to the paths of the jars it was made from: the ones in the cache, not the cluster's link.
    let jars = fs::canonicalize(site.program(Program::Kafka)).context("find Kafka's jars")?;
    let archive = site.program(Program::KafkaClasses).join("classes.jsa");
    let sharing = format!("-XX:SharedArchiveFile={}", archive.display());
    let command = java_arguments(&sharing, &jars, &site.path("kafka"));
    Ok(Launch::new(command).ready_when([Probe::Kafka(broker)]))
}

/// The broker's configuration file.
pub(crate) fn settings(broker: SocketAddrV4, controller_port: u16, data: &Path) -> String {
    let (broker, port) = (broker.to_string(), controller_port.to_string());
    fill(SETTINGS, &[("broker", &broker), ("controller_port", &port), ("data", &data.display().to_string())])
}

/// The broker's command line, for the configuration files in that folder.
pub(crate) fn java_arguments(sharing: &str, jars: &Path, folder: &Path) -> Vec<String> {
    vec![
        "java".into(),
        "-Xmx512m".into(),
        "-XX:+UseSerialGC".into(),
        "-XX:TieredStopAtLevel=1".into(),
        sharing.into(),
        format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()),
        "-cp".into(),
        jars.join("*").display().to_string(),
        "kafka.Kafka".into(),
        folder.join("server.properties").display().to_string(),
    ]
}

/// Copies a formatted folder and gives it identities of its own, as formatting anew would, without the second it takes.
fn format(formatted: &Path, data: &Path) -> Result<()> {
    let properties = format!("version=1\nnode.id=1\ncluster.id={}\ndirectory.id={}\n", random_id()?, random_id()?);
    let checkpoint = "bootstrap.checkpoint";
    write(&data.join("meta.properties"), &properties)?;
    fs::copy(formatted.join(checkpoint), data.join(checkpoint)).context("copy Kafka's formatted folder")?;
    Ok(())
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
        let settings = settings("10.200.0.2:9092".parse().unwrap(), 9093, Path::new("/data"));
        assert!(settings.contains("\nadvertised.listeners=PLAINTEXT://10.200.0.2:9092\n"));
        assert!(settings.contains("\nlisteners=PLAINTEXT://10.200.0.2:9092,CONTROLLER://127.0.0.1:9093\n"));
    }
}
