//! Fetches what a Webhook refers to.

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;
use sluice_crds::{ParentReference, Webhook};
use sluice_model::webhook::{Allowed, Listener, References};

use crate::{
    config_maps::config_maps,
    error::{Doing, Error},
    integration::topic,
};

/// The Topics, the ConfigMap and the gateways' listeners; what does not exist is left out.
pub async fn resolve(client: &Client, webhook: &Webhook) -> Result<References, Error> {
    let namespace = webhook.namespace().unwrap_or_default();
    let spec = &webhook.spec;
    let events = topic(client, &namespace, spec.topic_ref.as_ref().map(|topic| topic.name.as_str()));
    let dead_letters = topic(client, &namespace, spec.dead_letters_ref().map(|topic| topic.name.as_str()));
    let config_maps = config_maps(client, &namespace, webhook.spec.config_map_name());
    let (topic, dead_letters, config_maps) = futures::try_join!(events, dead_letters, config_maps)?;
    let (mut listeners, mut missing_gateways) = (Vec::new(), Vec::new());
    for parent in &webhook.spec.route.parent_refs {
        let gateway_namespace = parent.namespace.as_deref().unwrap_or(&namespace);
        match listeners_of(client, gateway_namespace, parent).await? {
            Some(found) => listeners.extend(found),
            None => missing_gateways.push(format!("{gateway_namespace}/{}", parent.name)),
        }
    }
    Ok(References { topic, dead_letters, config_maps, listeners, missing_gateways, older_claim: None })
}

/// The listeners of a Gateway; `None` where it does not exist.
async fn listeners_of(
    client: &Client,
    namespace: &str,
    parent: &ParentReference,
) -> Result<Option<Vec<Listener>>, Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway"));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let gateway = match api.get(&parent.name).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
        // The Gateway API itself is not there: the route's condition says so. Or the Gateway's namespace is not among those that
        // this operator looks after.
        Err(kube::Error::Api(status)) if status.code == 404 || status.is_forbidden() => return Ok(Some(Vec::new())),
        gateway => gateway.doing(|| format!("read Gateway \"{namespace}/{}\"", parent.name))?,
    };
    let address = gateway.data["status"]["addresses"][0]["value"].as_str().map(str::to_owned);
    let listeners = gateway.data["spec"]["listeners"].as_array().cloned().unwrap_or_default();
    let listener = |listener: &Value| {
        let text = |key: &str| listener[key].as_str().map(str::to_owned);
        Some(Listener {
            namespace: namespace.to_owned(),
            gateway: parent.name.clone(),
            name: text("name")?,
            protocol: text("protocol")?,
            port: listener["port"].as_u64()?.try_into().ok()?,
            hostname: text("hostname"),
            address: address.clone(),
            allowed: match listener["allowedRoutes"]["namespaces"]["from"].as_str() {
                Some("All") => Allowed::All,
                Some("Selector") => Allowed::Selected,
                _ => Allowed::OwnNamespace,
            },
        })
    };
    Ok(Some(listeners.iter().filter_map(listener).collect()))
}
