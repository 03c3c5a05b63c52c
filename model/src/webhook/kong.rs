//! What Kong does with the requests of a route: KongPlugins, which the route names.

use serde_json::{Value, json};
use sluice_crds::{Kong, KongRateLimit, Network};

use super::{COMPONENT, Endpoint, receiver_name};
use crate::{
    Rejection,
    children::{Child, ChildKind, Owner},
};

/// The annotation by which an HTTPRoute or Ingress names its plugins.
pub(super) const ANNOTATION: &str = "konghq.com/plugins";

const RATE_LIMITING: &str = "rate-limiting";
const IP_RESTRICTION: &str = "ip-restriction";

/// A plugin and its settings, as Kong calls them.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    name: &'static str,
    config: Value,
}

/// The plugins that are asked for, or what is wrong with their settings.
pub(super) fn plugins(kong: Option<&Kong>) -> Result<Vec<Plugin>, Vec<Rejection>> {
    let Some(kong) = kong else { return Ok(Vec::new()) };
    let rejections: Vec<_> = [("allow", &kong.allow), ("deny", &kong.deny)]
        .into_iter()
        .flat_map(|(field, texts)| bad_networks(field, texts))
        .collect();
    if rejections.is_empty() {
        Ok(kong.rate_limit.as_ref().map(rate_limiting).into_iter().chain(ip_restriction(kong)).collect())
    } else {
        Err(rejections)
    }
}

fn bad_networks(field: &str, texts: &[String]) -> impl Iterator<Item = Rejection> {
    let wrong = texts.iter().filter_map(|text| text.parse::<Network>().err());
    wrong.map(move |error| Rejection::invalid(format!("spec.route.kong.{field}"), error.to_string()))
}

fn rate_limiting(limit: &KongRateLimit) -> Plugin {
    let mut config = json!({"limit_by": "ip", "policy": "local"});
    for (unit, requests) in [("second", limit.per_second), ("minute", limit.per_minute)] {
        if let Some(requests) = requests {
            config[unit] = json!(requests);
        }
    }
    Plugin { name: RATE_LIMITING, config }
}

fn ip_restriction(kong: &Kong) -> Option<Plugin> {
    let mut config = json!({});
    for (list, networks) in [("allow", &kong.allow), ("deny", &kong.deny)] {
        if !networks.is_empty() {
            config[list] = json!(networks);
        }
    }
    config.as_object().is_some_and(|lists| !lists.is_empty()).then_some(Plugin { name: IP_RESTRICTION, config })
}

/// The names of all KongPlugins that an endpoint can have.
pub(super) fn plugin_names(owner: &Owner) -> [String; 2] {
    [RATE_LIMITING, IP_RESTRICTION].map(|plugin| object_name(owner, plugin))
}

fn object_name(owner: &Owner, plugin: &str) -> String {
    format!("{}-{plugin}", receiver_name(owner))
}

impl Plugin {
    /// The name of its KongPlugin.
    pub(super) fn object_name(&self, endpoint: &Endpoint) -> String {
        object_name(&endpoint.owner, self.name)
    }

    pub(super) fn child(&self, endpoint: &Endpoint) -> Child {
        let body = json!({"plugin": self.name, "config": self.config});
        endpoint.owner.child(ChildKind::KongPlugin, COMPONENT, &self.object_name(endpoint), body)
    }
}
