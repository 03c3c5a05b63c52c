//! The keys that requests are verified with: mounted files, read again when they change, or keys that an issuer publishes.

mod mounted;
mod published;

use std::{fs, path::PathBuf, sync::Arc};

use tokio::{sync::watch, time::Instant};

pub(crate) use self::mounted::Secrets;
use self::published::Issuer;
use crate::verify::{Key, Scheme};

/// The keys, kept current.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    ring: watch::Receiver<Arc<KeyRing>>,
    /// Where they are published: they can be asked for before their time.
    issuer: Option<Issuer>,
}

/// The secrets as they were last read.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    pub(crate) keys: Vec<Key>,
    pub(crate) unusable: Vec<Unusable>,
}

/// A file that is no secret, or keys that cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) file: Option<PathBuf>,
    /// A sentence about it.
    pub(crate) reason: String,
}

impl KeyRing {
    /// Reads all files. What cannot be used is part of the answer: one secret of two is enough to verify some requests.
    pub(crate) fn read(scheme: &Scheme, files: &[PathBuf]) -> Self {
        let mut ring = Self::default();
        for file in files {
            match read_key(scheme, file) {
                Ok(key) => ring.keys.push(key),
                Err(reason) => ring.unusable.push(Unusable { file: Some(file.clone()), reason }),
            }
        }
        ring
    }

    /// Whether requests can be verified.
    pub(crate) fn is_usable(&self) -> bool {
        !self.keys.is_empty() || self.unusable.is_empty()
    }
}

fn read_key(scheme: &Scheme, file: &PathBuf) -> Result<Key, String> {
    let secret = fs::read(file).map_err(|error| format!("the secret {} cannot be read: {error}", file.display()))?;
    scheme.key(&secret).map_err(|error| format!("the secret {} {error}", file.display()))
}

impl Keys {
    /// The keys as they are now.
    pub(crate) fn current(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.borrow())
    }

    /// Has the keys fetched again where they are published, unless that happened just now. Whether the current ones are then all that
    /// can be known: by the deadline an issuer may not have answered.
    pub(crate) async fn renew(&self, deadline: Instant) -> bool {
        match &self.issuer {
            Some(issuer) => issuer.ask(deadline).await,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_of_two_is_enough_and_the_other_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["current", "next", "empty"].map(|name| folder.path().join(name));
        fs::write(&files[0], "secret").unwrap();
        fs::write(&files[2], "").unwrap();
        let ring = KeyRing::read(&Scheme::GitHub, &files);
        assert_eq!((ring.keys.len(), ring.is_usable()), (1, true));
        let reasons: Vec<_> = ring.unusable.iter().map(|unusable| unusable.reason.as_str()).collect();
        assert!(reasons[0].contains("next cannot be read"), "{reasons:?}");
        assert!(reasons[1].contains("empty is empty"), "{reasons:?}");
    }

    #[test]
    fn without_any_secret_nothing_can_be_verified_unless_nothing_is_to_be() {
        assert!(!KeyRing::read(&Scheme::GitHub, &["/nowhere/secret".into()]).is_usable());
        assert!(KeyRing::read(&Scheme::None, &[]).is_usable());
    }
}
