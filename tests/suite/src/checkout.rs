//! The checkout that a test or a program runs in.

use std::{env, path::PathBuf};

use anyhow::Context;

/// Where a file or folder of the checkout lies. Found from the working directory when it is asked for, and not when it was
/// built: checkouts may share one folder of builds.
///
/// Error: the working directory is in no checkout.
pub fn checkout(path: &str) -> anyhow::Result<PathBuf> {
    let here = env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("manifests/crds").is_dir());
    let root = root.with_context(|| format!("{} is in no checkout of Sluice: run this in one", here.display()))?;
    Ok(root.join(path))
}
