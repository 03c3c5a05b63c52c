//! Tells whether mounted files have changed, without reading them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What some files looked like at one moment. A mounted Secret is changed by pointing a symbolic link to new files, so that
/// device and inode differ; a file that is written in place has another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<Option<Look>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// What the files look like now; a missing one has a look of its own.
    pub fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(look).collect())
    }

    /// What a folder looks like that Kubernetes has mounted: it is changed as a whole, by another target for one link. `None`: it is none.
    pub fn of_mounted(folder: &Path) -> Option<Self> {
        let data = folder.join("..data");
        data.exists().then(|| Self::of(&[data]))
    }
}

fn look(file: &PathBuf) -> Option<Look> {
    let metadata = fs::metadata(file).ok()?;
    Some(Look {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_to_new_files_is_a_change_and_a_second_look_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("key"), "same size").unwrap();
        }
        let data = folder.path().join("..data");
        symlink(folder.path().join("1"), &data).unwrap();
        let files = [data.join("key"), folder.path().join("missing")];
        let before = Stamp::of(&files);
        assert_eq!(Stamp::of(&files), before);
        fs::remove_file(&data).unwrap();
        assert_ne!(Stamp::of(&files), before);
        symlink(folder.path().join("2"), &data).unwrap();
        assert_ne!(Stamp::of(&files), before);
    }
}
