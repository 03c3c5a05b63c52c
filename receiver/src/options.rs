//! The flags and environment variables of the receiver.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};
use sluice_crds::{
    Duration,
    wire::{CONFIG_FOLDER, CONTROLS_FOLDER, RECEIVER_PORT, STATUS_PORT, ending::DRAIN_DELAY},
};

/// Receives the events of a Webhook, or of many: verified, deduplicated, and written to Kafka before they are acknowledged.
#[derive(Clone, Debug, Parser)]
#[command(name = "sluice-receiver", version)]
pub struct Options {
    /// Folder with `config.json` and `generation`.
    #[arg(long, env = "SLUICE_CONFIG", value_name = "DIR", default_value = CONFIG_FOLDER)]
    pub config: PathBuf,
    /// Folder with a file for each of many Webhooks, which is read again when it changes, instead of one Webhook's `--config`.
    #[arg(long, env = "SLUICE_WEBHOOKS", value_name = "DIR")]
    pub webhooks: Option<PathBuf>,
    /// Folder with `controls.json`, which is read again when it changes.
    #[arg(long, env = "SLUICE_CONTROLS", value_name = "DIR", default_value = CONTROLS_FOLDER)]
    pub controls: PathBuf,
    /// Address of the endpoint.
    #[arg(long, value_name = "ADDRESS", default_value_t = any_address(RECEIVER_PORT))]
    pub listen: SocketAddr,
    /// Address of `/healthz`, `/readyz`, `/status` and `/metrics`.
    #[arg(long, value_name = "ADDRESS", default_value_t = any_address(STATUS_PORT))]
    pub status_listen: SocketAddr,
    /// How long requests are still taken after SIGTERM, while gateways learn that this receiver is no longer ready.
    #[arg(long, env = "SLUICE_DRAIN_DELAY", value_name = "DURATION", default_value_t = DRAIN_DELAY)]
    pub drain_delay: Duration,
    /// How the log is written. What is in it is `RUST_LOG`'s choice.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_name = "FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

const fn any_address(port: u16) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, port))
}
