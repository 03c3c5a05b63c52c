//! Reads the configuration that the operator mounted.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sluice_crds::wire::{CONFIG_KEY, GENERATION_KEY, WorkerConfig};

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The operator's configuration.
    pub(crate) config: WorkerConfig,
    /// The generation of the Integration that it was made for.
    pub(crate) generation: i64,
}

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {source}; it is a key of the ConfigMap that the operator mounts")]
    File { path: PathBuf, source: io::Error },
    /// A file of the folder is not what this version of the worker reads.
    #[error("{path} is not what this worker reads: {reason}; do operator and worker have the same version?")]
    Malformed { path: PathBuf, reason: String },
}

/// Reads `config.json` and `generation` of a folder.
pub(crate) fn read(folder: &Path) -> Result<Job, ConfigError> {
    let path = folder.join(CONFIG_KEY);
    let config = serde_json::from_str(&text(&path)?).map_err(|error| malformed(&path, error.to_string()))?;
    let path = folder.join(GENERATION_KEY);
    let generation = text(&path)?.trim().parse().map_err(|_| malformed(&path, "it is no number".into()))?;
    Ok(Job { config, generation })
}

fn text(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.into(), source })
}

fn malformed(path: &Path, reason: String) -> ConfigError {
    ConfigError::Malformed { path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = || read(folder.path()).unwrap_err().to_string();
        assert!(message().contains("config.json: No such file"), "{}", message());
        fs::write(folder.path().join(CONFIG_KEY), r#"{"integration": 1}"#).unwrap();
        assert!(message().contains("expected struct NamespacedName at line 1"), "{}", message());
    }
}
