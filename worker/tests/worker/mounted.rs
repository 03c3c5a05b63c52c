//! Secrets as the kubelet mounts them: all of a Secret changes at one moment, by a symbolic link.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A folder with mounted Secrets.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The file of a key.
    pub(crate) fn file(&self, secret: &str, key: &str) -> PathBuf {
        self.0.path().join(secret).join(key)
    }

    /// What a Secret holds from now on.
    pub(crate) fn write(&self, secret: &str, data: &[(&str, &str)]) {
        let folder = self.0.path().join(secret);
        let version = tempfile::Builder::new().prefix("..").tempdir_in(make(&folder)).unwrap().keep();
        for (key, value) in data {
            fs::write(version.join(key), value).unwrap();
            if !folder.join(key).is_symlink() {
                symlink(Path::new("..data").join(key), folder.join(key)).unwrap();
            }
        }
        let before = fs::read_link(folder.join("..data")).ok();
        symlink(version.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(folder.join(before)).unwrap();
        }
    }
}

fn make(folder: &Path) -> &Path {
    fs::create_dir_all(folder).unwrap();
    folder
}
