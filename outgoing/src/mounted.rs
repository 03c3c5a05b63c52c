//! Waits for changes of mounted files.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::Stamp;

/// Mounted files, and what they looked like when a change was last told.
#[derive(Debug)]
pub struct Mounted {
    files: Vec<PathBuf>,
    stamp: Stamp,
}

/// What is mounted changes by hand or once a month, and up to 90 s after its Secret or ConfigMap: another second is soon, and costs
/// one look at each file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Mounted {
    /// The files as they look now. Made before they are read, it misses no change in between.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let stamp = Stamp::of(&files);
        Self { files, stamp }
    }

    /// Waits until the files look different; `false` once nobody reads any more what the sender makes of them.
    ///
    /// They are in memory, as mounted files are: looking at them does not block.
    pub async fn change<T>(&mut self, sender: &watch::Sender<T>) -> bool {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let change = async {
            loop {
                ticks.tick().await;
                let stamp = Stamp::of(&self.files);
                if stamp != self.stamp {
                    self.stamp = stamp;
                    return true;
                }
            }
        };
        tokio::select! {
            () = sender.closed() => false,
            changed = change => changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_change_is_told_once_and_none_when_nobody_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let mut mounted = Mounted::new(vec![file.clone()]);
        let (sender, reader) = watch::channel(());
        for text in ["first", "the second"] {
            fs::write(&file, text).unwrap();
            assert!(mounted.change(&sender).await);
        }
        drop(reader);
        assert!(!mounted.change(&sender).await);
    }
}
