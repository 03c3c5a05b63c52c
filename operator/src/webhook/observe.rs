//! Reads the objects that a Webhook owns.

use futures::future::try_join_all;
use kube::Client;
use sluice_model::{
    children::{Child, ChildKind, Live, Owner},
    webhook::{COMPONENT, plugins_of, receiver_name, route_kinds},
};

use crate::{
    children::{self, Existence},
    error::Error,
};

/// What exists of `desired`. Where the cluster does not have a kind that the route needs, which is then given back, route and plugins are no
/// longer desired, so that everything else works: a route without its plugins would let in whom they keep out. A route that exists is seen
/// also where none is desired, or one of another kind, and so are the plugins that it names.
pub async fn observe(
    client: &Client,
    owner: &Owner,
    mut desired: Vec<Child>,
) -> Result<(Vec<Child>, Vec<Live>, Option<ChildKind>), Error> {
    let (namespace, name) = (&owner.name.namespace, receiver_name(owner));
    let mut names: Vec<(ChildKind, String)> = route_kinds().map(|kind| (kind, name.clone())).into();
    names.extend(
        desired
            .iter()
            .filter(|child| child.kind == ChildKind::KongPlugin)
            .map(|child| (child.kind, child.name.clone())),
    );
    let found = get_all(client, namespace, &names).await?;
    let is_desired = |kind| desired.iter().any(|child| child.kind == kind);
    let unknown = names
        .iter()
        .zip(&found)
        .find(|((kind, _), found)| matches!(found, Existence::KindUnknown) && is_desired(*kind));
    let unknown = unknown.map(|((kind, _), _)| *kind);
    if unknown.is_some() {
        desired.retain(|child| !is_of_route(child.kind));
    }
    let routes: Vec<Live> = found.into_iter().filter_map(Existence::there).collect();
    let more: Vec<_> =
        routes.iter().flat_map(plugins_of).map(|plugin| (ChildKind::KongPlugin, plugin.to_owned())).collect();
    let more =
        get_all(client, namespace, &more.into_iter().filter(|plugin| !names.contains(plugin)).collect::<Vec<_>>())
            .await?;
    let mut live = children::observe(client, owner, COMPONENT, &desired).await?;
    for object in routes.into_iter().chain(more.into_iter().filter_map(Existence::there)) {
        if !live.iter().any(|known| (known.kind, &known.name) == (object.kind, &object.name)) {
            live.push(object);
        }
    }
    Ok((desired, live, unknown))
}

fn is_of_route(kind: ChildKind) -> bool {
    kind == ChildKind::KongPlugin || route_kinds().contains(&kind)
}

async fn get_all(client: &Client, namespace: &str, names: &[(ChildKind, String)]) -> Result<Vec<Existence>, Error> {
    try_join_all(names.iter().map(|(kind, name)| children::get(client, *kind, namespace, name))).await
}
