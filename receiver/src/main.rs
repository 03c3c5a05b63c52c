//! The receiver's process: flags, log, end.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use sluice_receiver::{LogFormat, Options, run};
use tikv_jemallocator::Jemalloc;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// It gives back to the system what is not used: what a burst of events took does not stay.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    start_log(options.log_format);
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        error!("Another TLS provider was installed before ours");
        return ExitCode::FAILURE;
    }
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("Receiver ended: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
}
