//! The operator's process: arguments, logs, and the loop until SIGTERM.

use clap::Parser;
use sluice_operator::{Arguments, LogFormat, run};
use tikv_jemallocator::Jemalloc;
use tracing_subscriber::EnvFilter;

/// It gives back to the system what is not used, also between what is: passes and answers come and go among thousands of small objects
/// that stay.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    log(&arguments);
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before ours"))?;
    run(arguments).await
}

fn log(arguments: &Arguments) {
    let filter = EnvFilter::new(&arguments.log);
    match arguments.log_format {
        LogFormat::Json => tracing_subscriber::fmt().with_env_filter(filter).json().flatten_event(true).init(),
        LogFormat::Text => tracing_subscriber::fmt().with_env_filter(filter).init(),
    }
}
