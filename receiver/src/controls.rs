//! What the receiver obeys without a restart: a mounted file, read again when it changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sluice_crds::wire::{CONTROLS_KEY, ReceiverControls};
use sluice_outgoing::Mounted;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::ConfigError;

/// What is obeyed at the moment.
pub(crate) type Controls = watch::Receiver<ReceiverControls>;

/// Reads `controls.json` of a folder, and keeps it current for as long as anybody looks at it. What cannot be read changes nothing.
pub(crate) fn watch(folder: &Path) -> Result<Controls, ConfigError> {
    let file = folder.join(CONTROLS_KEY);
    let mounted = Mounted::new(vec![file.clone()]);
    let (sender, controls) = watch::channel(read(&file)?);
    tokio::spawn(keep_current(file, mounted, sender));
    Ok(controls)
}

async fn keep_current(file: PathBuf, mut mounted: Mounted, sender: watch::Sender<ReceiverControls>) {
    while mounted.change(&sender).await {
        match read(&file) {
            Ok(controls) => tell(&sender, controls),
            Err(error) => warn!("Controls stay as they are: {error}"),
        }
    }
}

fn tell(sender: &watch::Sender<ReceiverControls>, controls: ReceiverControls) {
    let changed = sender.send_if_modified(|current| std::mem::replace(current, controls) != controls);
    if changed {
        info!(?controls, "Controls changed");
    }
}

fn read(file: &Path) -> Result<ReceiverControls, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::File { path: file.into(), source })?;
    serde_json::from_str(&text).map_err(|error| ConfigError::Malformed { path: file.into(), reason: error.to_string() })
}
