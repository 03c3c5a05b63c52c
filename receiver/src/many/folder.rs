//! A mounted folder with a file for each Webhook.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use sluice_crds::wire::SharedWebhook;
use sluice_outgoing::Stamp;
use tokio::task::spawn_blocking;

/// A folder, and what it looked like when it was read.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// The texts of the files, by the names of the Webhooks.
pub(super) type Texts = BTreeMap<String, String>;

impl Folder {
    /// Nothing was read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All files, where the folder looks otherwise than before; on a thread of its own, for there may be thousands.
    pub(super) async fn changed(&mut self) -> io::Result<Option<Texts>> {
        let path = self.path.clone();
        let before = self.stamp.take();
        let looked = spawn_blocking(move || -> io::Result<_> {
            // Made before they are read, it misses no change in between.
            let stamp = look(&path)?;
            let texts = if before.as_ref() == Some(&stamp) { None } else { Some(read(&path)?) };
            Ok((stamp, texts))
        });
        // Where that fails, the folder is read anew the next time.
        let (stamp, texts) = looked.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))?;
        self.stamp = Some(stamp);
        Ok(texts)
    }
}

/// Of a folder that Kubernetes has not mounted each file counts.
fn look(path: &Path) -> io::Result<Stamp> {
    if let Some(stamp) = Stamp::of_mounted(path) {
        return Ok(stamp);
    }
    let mut files: Vec<PathBuf> = names(path)?.into_iter().map(|(_, file)| file).collect();
    files.sort_unstable();
    Ok(Stamp::of(&files))
}

/// A file that goes while it is read has gone.
fn read(path: &Path) -> io::Result<Texts> {
    let texts = names(path)?.into_iter().filter_map(|(name, file)| match fs::read(file) {
        Ok(bytes) => Some(Ok((name, String::from_utf8_lossy(&bytes).into_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error)),
    });
    texts.collect()
}

/// The files of Webhooks, by the names of these.
fn names(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let name =
            file.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(SharedWebhook::FILE_SUFFIX));
        if let Some(name) = name.filter(|name| !name.starts_with('.')).map(str::to_owned) {
            all.push((name, file));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn texts(all: &[(&str, &str)]) -> Texts {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_folder_is_read_when_it_looks_otherwise() {
        let path = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(path.path().join(name), text).unwrap();
        write("a.json", "1");
        write("notes.txt", "x");
        let mut folder = Folder::new(path.path().to_owned());
        assert_eq!(folder.changed().await.unwrap(), Some(texts(&[("a", "1")])));
        assert_eq!(folder.changed().await.unwrap(), None);
        write("b.json", "2");
        assert_eq!(folder.changed().await.unwrap(), Some(texts(&[("a", "1"), ("b", "2")])));
        fs::remove_file(path.path().join("a.json")).unwrap();
        assert_eq!(folder.changed().await.unwrap(), Some(texts(&[("b", "2")])));
        fs::remove_dir_all(path.path()).unwrap();
        assert!(folder.changed().await.is_err());
        fs::create_dir(path.path()).unwrap();
        assert_eq!(folder.changed().await.unwrap(), Some(Texts::new()));
    }

    #[tokio::test]
    async fn a_mounted_folder_changes_with_its_link() {
        let path = tempfile::tempdir().unwrap();
        let at = |name: &str| path.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.json"), version).unwrap();
        }
        symlink("..data/a.json", at("a.json")).unwrap();
        let mut folder = Folder::new(path.path().to_owned());
        for version in ["..1", "..2"] {
            symlink(version, at("..new")).unwrap();
            fs::rename(at("..new"), at("..data")).unwrap();
            assert_eq!(folder.changed().await.unwrap(), Some(texts(&[("a", version)])));
            assert_eq!(folder.changed().await.unwrap(), None);
        }
    }
}
