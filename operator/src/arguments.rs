//! The operator's command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Reconciles Topics, Webhooks and Integrations (sluice.dev/v1alpha1).
#[derive(Debug, Parser)]
#[command(name = "sluice-operator", version)]
pub struct Arguments {
    /// The operator's configuration: Kafka clusters and images, as YAML.
    #[arg(long, env = "SLUICE_CONFIG", default_value = "/etc/sluice/operator/config.yaml")]
    pub config: PathBuf,
    /// The namespaces whose resources the operator looks after, with commas between them. Default: all, which needs the rights
    /// of a ClusterRole.
    #[arg(long, env = "SLUICE_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// The operator's own namespace, where replicas share their lease. Default: that of its ServiceAccount or kubeconfig.
    #[arg(long, env = "SLUICE_NAMESPACE")]
    pub namespace: Option<String>,
    /// What this replica is called in the lease, in Events and in the API server's audit log.
    #[arg(long, env = "HOSTNAME", default_value = "sluice-operator")]
    pub identity: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "SLUICE_STATUS_LISTEN", default_value = "0.0.0.0:9090")]
    pub status_listen: SocketAddr,
    /// How logs are written.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module as in `info,sluice_operator=debug`.
    #[arg(long, env = "SLUICE_LOG", default_value = "info")]
    pub log: String,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line of text each.
    Text,
}
