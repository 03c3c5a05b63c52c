//! The flags and environment variables of the worker.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::{Parser, ValueEnum};
use sluice_crds::wire::{CONFIG_FOLDER, STATUS_PORT};

use crate::status::SILENCE;

/// Carries out one Integration: reads its source, runs its steps, delivers to its sink.
#[derive(Clone, Debug, Parser)]
#[command(name = "sluice-worker", version)]
pub struct Options {
    /// Folder with `config.json` and `generation`.
    #[arg(long, env = "SLUICE_CONFIG", value_name = "DIR", default_value = CONFIG_FOLDER)]
    pub config: PathBuf,
    /// Address of `/healthz`, `/readyz`, `/status` and `/metrics`.
    #[arg(long, env = "SLUICE_STATUS_LISTEN", value_name = "ADDRESS", default_value_t = (Ipv4Addr::UNSPECIFIED, STATUS_PORT).into())]
    pub status_listen: SocketAddr,
    /// Tells this worker from the others of its Integration, as long as it runs: Kafka undoes what an earlier one of this name has
    /// left behind.
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = "worker")]
    pub instance: String,
    /// For tests: after so many seconds without a sign of life from the source `/healthz` says that it hangs.
    #[arg(long, env = "SLUICE_SILENCE", value_name = "SECONDS", default_value_t = SILENCE.as_secs(), hide = true)]
    pub silence: u64,
    /// How the log is written. What is in it is the Integration's choice, or `RUST_LOG`'s.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "json")]
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
