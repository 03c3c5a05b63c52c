//! The resource definitions of the Gateway API and of Contour, taken from Contour's module so that they fit each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::cache::{Recipe, Workshop};
use super::contour::{GO_MOD, GO_SUM};
use crate::process;

/// The files of the module, and what they are called here.
const FILES: [(&str, &str); 2] =
    [("examples/gateway/00-crds.yaml", "gateway-api.yaml"), ("examples/contour/01-crds.yaml", "contour.yaml")];

/// A folder with `gateway-api.yaml` and `contour.yaml`.
pub(super) fn obtain() -> Result<PathBuf> {
    let inputs = vec![("go.mod", GO_MOD.to_owned()), ("go.sum", GO_SUM.to_owned()), ("files", format!("{FILES:?}"))];
    Recipe { name: "gateway-api", inputs, takes: "a few seconds" }.obtain(|workshop| {
        let module = download(workshop)?;
        for (source, name) in FILES {
            fs::copy(module.join(source), workshop.out.join(name)).with_context(|| format!("copy {source}"))?;
        }
        Ok(())
    })
}

fn download(workshop: &Workshop) -> Result<PathBuf> {
    workshop.write_source("go.mod", GO_MOD)?;
    workshop.write_source("go.sum", GO_SUM)?;
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", "github.com/projectcontour/contour"]).current_dir(&workshop.sources);
    let answer: Value = serde_json::from_str(&process::run(&mut download)?)?;
    let folder = answer["Dir"].as_str().context("go did not say where it put Contour's module")?;
    Ok(Path::new(folder).to_owned())
}
