//! The program that holds a pod's namespaces: ten lines of C.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::cache::Recipe;

const SOURCE: &str = include_str!("../../components/pause/pause.c");

/// A folder that holds `pause`, linked statically.
pub(super) fn obtain() -> Result<PathBuf> {
    let inputs = vec![("pause.c", SOURCE.to_owned())];
    Recipe { name: "pause", inputs, takes: "a second" }.obtain(|workshop| {
        workshop.write_source("pause.c", SOURCE)?;
        let mut compile = Command::new("gcc");
        workshop.run(compile.args(["-Os", "-static", "-s", "-o"]).arg(workshop.out.join("pause")).arg("pause.c"))
    })
}
