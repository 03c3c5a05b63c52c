//! Reads the objects that a Webhook owns.

use futures::future::try_join_all;
use kube::Client;
use sluice_model::{
    children::{Child, ChildKind, Live, Owner},
    webhook::{COMPONENT, all_of_route, belongings, is_of_route, receiver_name},
};

use crate::{
    children::{self, Existence},
    context::Context,
    error::Error,
};

/// What exists of `desired`, and which kinds of it the cluster does not have, of those that routes need. A route that exists is seen also where
/// none is desired, or one of another kind, and so is what belongs to it, or did.
pub async fn observe(
    context: &Context,
    owner: &Owner,
    desired: &[Child],
) -> Result<(Vec<Live>, Vec<ChildKind>), Error> {
    let (client, namespace, name) = (&context.client, &owner.name.namespace, receiver_name(owner));
    let (of_route, rest): (Vec<Child>, Vec<Child>) = desired.iter().cloned().partition(|child| is_of_route(child.kind));
    let wanted: Vec<(ChildKind, String)> = of_route.into_iter().map(|child| (child.kind, child.name)).collect();
    // Receivers of its own may be left over where it shares others now.
    let is_desired = |kind| rest.iter().any(|child| child.kind == kind);
    let own = [ChildKind::Deployment, ChildKind::Service].into_iter().filter(|kind| !is_desired(*kind));
    let others = all_of_route(owner).into_iter().chain(own.map(|kind| (kind, name.clone())));
    let others: Vec<_> = others.filter(|other| !wanted.contains(other)).collect();
    let (found, left) = futures::try_join!(get_all(client, namespace, &wanted), look_for(client, namespace, &others))?;
    let unknown = wanted.iter().zip(&found).filter(|(_, found)| matches!(found, Existence::KindUnknown));
    let unknown = unknown.map(|((kind, _), _)| *kind).collect();
    let routes: Vec<Live> = found.into_iter().filter_map(Existence::there).chain(left).collect();
    let belongings: Vec<_> = routes.iter().flat_map(belongings).filter(|one| !wanted.contains(one)).collect();
    let belongings = look_for(client, namespace, &belongings).await?;
    let mut live = children::observe(context, owner, COMPONENT, &rest).await?;
    for object in routes.into_iter().chain(belongings) {
        if !live.iter().any(|known| (known.kind, &known.name) == (object.kind, &object.name)) {
            live.push(object);
        }
    }
    // Deleted in this order, and without it nobody would know that there is more.
    live.sort_by_key(|object| object.kind == ChildKind::AwsApi);
    Ok((live, unknown))
}

async fn get_all(client: &Client, namespace: &str, names: &[(ChildKind, String)]) -> Result<Vec<Existence>, Error> {
    try_join_all(names.iter().map(|(kind, name)| children::get(client, *kind, namespace, name))).await
}

/// What there is of objects that may be left over. Where a kind may not be read, nothing of it was made either.
async fn look_for(client: &Client, namespace: &str, names: &[(ChildKind, String)]) -> Result<Vec<Live>, Error> {
    let looks = try_join_all(names.iter().map(|(kind, name)| look(client, *kind, namespace, name)));
    Ok(looks.await?.into_iter().flatten().collect())
}

async fn look(client: &Client, kind: ChildKind, namespace: &str, name: &str) -> Result<Option<Live>, Error> {
    match children::get(client, kind, namespace, name).await {
        Err(error) if error.is_forbidden() => Ok(None),
        found => found.map(Existence::there),
    }
}
