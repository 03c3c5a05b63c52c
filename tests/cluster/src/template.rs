//! Configuration files with `{{name}}` where a cluster's own values go.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Every name must have a value: the templates are part of this program, so a gap is its bug.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    assert!(!text.contains("{{"), "a template has a name without a value:\n{text}");
    text
}

/// Writes a file and the folders above it. One that is there already with that content is not touched: kube-proxy ends
/// itself when its configuration is written again.
pub(crate) fn write(path: &Path, content: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == content.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        assert_eq!(fill("a={{x}} b={{y}}{{x}}", &[("x", "1"), ("y", "2")]), "a=1 b=21");
    }

    #[test]
    fn a_file_with_the_same_content_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        write(&path, "1").unwrap();
        let written = path.metadata().unwrap().modified().unwrap();
        write(&path, "1").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), written);
        write(&path, "2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    #[should_panic(expected = "without a value")]
    fn a_forgotten_name_is_noticed() {
        fill("{{x}}", &[]);
    }
}
