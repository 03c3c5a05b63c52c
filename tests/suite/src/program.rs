//! The programs under test, as they were built beside the tests, and addresses for them.

use std::path::PathBuf;

use anyhow::{Context, ensure};
pub use sluice_cluster::testing::{free_address, free_address_of};

/// The program of that name in the folder of this build. Error: it was not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    // Tests lie one folder below the programs.
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no build folder")?;
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not built; run `make test` or `cargo build -p {name}`", path.display());
    Ok(path)
}
