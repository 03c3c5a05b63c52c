//! Kafka's jars, and what makes a broker start fast: an archive of its classes and a formatted data folder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Program;
use super::cache::{Recipe, Workshop};
use crate::components::kafka::{HOSTS, LOGGING, SETTINGS, USERS, java_arguments, settings};
use crate::process::{self, Signal};
use crate::readiness::{self, Probe};
use crate::template;

const POM: &str = include_str!("../../components/kafka/pom.xml");

/// A folder full of jars.
pub(super) fn obtain() -> Result<PathBuf> {
    let inputs = vec![("pom.xml", POM.to_owned())];
    Recipe { name: "kafka", inputs, takes: "about 20 s" }.obtain(|workshop| {
        workshop.write_source("pom.xml", POM)?;
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies"]);
        workshop.run(copy.arg(format!("-DoutputDirectory={}", workshop.out.display())))
    })
}

/// A folder with `classes.jsa`, and `data` and `secured` as `kafka-storage format` leaves them, one without and one with users. The archive is bound to the very files it
/// was made from, so the jars have to be at their final place first.
pub(super) fn obtain_classes() -> Result<PathBuf> {
    let jars = Program::Kafka.obtain()?;
    let java = process::run(Command::new("java").arg("--version"))?;
    let inputs = vec![("jars", jars.display().to_string()), ("java", java), ("settings", SETTINGS.to_owned())];
    let inputs = [inputs, vec![("users", format!("{USERS:?}"))]].concat();
    Recipe { name: "kafka-classes", inputs, takes: "about 10 s" }.obtain(|workshop| {
        let file = workshop.sources.join("server.properties");
        let [broker, controller, other] = free_addresses()?;
        let data = workshop.out.join("data");
        template::write(&workshop.sources.join("log4j2.properties"), LOGGING)?;
        template::write(&workshop.sources.join("hosts"), HOSTS)?;
        let settings = |data: &Path, controller| settings(1, &[controller], &format!("PLAINTEXT://{broker}"), data);
        let secured = workshop.sources.join("secured.properties");
        template::write(&secured, &settings(&workshop.out.join("secured"), other.port()))?;
        format(workshop, &jars, &secured, &users())?;
        template::write(&file, &settings(&data, controller.port()))?;
        format(workshop, &jars, &file, &[])?;
        let formatted = workshop.sources.join("formatted");
        workshop.run(Command::new("cp").arg("-r").arg(&data).arg(&formatted))?;
        run_once(workshop, &jars, broker)?;
        fs::remove_dir_all(&data).context("remove the data of the broker that ran once")?;
        fs::rename(&formatted, &data).context("keep the formatted folder")
    })
}

fn format(workshop: &Workshop, jars: &Path, file: &Path, users: &[String]) -> Result<()> {
    let mut format = Command::new("java");
    format.arg("-cp").arg(jars.join("*")).args(["kafka.tools.StorageTool", "format", "--cluster-id"]);
    workshop.run(format.args(["MkU3OEVBNTcwNTJENDM2Qg", "--config"]).arg(file).args(users))
}

/// Every user with both kinds of SCRAM.
fn users() -> Vec<String> {
    let user = |mechanism: &str, (name, password): (&str, &str)| {
        ["--add-scram".to_owned(), format!("{mechanism}=[name={name},password={password}]")]
    };
    let mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
    mechanisms.iter().flat_map(|mechanism| USERS.iter().flat_map(|name| user(mechanism, *name))).collect()
}

/// Starts the broker until it serves and ends it in peace: the virtual machine then writes the archive.
fn run_once(workshop: &Workshop, jars: &Path, broker: SocketAddrV4) -> Result<()> {
    let archive = workshop.out.join("classes.jsa");
    let log = workshop.sources.join("broker.log");
    let sharing = format!("-XX:ArchiveClassesAtExit={}", archive.display());
    let command = java_arguments(&sharing, jars, &workshop.sources);
    let process = process::start(&command, &[], &log)?;
    let served = readiness::wait(&process, &[Probe::Kafka(broker, 1)], Duration::from_mins(2), &log);
    process.signal(if served.is_ok() { Signal::TERM } else { Signal::KILL })?;
    let ended = process.wait_for_end(Duration::from_mins(1))?;
    served.context("run Kafka once")?;
    ensure!(ended && archive.exists(), "Kafka left no archive of its classes; its log is {}", log.display());
    Ok(())
}

/// They are listeners together: a port that is free again may be given a second time.
fn free_addresses() -> Result<[SocketAddrV4; 3]> {
    let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let listeners = [hold()?, hold()?, hold()?];
    let mut addresses = [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0); 3];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        address.set_port(listener.local_addr()?.port());
    }
    Ok(addresses)
}
