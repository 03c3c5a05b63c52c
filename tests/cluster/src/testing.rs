//! What tests need besides their code: clusters that they share and leave running for the next, one of a test's own that goes
//! with it, addresses that are free, and foreign programs that are set up once per machine.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

use crate::build::{Program, cache::Recipe};
use crate::{Cluster, Part, SecuredKafka, external};

/// Name of the cluster that tests share: `test`, or what `SLUICE_TEST_CLUSTER` says, so that two checkouts can be tested at once.
pub fn shared_name() -> String {
    env::var("SLUICE_TEST_CLUSTER").unwrap_or_else(|_| "test".to_owned())
}

/// `host:port` of the broker that tests share: the one that `KAFKA_EXTERNAL` names, else that of the shared cluster.
pub fn shared_kafka() -> &'static str {
    static ADDRESS: LazyLock<String> = LazyLock::new(|| {
        let of_cluster = || Cluster::up(&shared_name(), &[Part::Kafka]).expect("a broker for tests").kafka_bootstrap();
        external::kafka().unwrap_or_else(of_cluster)
    });
    &ADDRESS
}

/// An address of this machine at which nobody listens yet, and another one each time. It is none of those that the kernel gives to
/// connections: one of them could take it before the program listens there.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    free_address_of(Ipv4Addr::LOCALHOST.into())
}

/// The same where this machine is known by that address.
pub fn free_address_of(host: IpAddr) -> anyhow::Result<SocketAddr> {
    const PORTS: Range<u32> = 20_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes of tests begin at different places.
    let begin = process::id().wrapping_mul(97);
    for _ in PORTS {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((host, u16::try_from(PORTS.start + number)?));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("all ports of {PORTS:?} are taken")
}

/// A folder of the cache with these files and with what the commands, run among them, have added, such as the packages that a
/// lock file names. It is made once for the same files and commands.
pub fn prepared(
    name: &'static str,
    files: &[(&'static str, &str)],
    commands: &mut [Command],
) -> anyhow::Result<PathBuf> {
    let mut inputs: Vec<_> = files.iter().map(|(file, content)| (*file, (*content).to_owned())).collect();
    inputs.push(("commands", format!("{commands:?}")));
    Recipe { name, inputs, takes: "less than a minute" }.obtain(|workshop| {
        for (file, content) in files {
            workshop.write_source(file, content)?;
        }
        for command in commands {
            workshop.run(command)?;
        }
        for entry in fs::read_dir(&workshop.sources)? {
            let entry = entry?;
            fs::rename(entry.path(), workshop.out.join(entry.file_name()))?;
        }
        Ok(())
    })
}

/// The Envoy that clusters have for a gateway, to be started by a test itself.
pub fn envoy() -> anyhow::Result<PathBuf> {
    Ok(Program::Envoy.obtain()?.join("envoy"))
}

/// The folder with Kafka's jars, those of Kafka Connect among them.
pub fn kafka_jars() -> anyhow::Result<PathBuf> {
    Program::Kafka.obtain()
}

/// The secured broker that tests share.
pub fn shared_secured_kafka() -> SecuredKafka {
    Cluster::up(&shared_name(), &[Part::KafkaSecured]).expect("a secured broker for tests").kafka_secured()
}

/// Confluent's API of the schema registry that tests share.
pub fn shared_schema_registry() -> String {
    Cluster::up(&shared_name(), &[Part::SchemaRegistry]).expect("a schema registry for tests").schema_registry_url()
}

/// Three brokers that tests share and no test disturbs.
pub fn shared_replicated_kafka() -> String {
    Cluster::up(&shared_name(), &[Part::KafkaReplicated]).expect("three brokers for tests").kafka_replicated_bootstrap()
}

/// One of Kafka's command line tools, called as its script: those are no artifacts of Maven's, but the classes that they start are.
pub fn kafka_tool(script: &str) -> anyhow::Result<Command> {
    let class = match script {
        "kafka-console-consumer.sh" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-topics.sh" => "org.apache.kafka.tools.TopicCommand",
        "kafka-reassign-partitions.sh" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        _ => bail!("nobody needed {script} so far: name the class that it starts"),
    };
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(kafka_jars()?.join("*")).arg(class);
    Ok(command)
}

/// A cluster that one test disturbs. Its name is this process's own, so that no other run takes it away; it goes when dropped.
pub struct OwnCluster(Option<Cluster>);

impl OwnCluster {
    /// Starts it with those parts.
    pub fn up(purpose: &str, parts: &[Part]) -> anyhow::Result<Self> {
        Ok(Self(Some(Cluster::up(&format!("{purpose}-{}", process::id()), parts)?)))
    }
}

impl Deref for OwnCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(Cluster::down) {
            crate::progress::note(&format!("a test's cluster is still there: {error:#}"));
        }
    }
}
