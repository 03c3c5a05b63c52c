//! Apicurio Registry: one archive with everything it needs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::Recipe;

const POM: &str = include_str!("../../components/schema-registry/pom.xml");

/// A folder that holds `registry.jar` and the libraries it names.
pub(super) fn obtain() -> Result<PathBuf> {
    let inputs = vec![("pom.xml", POM.to_owned())];
    Recipe { name: "schema-registry", inputs, takes: "about 20 s" }.obtain(|workshop| {
        workshop.write_source("pom.xml", POM)?;
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies", "-DoutputDirectory=."]);
        workshop.run(&mut copy)?;
        let archive = "apicurio-registry-app-2.6.13.Final-all.tar.gz";
        workshop.run(Command::new("tar").args(["--extract", "--file", archive, "--directory"]).arg(&workshop.out))?;
        let jar = workshop.out.join("apicurio-registry-app-2.6.13.Final-runner.jar");
        fs::rename(&jar, workshop.out.join("registry.jar")).context("Apicurio's archive no longer holds its jar")
    })
}
