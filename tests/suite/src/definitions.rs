//! Definitions of the kinds of others, as their Go modules have them.

use std::{path::PathBuf, process::Command};

use sluice_cluster::testing::prepared;

/// A folder with files of a module. `versions` are the contents of a `go.mod` that names its version and of the `go.sum` to it; `files` is a
/// pattern of the shell, from the module's folder on.
pub fn definitions(name: &'static str, versions: [&str; 2], module: &str, files: &str) -> anyhow::Result<PathBuf> {
    let copy = format!(
        "folder=$(go mod download -json {module} | sed -n 's/.*\"Dir\": \"\\(.*\\)\".*/\\1/p') && \
         cp \"$folder\"/{files} . && chmod 644 *.yaml"
    );
    let mut command = Command::new("bash");
    command.args(["-euc", &copy]);
    let [go_mod, go_sum] = versions;
    prepared(name, &[("go.mod", go_mod), ("go.sum", go_sum)], &mut [command])
}
