//! Programs of others that benchmarks compare with or tests need, built from modules of our own that name their versions.

use std::{path::PathBuf, process::Command};

use sluice_cluster::testing::prepared;

/// Benthos with the components that Kafka, HTTP and mappings need.
pub fn benthos() -> anyhow::Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("peers/benthos/go.mod")),
        ("go.sum", include_str!("peers/benthos/go.sum")),
        ("main.go", include_str!("peers/benthos/main.go")),
    ];
    go_build("benthos", &files)
}

/// The program that these files make.
pub fn go_build(name: &'static str, files: &[(&'static str, &str)]) -> anyhow::Result<PathBuf> {
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-ldflags", "-s -w", "-o", name, "."]).env("CGO_ENABLED", "0");
    Ok(prepared(name, files, &mut [build])?.join(name))
}
