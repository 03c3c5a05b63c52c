//! The endpoints of many Webhooks in one process: each has its own verification, limits, memory of ids and counts, and what can be shared
//! they share.
//!
//! - `folder`: their configurations, a file for each, read again when they change.
//! - `shelf`: what is made of them. A change of one touches no other one.
//! - `directory`: which of them a request is for.

mod directory;
mod folder;
mod shelf;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use self::{
    directory::Directory,
    folder::Folder,
    shelf::{Shelf, Shown},
};
use crate::{
    controls::Controls,
    process::Process,
    receive::{Receiver, unknown},
    server::Endpoints,
};

/// The endpoints of many Webhooks.
pub(crate) struct Many {
    process: Process,
    served: RwLock<Arc<Served>>,
}

/// What is served at a moment.
#[derive(Default)]
pub(crate) struct Served {
    directory: Directory<Arc<Receiver>>,
    webhooks: BTreeMap<String, Shown>,
}

/// Configurations come up to 90 s after their ConfigMaps: another second is soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Many {
    /// Serves what the folder says, from now on and whenever it changes. Error: it cannot be read.
    pub(crate) async fn watch(process: Process, folder: PathBuf, controls: Controls) -> anyhow::Result<Arc<Self>> {
        let (mut folder, mut shelf) = (Folder::new(folder), Shelf::new(process.clone(), controls));
        let path = folder.path().display().to_string();
        let texts = folder.changed().await.with_context(|| format!("cannot read the folder {path}"))?;
        shelf.put(texts.unwrap_or_default());
        let many = Arc::new(Self { process, served: RwLock::new(Arc::new(shelf.served())) });
        info!(webhooks = many.served().webhooks.len(), "Configurations read");
        let kept = Arc::downgrade(&many);
        tokio::spawn(async move {
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(many) = kept.upgrade() else { return };
                shelf.obey();
                match folder.changed().await {
                    Ok(None) => {}
                    Ok(Some(texts)) => {
                        if shelf.put(texts) {
                            many.serve(shelf.served());
                        }
                    }
                    Err(error) => warn!("Configurations stay as they are: {path} cannot be read: {error}"),
                }
            }
        });
        Ok(many)
    }

    /// What all of them have in common.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// What is served now. A panic cannot have left it half changed: it is replaced as a whole.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, served: Served) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }
}

impl Served {
    /// The endpoints that are served.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &Arc<Receiver>> {
        self.webhooks.values().filter_map(|shown| shown.receiver.as_ref())
    }

    /// How it stands with a Webhook, where there is a configuration for it.
    pub(crate) fn webhook(&self, name: &str) -> Option<&Shown> {
        self.webhooks.get(name)
    }

    /// How many Webhooks there are configurations for.
    pub(crate) fn count(&self) -> usize {
        self.webhooks.len()
    }
}

/// Paths are compared as they were sent: a router would decode them.
impl Endpoints for Arc<Many> {
    async fn answer(self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let receiver = self.served().directory.find(&request).map(Arc::clone);
        let Some(receiver) = receiver else {
            self.process.families.unknown();
            return unknown();
        };
        receiver.answer(request, peer).await
    }
}
