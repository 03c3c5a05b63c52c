//! The one layer of an image: a tar archive that is the same, byte for byte, whenever its files are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use tar::{Builder, EntryType, Header};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    path: String,
    content: Vec<u8>,
    mode: u32,
    kind: EntryType,
}

/// Files by their paths, each once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer(BTreeMap<String, Entry>);

impl Entry {
    pub(super) fn file(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), content: text.into(), mode: 0o644, kind: EntryType::Regular }
    }

    pub(super) fn program(path: &str, content: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content, mode: 0o755, kind: EntryType::Regular }
    }

    fn folder(path: &str) -> Self {
        Self { path: format!("{path}/"), content: Vec::new(), mode: 0o755, kind: EntryType::Directory }
    }

    /// One that everybody may write to.
    pub(super) fn shared_folder(path: &str) -> Self {
        Self { mode: 0o1777, ..Self::folder(path) }
    }

    fn header(&self) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.content.len() as u64);
        header
    }
}

impl Layer {
    pub(super) fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let folders = entries.iter().flat_map(|entry| folders_above(&entry.path)).collect::<BTreeSet<_>>();
        let folders: Vec<Entry> = folders.into_iter().map(Entry::folder).collect();
        Self(folders.into_iter().chain(entries).map(|entry| (entry.path.clone(), entry)).collect())
    }

    pub(super) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for entry in self.0.values() {
            builder.append_data(&mut entry.header(), &entry.path, entry.content.as_slice())?;
        }
        Ok(builder.into_inner()?)
    }
}

fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    path.trim_end_matches('/').match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(layer: &Layer) -> Vec<&str> {
        layer.0.keys().map(String::as_str).collect()
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let layer = Layer::new([Entry::program("usr/bin/worker", vec![1]), Entry::file("etc/passwd", "")]);
        assert_eq!(paths(&layer), ["etc/", "etc/passwd", "usr/", "usr/bin/", "usr/bin/worker"]);
    }

    #[test]
    fn a_library_that_two_programs_need_is_there_once() {
        let library = || Entry::program("lib/libc.so.6", vec![1]);
        assert_eq!(paths(&Layer::new([library(), library()])), ["lib/", "lib/libc.so.6"]);
    }

    #[test]
    fn the_order_of_files_does_not_change_the_archive() {
        let (first, second) = (Entry::file("a/x", "1"), Entry::file("b/y", "2"));
        let one = Layer::new([first.clone(), second.clone()]).to_tar().unwrap();
        assert_eq!(one, Layer::new([second, first]).to_tar().unwrap());
    }

    #[test]
    fn files_belong_to_root_and_have_no_time() {
        let tar = Layer::new([Entry::program("worker", vec![7])]).to_tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()), (0o755, 0, 0));
    }
}
