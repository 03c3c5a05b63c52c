//! The worker's process: flags and end.

use std::process::ExitCode;

use clap::Parser;
use sluice_worker::{Options, run};

fn main() -> ExitCode {
    let ended = start();
    if let Err(error) = &ended {
        // The log may not have begun. Kubernetes shows the last lines as the reason of the end.
        eprintln!("sluice-worker: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn start() -> anyhow::Result<()> {
    let options = Options::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before ours"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // On one of the runtime's threads, as all that it begins and waits for: to wake the main thread is a call of the kernel's.
    let ended = runtime.block_on(async { tokio::spawn(run(options)).await? });
    // What has come to its end waits for nobody: a call of librdkafka's may not return.
    runtime.shutdown_background();
    ended
}
