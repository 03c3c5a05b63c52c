//! The command line of the local cluster.

mod line;

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use sluice_cluster::{Cluster, Component, Loaded, Part, State, exit};

use line::{Fate, Line, Verb};

fn main() -> ExitCode {
    exit(run(Line::parse().verb))
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up { which, parts } => up(&which.name, &parts),
        Verb::Down { all: true, .. } => Cluster::names()?.iter().try_for_each(|name| down(name)),
        Verb::Down { which, all: false } => down(&which.name),
        Verb::Status => status(),
        Verb::Kubeconfig { which } => print(Cluster::attach(&which.name)?.kubeconfig().display()),
        Verb::Logs { which, component, follow } => logs(&which.name, component, follow),
        Verb::Kubectl { which, arguments } => kubectl(&which.name, &arguments),
        Verb::Load { which, images } => load(&which.name, &images),
        Verb::Component { which, fate, component } => disturb(&which.name, fate, component),
    }
}

fn up(name: &str, parts: &[Part]) -> Result<()> {
    let cluster = Cluster::up(name, parts)?;
    print(format_args!("cluster {name} is up"))?;
    if is_running(&cluster, Component::Apiserver) {
        print(format_args!("  export KUBECONFIG={}", cluster.kubeconfig().display()))?;
    }
    if is_running(&cluster, Component::Kafka) {
        print(format_args!("  kafka    {}", cluster.kafka_bootstrap()))?;
    }
    if is_running(&cluster, Component::Kafka1) {
        print(format_args!("  three brokers    {}", cluster.kafka_replicated_bootstrap()))?;
    }
    if is_running(&cluster, Component::KafkaSecured) {
        let secured = cluster.kafka_secured();
        print(format_args!("  secured kafka    {} (login)", secured.login_bootstrap()))?;
        print(format_args!("                   {} (certificate)", secured.certificate_bootstrap()))?;
        print(format_args!("                   authority {}", secured.authority().display()))?;
    }
    if is_running(&cluster, Component::SchemaRegistry) {
        print(format_args!("  schema registry  {}", cluster.schema_registry_url()))?;
    }
    if is_running(&cluster, Component::Envoy) {
        print(format_args!("  gateway  http://{}", cluster.gateway_address()))?;
    }
    Ok(())
}

fn is_running(cluster: &Cluster, component: Component) -> bool {
    cluster.component(component).state() != State::Stopped
}

fn down(name: &str) -> Result<()> {
    Cluster::remove(name).with_context(|| format!("take cluster {name} down"))?;
    print(format_args!("cluster {name} is gone"))
}

fn status() -> Result<()> {
    for name in Cluster::names()? {
        if let Ok(cluster) = Cluster::attach(&name) {
            print_components(&name, &cluster)?;
        } else {
            print(format_args!("{name}: only remains; remove them with `sluice-cluster down --name {name}`"))?;
        }
    }
    Ok(())
}

fn print_components(name: &str, cluster: &Cluster) -> Result<()> {
    print(format_args!("{name}: node at {}", cluster.node_address()))?;
    for component in Component::ALL {
        match cluster.component(component).state() {
            State::Running { pid, ready: true } => print(format_args!("  {component:<20} running, process {pid}"))?,
            State::Running { pid, .. } => print(format_args!("  {component:<20} starting, process {pid}"))?,
            State::Stopped => print(format_args!("  {component:<20} -"))?,
        }
    }
    Ok(())
}

fn logs(name: &str, component: Component, follow: bool) -> Result<()> {
    let log = Cluster::attach(name)?.component(component).log();
    let (program, arguments) = if follow { ("tail", &["-n", "+1", "-f"][..]) } else { ("cat", &[][..]) };
    Err(Command::new(program).args(arguments).arg(log).exec().into())
}

/// This process becomes kubectl, which has the terminal and the exit code.
fn kubectl(name: &str, arguments: &[String]) -> Result<()> {
    Err(Cluster::attach(name)?.kubectl_command(arguments).exec().into())
}

fn load(name: &str, images: &[String]) -> Result<()> {
    let cluster = Cluster::attach(name)?;
    for image in images {
        let Some((reference, programs)) = image.split_once('=') else {
            bail!("{image:?}: write IMAGE=PROGRAM, for example sluice-worker:dev=target/debug/sluice-worker");
        };
        let programs: Vec<PathBuf> = programs.split(',').map(PathBuf::from).collect();
        let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
        match cluster.load_image(reference, &programs)? {
            Loaded::Imported => print(format_args!("{reference} loaded"))?,
            Loaded::Unchanged => print(format_args!("{reference} unchanged"))?,
        }
    }
    Ok(())
}

fn disturb(name: &str, fate: Fate, component: Component) -> Result<()> {
    let component = Cluster::attach(name)?.component(component);
    match fate {
        Fate::Start => component.start(),
        Fate::Stop => component.stop(),
        Fate::Kill => component.kill(),
    }
}

fn print(line: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
