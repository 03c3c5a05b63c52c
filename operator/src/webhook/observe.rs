//! Reads the objects that a Webhook owns.

use kube::Client;
use sluice_model::{
    children::{Child, ChildKind, Live},
    webhook::{COMPONENT, Endpoint, GatewayApi, receiver_name},
};

use crate::{
    children::{self, Existence},
    error::Error,
};

/// What exists of `desired`; without the Gateway API the route is no longer desired, so that everything else works. A route that
/// exists is seen also where none is desired.
pub async fn observe(
    client: &Client,
    endpoint: &Endpoint,
    mut desired: Vec<Child>,
) -> Result<(Vec<Child>, Vec<Live>, GatewayApi), Error> {
    let (namespace, name) = (&endpoint.owner.name.namespace, receiver_name(&endpoint.owner));
    let is_route = |kind| kind == ChildKind::HttpRoute;
    let route = children::get(client, ChildKind::HttpRoute, namespace, &name).await?;
    let gateway_api = match route {
        Existence::KindUnknown => GatewayApi::Missing,
        _ => GatewayApi::Installed,
    };
    if gateway_api == GatewayApi::Missing {
        desired.retain(|child| !is_route(child.kind));
    }
    let mut live = children::observe(client, &endpoint.owner, COMPONENT, &desired).await?;
    if let Existence::There(route) = route
        && !live.iter().any(|object| is_route(object.kind))
    {
        live.push(*route);
    }
    Ok((desired, live, gateway_api))
}
