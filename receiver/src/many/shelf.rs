//! What is made of the configurations of many Webhooks: an endpoint of each that can be served. One that does not change stays as it is, with
//! all that it has counted and remembers; one that cannot be served leaves what was served before.

use std::{collections::BTreeMap, sync::Arc};

use sluice_crds::wire::{ReceiverControls, SharedWebhook};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Served, directory::Directory, folder::Texts};
use crate::{config, controls::Controls, process::Process, receive::Receiver};

/// The endpoints, by the names of their Webhooks.
pub(super) struct Shelf {
    process: Process,
    /// What all Webhooks obey.
    controls: Controls,
    kept: BTreeMap<String, Kept>,
}

/// What is known of a Webhook.
struct Kept {
    /// Its configuration, as it was read.
    text: String,
    endpoint: Option<Endpoint>,
    /// Why the configuration is not served.
    trouble: Option<String>,
}

/// An endpoint that is served.
struct Endpoint {
    webhook: Arc<SharedWebhook>,
    receiver: Arc<Receiver>,
    controls: watch::Sender<ReceiverControls>,
}

/// How it stands with a Webhook.
#[derive(Clone)]
pub(crate) struct Shown {
    /// What is served of it, where something is.
    pub(crate) receiver: Option<Arc<Receiver>>,
    /// The revision that is served.
    pub(crate) revision: String,
    /// Why its newest configuration is not.
    pub(crate) trouble: Option<String>,
}

impl Shelf {
    pub(super) fn new(process: Process, controls: Controls) -> Self {
        Self { process, controls, kept: BTreeMap::new() }
    }

    /// Takes the configurations as they are now; whether anything is served otherwise.
    pub(super) fn put(&mut self, texts: Texts) -> bool {
        let mut changed = 0;
        self.kept.retain(|name, kept| {
            let stays = texts.contains_key(name);
            if !stays {
                info!(webhook = name, "Webhook gone");
                changed += 1;
                if let Some(endpoint) = &kept.endpoint {
                    endpoint.receiver.counters.forget();
                }
            }
            stays
        });
        for (name, text) in texts {
            let known = self.kept.remove(&name);
            let kept = match known {
                Some(kept) if kept.text == text => kept,
                known => {
                    changed += 1;
                    self.keep(&name, text, known.and_then(|kept| kept.endpoint))
                }
            };
            self.kept.insert(name, kept);
        }
        changed > 0
    }

    /// What follows from a configuration that is new.
    fn keep(&self, name: &str, text: String, before: Option<Endpoint>) -> Kept {
        match self.judge(&text, before.as_ref()) {
            Ok(endpoint) => {
                let SharedWebhook { revision, generation, .. } = endpoint.webhook.as_ref();
                info!(webhook = name, revision, generation, "Webhook served");
                Kept { text, endpoint: Some(endpoint), trouble: None }
            }
            Err(trouble) => {
                warn!(webhook = name, "Webhook not served: {trouble}");
                Kept { text, endpoint: before, trouble: Some(trouble) }
            }
        }
    }

    fn judge(&self, text: &str, before: Option<&Endpoint>) -> Result<Endpoint, String> {
        let webhook: SharedWebhook = serde_json::from_str(text).map_err(|error| {
            format!("the configuration is not what this receiver reads: {error}; do operator and receiver have the same version?")
        })?;
        let obeyed = self.obeyed(&webhook);
        if let Some(before) = before.filter(|before| before.webhook.config == webhook.config) {
            before.controls.send_replace(obeyed);
            let (receiver, controls) = (Arc::clone(&before.receiver), before.controls.clone());
            return Ok(Endpoint { webhook: Arc::new(webhook), receiver, controls });
        }
        let endpoint = config::validate(webhook.config.clone(), webhook.generation);
        let endpoint = endpoint.map_err(|complaints| format!("it cannot be served: {}", complaints.join("; ")))?;
        let (controls, obeying) = watch::channel(obeyed);
        let receiver = match before {
            Some(before) => before.receiver.replaced(&self.process, Arc::new(endpoint), obeying),
            None => Receiver::new(&self.process, Arc::new(endpoint), obeying),
        };
        Ok(Endpoint { webhook: Arc::new(webhook), receiver: Arc::new(receiver), controls })
    }

    /// What a Webhook obeys: its own pause, and what all obey.
    fn obeyed(&self, webhook: &SharedWebhook) -> ReceiverControls {
        let all = *self.controls.borrow();
        ReceiverControls { paused: webhook.paused || all.paused, ..all }
    }

    /// Tells all endpoints what they obey, where that has changed.
    pub(super) fn obey(&mut self) {
        if !self.controls.has_changed().unwrap_or_default() {
            return;
        }
        self.controls.mark_unchanged();
        for endpoint in self.kept.values().filter_map(|kept| kept.endpoint.as_ref()) {
            let obeyed = self.obeyed(&endpoint.webhook);
            endpoint.controls.send_if_modified(|current| std::mem::replace(current, obeyed) != obeyed);
        }
    }

    /// What is served now.
    pub(super) fn served(&self) -> Served {
        let endpoints = self.kept.values().filter_map(|kept| kept.endpoint.as_ref());
        let places = endpoints.map(|endpoint| (Arc::clone(&endpoint.webhook), Arc::clone(&endpoint.receiver)));
        let shown = |kept: &Kept| Shown {
            receiver: kept.endpoint.as_ref().map(|endpoint| Arc::clone(&endpoint.receiver)),
            revision: kept.endpoint.as_ref().map(|endpoint| endpoint.webhook.revision.clone()).unwrap_or_default(),
            trouble: kept.trouble.clone(),
        };
        Served {
            directory: Directory::of(places),
            webhooks: self.kept.iter().map(|(name, kept)| (name.clone(), shown(kept))).collect(),
        }
    }
}
