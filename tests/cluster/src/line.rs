//! What can be said on the command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use sluice_cluster::{Component, Part};

/// A Kubernetes cluster with Kafka and a gateway on this machine, made of real components.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Args)]
pub(crate) struct Which {
    /// Several clusters with different names can run side by side.
    #[arg(long, default_value = "demo", global = true)]
    pub(crate) name: String,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Start a cluster, or add parts to a running one.
    Up {
        #[command(flatten)]
        which: Which,
        /// The parts to start, each with what it needs.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = Part::USUAL)]
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

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Fate {
    Start,
    Stop,
    Kill,
}
