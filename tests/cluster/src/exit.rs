//! How the programs of cluster, demo and benchmarks end.

use std::process::ExitCode;

/// The exit code of what a program came to; an error is told in one line.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
