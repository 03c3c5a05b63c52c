//! The schema registries of the configuration.
//!
//! - `api`: the requests, one function each.
//! - `book`: what is known of the subjects of one registry, and which schemas wait to be registered.
//! - `registrar`: what becomes of the subjects of one registry. It works beside the passes, which only ask it: a registry that
//!   does not answer keeps no pass, and no other registry, from going on.

mod api;
mod book;
mod registrar;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use futures::future::join_all;
use sluice_crds::{NamespacedName, Settings};
use sluice_model::topic::{SchemaOutcome, WantedSchema};

use self::{api::Api, registrar::Registrar};
use crate::{context::Context, leader::Leadership, metrics::Metrics};

/// The registries, by name.
pub struct Schemas(BTreeMap<String, Registrar>);

impl Schemas {
    /// Nothing is asked yet. A replica that does not lead asks nothing. Error: an address is none.
    pub fn new(settings: &Settings, leadership: &Leadership, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let registrar = |(name, entry): (&String, &sluice_crds::SchemaRegistry)| {
            let api = Api::new(name, entry, leadership.clone(), Arc::clone(metrics));
            let api = api.with_context(|| format!("schemaRegistries.{name}.url is {:?}", entry.url))?;
            anyhow::Ok((name.clone(), Registrar::new(api, entry.drift_interval.get())))
        };
        settings.schema_registries.iter().map(registrar).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Works for ever. No registry waits for another.
    pub async fn run(context: Arc<Context>) {
        let context = context.as_ref();
        join_all(context.schemas.0.values().map(|registrar| registrar.run(context))).await;
    }

    /// What became of a Topic's schema. Where that takes longer than a moment, the Topic is woken when it is known.
    pub async fn outcome(&self, topic: &NamespacedName, wanted: WantedSchema) -> SchemaOutcome {
        for (_, other) in self.0.iter().filter(|(name, _)| **name != wanted.registry) {
            other.forget(topic);
        }
        match self.0.get(&wanted.registry) {
            Some(registrar) => registrar.outcome(topic, wanted).await,
            None => SchemaOutcome::Asked,
        }
    }

    /// The Topic has no schema, or no subject of its own.
    pub fn forget(&self, topic: &NamespacedName) {
        for registrar in self.0.values() {
            registrar.forget(topic);
        }
    }
}
