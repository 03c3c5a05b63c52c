//! Mounted keys, read again when they change: one look for all endpoints of a process.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sluice_outgoing::Stamp;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{KeyRing, Keys, published};
use crate::config::Endpoint;

/// Keeps keys current. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Secrets(mpsc::UnboundedSender<Watched>);

/// The files of an endpoint, and what they looked like when they were read.
#[derive(Debug)]
struct Watched {
    endpoint: Arc<Endpoint>,
    stamps: Vec<Stamp>,
    sender: watch::Sender<Arc<KeyRing>>,
}

/// Secrets change by hand or once a month, and up to 90 s after their Secret: another second is soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Secrets {
    /// From now on somebody looks.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(keep_current(receiver));
        Self(sender)
    }

    /// Reads the keys of an endpoint and keeps them current, for as long as anybody looks at them.
    pub(crate) fn watch(&self, endpoint: &Arc<Endpoint>) -> Keys {
        if let Some(address) = &endpoint.published_at {
            let (ring, issuer) = published::watch(address.clone(), endpoint.guard.clone());
            return Keys { ring, issuer: Some(issuer) };
        }
        // Made before they are read, they miss no change in between.
        let stamps = stamps(&endpoint.secrets, &mut HashMap::new());
        let (sender, ring) = watch::channel(Arc::new(read(endpoint)));
        if !endpoint.secrets.is_empty() {
            // Who looks ends with the process only.
            let _ = self.0.send(Watched { endpoint: Arc::clone(endpoint), stamps, sender });
        }
        Keys { ring, issuer: None }
    }
}

async fn keep_current(mut new: mpsc::UnboundedReceiver<Watched>) {
    let mut all: Vec<Watched> = Vec::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while let Ok(watched) = new.try_recv() {
            all.push(watched);
        }
        all.retain(|watched| !watched.sender.is_closed());
        if all.is_empty() && new.is_closed() {
            return;
        }
        let mut seen = HashMap::new();
        for watched in &mut all {
            let stamps = stamps(&watched.endpoint.secrets, &mut seen);
            if stamps != watched.stamps {
                watched.stamps = stamps;
                watched.sender.send_replace(Arc::new(read(&watched.endpoint)));
            }
        }
    }
}

/// What files look like. What was `seen` in this look is not looked at again: many endpoints have their keys in one Secret.
///
/// They are in memory, as mounted files are: looking at them does not block.
fn stamps(files: &[PathBuf], seen: &mut HashMap<PathBuf, Stamp>) -> Vec<Stamp> {
    let look = |file: &PathBuf| {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        if let Some(stamp) = seen.get(folder) {
            return stamp.clone();
        }
        if let Some(stamp) = Stamp::of_mounted(folder) {
            seen.insert(folder.to_owned(), stamp.clone());
            return stamp;
        }
        Stamp::of(std::slice::from_ref(file))
    };
    files.iter().map(look).collect()
}

fn read(endpoint: &Endpoint) -> KeyRing {
    let ring = KeyRing::read(&endpoint.scheme, &endpoint.secrets);
    for unusable in &ring.unusable {
        warn!("Secret unusable: {}", unusable.reason);
    }
    if !endpoint.secrets.is_empty() {
        info!(usable = ring.keys.len(), of = endpoint.secrets.len(), "Secrets read");
    }
    ring
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::config::tests::endpoint;

    #[tokio::test(start_paused = true)]
    async fn keys_of_a_mounted_secret_follow_its_link() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            fs::create_dir(folder.path().join(version)).unwrap();
        }
        fs::write(folder.path().join("2/one"), "secret").unwrap();
        let data = folder.path().join("..data");
        symlink(folder.path().join("1"), &data).unwrap();
        let file = |name: &str| {
            symlink(data.join(name), folder.path().join(name)).unwrap();
            Arc::new(Endpoint { secrets: vec![folder.path().join(name)], ..endpoint() })
        };
        let secrets = Secrets::start();
        let (mut one, two) = (secrets.watch(&file("one")), secrets.watch(&file("two")));
        assert!(!one.current().is_usable());
        fs::remove_file(&data).unwrap();
        symlink(folder.path().join("2"), &data).unwrap();
        drop(one.ring.wait_for(|ring| ring.is_usable()).await.unwrap());
        assert!(!two.current().is_usable());
    }
}
