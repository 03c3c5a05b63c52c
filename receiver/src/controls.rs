//! What the receiver obeys without a restart: a mounted file, read again when it changes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sluice_crds::wire::{CONTROLS_KEY, ReceiverControls};
use sluice_outgoing::Stamp;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::config::ConfigError;

/// What is obeyed at the moment.
pub(crate) type Controls = watch::Receiver<ReceiverControls>;

/// A mounted file changes up to 90 s after its ConfigMap: another second is soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads `controls.json` of a folder, and keeps it current for as long as anybody looks at it. What cannot be read changes nothing.
pub(crate) fn watch(folder: &Path) -> Result<Controls, ConfigError> {
    let file = folder.join(CONTROLS_KEY);
    let stamp = stamp(&file);
    let (sender, controls) = watch::channel(read(&file)?);
    tokio::spawn(keep_current(file, stamp, sender));
    Ok(controls)
}

async fn keep_current(file: PathBuf, mut stamp: Stamp, sender: watch::Sender<ReceiverControls>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !sender.is_closed() {
        ticks.tick().await;
        let current = self::stamp(&file);
        if current == stamp {
            continue;
        }
        stamp = current;
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

fn stamp(file: &Path) -> Stamp {
    Stamp::of(&[file.to_owned()])
}

fn read(file: &Path) -> Result<ReceiverControls, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::File { path: file.into(), source })?;
    serde_json::from_str(&text).map_err(|error| ConfigError::Malformed { path: file.into(), reason: error.to_string() })
}
