//! Reads mounted Secrets, and says in plain words what is missing: Kubernetes mounts a Secret that does not exist as an empty folder.

use std::{fs, io, path::Path};

/// Why a key of a Secret cannot be used: what is missing, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// The text of a Secret's key, mounted as `<folder>/<name of the Secret>/<key>`, without the line end that editors and `echo`
/// leave behind.
pub fn read_secret(file: &Path) -> Result<String, Missing> {
    let [key, name] = [Some(file), file.parent()]
        .map(|path| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    let bytes = fs::read(file).map_err(|error| missing(file, &name, &key, &error))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Missing(format!("the key {key:?} of the Secret {name:?} is no text")))?;
    match text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)) {
        "" => Err(Missing(format!("the key {key:?} of the Secret {name:?} is empty"))),
        text => Ok(text.to_owned()),
    }
}

fn missing(file: &Path, name: &str, key: &str, error: &io::Error) -> Missing {
    if error.kind() != io::ErrorKind::NotFound {
        return Missing(format!("the key {key:?} of the Secret {name:?} cannot be read: {error}"));
    }
    let keys = file.parent().map(keys).unwrap_or_default();
    if keys.is_empty() {
        return Missing(format!(
            "there is no Secret {name:?} in this namespace, or nothing in it; create it with the key {key:?}"
        ));
    }
    Missing(format!("the Secret {name:?} has no key {key:?}; it has: {}", keys.join(", ")))
}

/// The kubelet's own entries begin with dots.
fn keys(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut keys: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    keys.retain(|key| !key.starts_with(".."));
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("ledger");
        let message = || read_secret(&secret.join("token")).unwrap_err().to_string();
        let absent =
            "there is no Secret \"ledger\" in this namespace, or nothing in it; create it with the key \"token\"";
        assert_eq!(message(), absent);
        fs::create_dir_all(secret.join("..data")).unwrap();
        assert_eq!(message(), absent);
        fs::write(secret.join("other"), "x").unwrap();
        fs::write(secret.join("user"), "x").unwrap();
        assert_eq!(message(), "the Secret \"ledger\" has no key \"token\"; it has: other, user");
        fs::write(secret.join("token"), "\n").unwrap();
        assert_eq!(message(), "the key \"token\" of the Secret \"ledger\" is empty");
        fs::write(secret.join("token"), [0xff]).unwrap();
        assert_eq!(message(), "the key \"token\" of the Secret \"ledger\" is no text");
        for (written, read) in
            [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b ", " a b ")]
        {
            fs::write(secret.join("token"), written).unwrap();
            assert_eq!(read_secret(&secret.join("token")).as_deref(), Ok(read));
        }
    }
}
