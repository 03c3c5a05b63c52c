//! Reads the configuration with the note of the last spec that could be carried out.

use kube::Client;
use sluice_crds::LastGood;
use sluice_model::children::{ChildKind, Live};

use super::get;
use crate::error::Error;

/// The configuration that a status names, where it names one that is there.
pub async fn remembered(client: &Client, namespace: &str, last_good: Option<&LastGood>) -> Result<Option<Live>, Error> {
    let Some(LastGood { config_map, .. }) = last_good else { return Ok(None) };
    Ok(get(client, ChildKind::ConfigMap, namespace, config_map).await?.there())
}
