//! Where data planes find the Secrets that a resource names: the operator mounts them and reads none.

use std::path::PathBuf;

use sluice_crds::{SecretReference, wire};

/// The file in which a data plane finds a secret.
pub(crate) fn file(reference: &SecretReference) -> PathBuf {
    [wire::SECRETS_FOLDER, &reference.name, &reference.key].iter().collect()
}

/// The names of the Secrets that such files belong to, each once.
pub(crate) fn names<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<&'a str> {
    let mut names: Vec<&str> = files.filter_map(|file| file.parent()?.file_name()?.to_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
