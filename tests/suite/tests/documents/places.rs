//! The manifests that users find: files of `examples`, and blocks of the pages.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sluice_suite::checkout;

/// What users find together: an example, or a page.
pub(crate) struct Place {
    /// Its path in the checkout.
    pub(crate) name: String,
    /// Whether it has to hold all that its manifests name. A page need not: its manifests stand for themselves.
    pub(crate) is_whole: bool,
    pub(crate) manifests: Vec<Manifest>,
}

/// One object, as it is written.
pub(crate) struct Manifest {
    /// The file, and of a page the line.
    pub(crate) at: String,
    pub(crate) object: Value,
}

/// A folder of `examples` with manifests.
pub(crate) struct Folder {
    pub(crate) name: String,
    /// What stands in its `kustomization.yaml`.
    pub(crate) kustomization: Value,
    /// The names of all other files with manifests.
    pub(crate) files: Vec<String>,
}

const KUSTOMIZATION: &str = "kustomization.yaml";

/// All places that hold manifests.
pub(crate) fn places() -> Vec<Place> {
    let examples = example_folders().into_iter().map(|folder| {
        let files = folder.files.iter().map(|file| format!("{}/{file}", folder.name));
        let manifests = files.flat_map(|file| manifests(&file, &read(&file))).collect();
        Place { name: folder.name, is_whole: true, manifests }
    });
    let pages = pages().into_iter().map(|(name, text)| {
        let blocks = blocks(&text).into_iter();
        let manifests = blocks.flat_map(|(line, block)| manifests(&format!("{name}:{line}"), &block)).collect();
        Place { name, is_whole: false, manifests }
    });
    examples.chain(pages).filter(|place| !place.manifests.is_empty()).collect()
}

fn is(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

/// All folders below `examples` that hold manifests.
pub(crate) fn example_folders() -> Vec<Folder> {
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files("examples").into_iter().filter(|file| is(file, "yaml")) {
        let (folder, name) = file.rsplit_once('/').unwrap();
        folders.entry(folder.to_owned()).or_default().push(name.to_owned());
    }
    let folder = |(name, mut files): (String, Vec<String>)| {
        files.retain(|file| file != KUSTOMIZATION);
        let path = format!("{name}/{KUSTOMIZATION}");
        let kustomization = serde_saphyr::from_str(&read(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Folder { name, kustomization, files }
    };
    folders.into_iter().map(folder).collect()
}

/// All pages, each with its text.
pub(crate) fn pages() -> Vec<(String, String)> {
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned);
    let docs = files("docs").into_iter().filter(|file| is(file, "md"));
    root.into_iter().chain(docs).map(|page| (page.clone(), read(&page))).collect()
}

/// The blocks of YAML of a page, each with the line on which it begins.
pub(crate) fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (index, line) in page.lines().enumerate() {
        match line {
            "```yaml" => {
                is_open = true;
                blocks.push((index + 2, String::new()));
            }
            "```" => is_open = false,
            _ if is_open => {
                let (_, block) = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            _ => assert!(!line.trim_start().starts_with("```y"), "write ```yaml alone on its line, not {line:?}"),
        }
    }
    blocks
}

/// The objects of a text; what is no whole object is left out.
fn manifests(at: &str, text: &str) -> Vec<Manifest> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{at}: {error}"));
    let is_whole = |object: &Value| object["apiVersion"].is_string() && object["kind"].is_string();
    let whole = documents.into_iter().filter(is_whole);
    whole.map(|object| Manifest { at: format!("{at} ({})", object["kind"]), object }).collect()
}

/// All files of a folder of the checkout and of the folders in it, in order.
fn files(folder: &str) -> Vec<String> {
    let root = checkout("").unwrap();
    let mut found = Vec::new();
    collect(&root.join(folder), &mut found);
    let path = |file: &PathBuf| file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<String> = found.iter().map(path).collect();
    files.sort();
    files
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(checkout(file).unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"))
}
