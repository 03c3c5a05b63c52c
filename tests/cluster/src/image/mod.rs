//! Container images made of programs of this machine, without Docker, and their import into the cluster's containerd.

mod archive;
mod layer;
mod libraries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::build::Program;
use crate::components::containerd;
use crate::process;
use crate::site::Site;
use crate::template;

use layer::{Entry, Layer};

/// What came of a request to load an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Imported,
    /// The cluster has an image of that name with the same programs.
    Unchanged,
}

/// An image with the programs below `/usr/bin`, the first of them as its entry point, run by the user 65532.
pub(crate) fn load(site: &Site, reference: &str, programs: &[&Path]) -> Result<Loaded> {
    let record = site.path("images").join(hex::encode(&Sha256::digest(reference)[..8]));
    let content = fingerprint(programs)?;
    if fs::read_to_string(&record).is_ok_and(|known| known == content) {
        return Ok(Loaded::Unchanged);
    }
    hand_over(&site.path("images"), reference, programs, |archive| import(site, reference, archive))?;
    template::write(&record, &content)?;
    Ok(Loaded::Imported)
}

/// Makes the same image as an archive in the format of `docker save`, for `take` to read; `folder` holds it meanwhile.
pub(crate) fn hand_over(
    folder: &Path,
    reference: &str,
    programs: &[&Path],
    take: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let first = programs.first().with_context(|| format!("image {reference}: name at least one program"))?;
    let entry_point = format!("/usr/bin/{}", file_name(first)?);
    archived(folder, reference, &entry_point, &rooted(folder, programs)?, take)
}

/// The image that holds a pod's namespaces.
pub(crate) fn load_pause(site: &Site) -> Result<()> {
    let program = site.program(Program::Pause).join("pause");
    let layer = Layer::new([Entry::program("pause", fs::read(&program).context("read pause")?)]);
    let reference = "localhost/pause:1";
    archived(&site.path("images"), reference, "/pause", &layer, |archive| import(site, reference, archive))
}

/// What decides whether an image has to be made anew. Libraries come from the machine and change with its packages only.
fn fingerprint(programs: &[&Path]) -> Result<String> {
    let mut digest = Sha256::new();
    for program in programs {
        let bytes = fs::read(program).with_context(|| format!("read program {}", program.display()))?;
        digest.update(format!("{}:{}:", file_name(program)?, bytes.len()));
        digest.update(bytes);
    }
    Ok(hex::encode(digest.finalize()))
}

/// The programs with all they need: libraries, the loader, certificates of the web's authorities, a user.
fn rooted(folder: &Path, programs: &[&Path]) -> Result<Layer> {
    let mut entries = vec![
        Entry::file(
            "etc/passwd",
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
        ),
        Entry::file("etc/group", "root:x:0:\nnonroot:x:65532:\n"),
        Entry::file("etc/nsswitch.conf", "hosts: files dns\n"),
        Entry::shared_folder("tmp"),
    ];
    let authorities = "etc/ssl/certs/ca-certificates.crt";
    if let Ok(text) = fs::read_to_string(Path::new("/").join(authorities)) {
        entries.push(Entry::file(authorities, &text));
    }
    for program in programs {
        entries.push(Entry::program(&format!("usr/bin/{}", file_name(program)?), stripped(folder, program)?));
        for library in libraries::of(program)? {
            let bytes = fs::read(&library).with_context(|| format!("read library {}", library.display()))?;
            entries.push(Entry::program(library.to_string_lossy().trim_start_matches('/'), bytes));
        }
    }
    Ok(Layer::new(entries))
}

/// Without symbols a program is a tenth of its size. What the linker strips is the same each time.
fn stripped(folder: &Path, program: &Path) -> Result<Vec<u8>> {
    let copy = scratch(folder, "stripped")?;
    process::run(Command::new("strip").arg("-o").arg(&copy).arg(program))?;
    let bytes = fs::read(&copy)?;
    fs::remove_file(&copy)?;
    Ok(bytes)
}

fn archived(
    folder: &Path,
    reference: &str,
    entry_point: &str,
    layer: &Layer,
    take: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let file = scratch(folder, "image.tar")?;
    fs::write(&file, archive::docker(reference, entry_point, layer)?)?;
    let taken = take(&file);
    fs::remove_file(&file).context("remove the archive of the image")?;
    taken
}

fn import(site: &Site, reference: &str, archive: &Path) -> Result<()> {
    let mut import = Command::new("ctr");
    import.arg(format!("--address={}", site.text(containerd::SOCKET))).arg("--namespace=k8s.io");
    process::run(import.args(["images", "import", "--snapshotter=overlayfs"]).arg(archive))
        .with_context(|| format!("hand image {reference} to the node"))
        .map(drop)
}

/// A name of its own for each process and thread: several images may be made at once.
fn scratch(folder: &Path, purpose: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let thread = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_digit(), "");
    Ok(folder.join(format!("{}-{thread}-{purpose}", std::process::id())))
}

fn file_name(program: &Path) -> Result<&str> {
    program.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} names no file", program.display()))
}
