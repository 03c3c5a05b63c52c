//! Reads the ConfigMaps that a resource names.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::error::{Doing, Error};

/// The data of these ConfigMaps, by name, of those that exist.
pub(crate) async fn config_maps(
    client: &Client,
    namespace: &str,
    names: impl IntoIterator<Item = &str>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let mut found = BTreeMap::new();
    for name in names {
        let config_map = api.get_opt(name).await.doing(|| format!("read ConfigMap \"{namespace}/{name}\""))?;
        found.extend(config_map.map(|config_map| (name.to_owned(), config_map.data.unwrap_or_default())));
    }
    Ok(found)
}
