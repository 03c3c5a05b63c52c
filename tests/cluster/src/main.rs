//! The command line of the local cluster.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use sluice_cluster::{Cluster, Component, Loaded, Part, State};

/// A Kubernetes cluster with Kafka and a gateway on this machine, made of real components.
#[derive(Parser)]
#[command(version)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args)]
struct Which {
    /// Several clusters with different names can run side by side.
    #[arg(long, default_value = "demo", global = true)]
    name: String,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster, or add parts to a running one.
    Up {
        #[command(flatten)]
        which: Which,
        /// The parts to start, each with what it needs.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
        parts: Vec<Part>,
    },
    /// Take a cluster away with everything it left.
    Down {
        #[command(flatten)]
        which: Which,
        /// Every cluster of this machine.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show the components of all clusters.
    Status,
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        which: Which,
    },
    /// Show the log of a component.
    Logs {
        #[command(flatten)]
        which: Which,
        component: Component,
        #[arg(long, short)]
        follow: bool,
    },
    /// Run kubectl against a cluster.
    Kubectl {
        #[command(flatten)]
        which: Which,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Make images of programs and give them to the node.
    Load {
        #[command(flatten)]
        which: Which,
        /// The programs go to /usr/bin; the first one is the entry point.
        #[arg(required = true, value_name = "IMAGE=PROGRAM[,PROGRAM...]")]
        images: Vec<String>,
    },
    /// Start, stop or kill one component of a running cluster, to see how others bear it.
    Component {
        #[command(flatten)]
        which: Which,
        #[arg(value_enum)]
        fate: Fate,
        component: Component,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Fate {
    Start,
    Stop,
    Kill,
}

fn main() -> ExitCode {
    match run(Line::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    print(format_args!("cluster {name} is up: export KUBECONFIG={}", cluster.kubeconfig().display()))?;
    print(format_args!("kafka {}  gateway http://{}", cluster.kafka_bootstrap(), cluster.gateway_address()))
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
