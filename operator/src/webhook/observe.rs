//! Reads the objects that a Webhook owns.

use kube::Client;
use sluice_model::{
    children::{Child, ChildKind, Live},
    webhook::{COMPONENT, Endpoint, GatewayApi},
};

use crate::{
    children::{self, Existence},
    error::Error,
};

/// What exists of `desired`; without the Gateway API the route is no longer desired, so that everything else works.
pub async fn observe(
    client: &Client,
    endpoint: &Endpoint,
    mut desired: Vec<Child>,
) -> Result<(Vec<Child>, Vec<Live>, GatewayApi), Error> {
    let mut gateway_api = GatewayApi::Installed;
    if let Some(route) = desired.iter().find(|child| child.kind == ChildKind::HttpRoute) {
        let found = children::get(client, ChildKind::HttpRoute, &endpoint.owner.name.namespace, &route.name).await?;
        if matches!(found, Existence::KindUnknown) {
            gateway_api = GatewayApi::Missing;
            desired.retain(|child| child.kind != ChildKind::HttpRoute);
        }
    }
    let live = children::observe(client, &endpoint.owner, COMPONENT, &desired).await?;
    Ok((desired, live, gateway_api))
}
