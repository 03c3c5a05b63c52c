//! A lock between processes: a file that is held while open and that nobody finds again once it is removed.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress;

pub(crate) struct Lock {
    path: PathBuf,
    // The kernel lets go of the lock when the file is closed, however the process ends. Children do not inherit it.
    _file: File,
}

impl Lock {
    /// Waits for as long as another process holds the lock, and says so.
    pub(crate) fn acquire(path: &Path, purpose: &str) -> Result<Self> {
        let folder = path.parent().context("a lock file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        loop {
            let file = open(path)?;
            lock(&file, purpose).with_context(|| format!("lock {}", path.display()))?;
            if is_still_there(&file, path)? {
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }

    /// Removes the file while the lock is held, so that whoever waits for it starts over with a new one.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }
}

fn open(path: &Path) -> Result<File> {
    let options = File::options().create(true).truncate(false).write(true).clone();
    options.open(path).with_context(|| format!("open lock file {}", path.display()))
}

fn lock(file: &File, purpose: &str) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            progress::note(&format!("waiting for another process that is busy with {purpose}"));
            Ok(file.lock()?)
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn is_still_there(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_has_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.lock");
        let first = Lock::acquire(&path, "demo").unwrap();
        assert!(matches!(open(&path).unwrap().try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        assert!(open(&path).unwrap().try_lock().is_ok());
    }

    #[test]
    fn a_removed_lock_leaves_no_file_and_can_be_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.lock");
        Lock::acquire(&path, "demo").unwrap().remove().unwrap();
        assert!(!path.exists());
        Lock::acquire(&path, "demo").unwrap();
    }
}
