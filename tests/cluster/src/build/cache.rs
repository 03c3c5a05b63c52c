//! What was built once and is used by every cluster: folders named by a hash of all that went into them.

use std::env;
use std::fs::{self, File};
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::lock::Lock;
use crate::{logs, progress};

/// Something to build, and everything that decides what comes out.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    /// Source files with their content, flags, versions of tools. Written down as files where the label is a file name.
    pub(crate) inputs: Vec<(&'static str, String)>,
    /// How long a person should expect to wait.
    pub(crate) takes: &'static str,
}

/// Where a recipe is carried out. What is in `out` at the end is kept.
pub(crate) struct Workshop {
    pub(crate) sources: PathBuf,
    pub(crate) out: PathBuf,
    log: PathBuf,
}

impl Recipe {
    /// The folder with what the recipe makes; built now if that never happened.
    pub(crate) fn obtain(&self, build: impl FnOnce(&Workshop) -> Result<()>) -> Result<PathBuf> {
        let root = root()?;
        let folder = root.join(self.key());
        if folder.exists() {
            return Ok(folder);
        }
        let _lock = Lock::acquire(&root.join(format!("{}.lock", self.name)), &format!("building {}", self.name))?;
        if !folder.exists() {
            self.build_into(&folder, build)?;
        }
        Ok(folder)
    }

    fn key(&self) -> String {
        let mut digest = Sha256::new();
        for (label, content) in &self.inputs {
            digest.update(format!("{}:{label}:{}:", label.len(), content.len()));
            digest.update(content);
        }
        format!("{}-{}", self.name, hex::encode(&digest.finalize()[..6]))
    }

    /// Builds beside the final place and moves the result there whole, so that a broken build is never mistaken for one.
    fn build_into(&self, folder: &Path, build: impl FnOnce(&Workshop) -> Result<()>) -> Result<()> {
        let scratch = folder.with_extension("building");
        let workshop = Workshop::open(&scratch, folder.with_extension("log"))?;
        let log = workshop.log.display();
        progress::note(&format!("building {} (once, {}), log in {log}", self.name, self.takes));
        progress::step(&format!("{} built", self.name), || build(&workshop))?;
        fs::rename(&workshop.out, folder).with_context(|| format!("move the new {} to its place", self.name))?;
        fs::remove_dir_all(&scratch).context("remove the build folder")
    }
}

impl Workshop {
    fn open(scratch: &Path, log: PathBuf) -> Result<Self> {
        if scratch.exists() {
            fs::remove_dir_all(scratch).with_context(|| format!("remove what {} left", scratch.display()))?;
        }
        let workshop = Self { sources: scratch.join("sources"), out: scratch.join("out"), log };
        fs::create_dir_all(&workshop.sources)?;
        fs::create_dir_all(&workshop.out)?;
        File::create(&workshop.log).with_context(|| format!("create {}", workshop.log.display()))?;
        Ok(workshop)
    }

    pub(crate) fn write_source(&self, name: &str, content: &str) -> Result<()> {
        fs::write(self.sources.join(name), content).with_context(|| format!("write {name}"))
    }

    /// Runs one command among the sources, its output in the log.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let log = File::options().append(true).open(&self.log)?;
        command.current_dir(&self.sources).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let status = command.status().with_context(|| format!("run {command:?}"))?;
        ensure!(status.success(), "{command:?} failed ({status})\n{}", logs::tail(&self.log));
        Ok(())
    }
}

pub(crate) fn root() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SLUICE_CACHE") {
        return path::absolute(&folder).with_context(|| format!("SLUICE_CACHE {}", folder.display()));
    }
    let home = env::var_os("HOME").context("neither SLUICE_CACHE nor HOME says where to keep what was built")?;
    Ok(Path::new(&home).join(".cache/sluice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inputs: &[(&'static str, &str)]) -> String {
        let inputs = inputs.iter().map(|(label, content)| (*label, (*content).to_owned())).collect();
        Recipe { name: "tool", inputs, takes: "a second" }.key()
    }

    #[test]
    fn the_same_inputs_have_the_same_key() {
        assert_eq!(key(&[("go.mod", "a"), ("flags", "-s")]), key(&[("go.mod", "a"), ("flags", "-s")]));
    }

    #[test]
    fn any_change_of_an_input_changes_the_key() {
        let original = key(&[("go.mod", "ab"), ("flags", "c")]);
        for changed in [[("go.mod", "a"), ("flags", "bc")], [("go.mod", "abc"), ("flags", "")]] {
            assert_ne!(key(&changed), original);
        }
    }
}
