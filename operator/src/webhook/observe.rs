//! Reads the objects that a Webhook owns.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::try_join_all;
use sluice_crds::NamespacedName;
use sluice_model::{
    children::{Child, ChildKind, Live, Owner},
    webhook::{COMPONENT, all_of_route, belongings, is_of_route, receiver_name},
};
use tokio::time::Instant;

use super::{LOOK_FOR_KIND, absences::Object};
use crate::{
    children::{self, Existence},
    context::Context,
    error::Error,
};

/// The kinds that the cluster did not have, and when it was asked: what may be left over of them need not be looked for in each pass.
#[derive(Debug, Default)]
pub struct UnknownKinds(Mutex<HashMap<ChildKind, Instant>>);

impl UnknownKinds {
    /// Learns from an answer.
    fn hear(&self, kind: ChildKind, found: &Existence, now: Instant) {
        if matches!(found, Existence::KindUnknown) {
            self.lock().insert(kind, now);
        } else {
            self.lock().remove(&kind);
        }
    }

    /// Whether an object of this kind may exist.
    fn may_exist(&self, kind: ChildKind, now: Instant) -> bool {
        self.lock().get(&kind).is_none_or(|asked| now.duration_since(*asked) >= LOOK_FOR_KIND)
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<ChildKind, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What exists of `desired`, and which kinds of it the cluster does not have, of those that routes need. A route that exists is seen also where
/// none is desired, or one of another kind, and so is what belongs to it, or did.
pub async fn observe(
    context: &Context,
    owner: &Owner,
    desired: &[Child],
) -> Result<(Vec<Live>, Vec<ChildKind>), Error> {
    let (namespace, name) = (owner.name.namespace.as_str(), receiver_name(owner));
    let (of_route, rest): (Vec<Child>, Vec<Child>) = desired.iter().cloned().partition(|child| is_of_route(child.kind));
    let wanted: Vec<Object> = of_route.into_iter().map(|child| (child.kind, child.name)).collect();
    // Receivers of its own may be left over where it shares others now.
    let is_desired = |kind| rest.iter().any(|child| child.kind == kind);
    let own = [ChildKind::Deployment, ChildKind::Service].into_iter().filter(|kind| !is_desired(*kind));
    let others = all_of_route(owner).into_iter().chain(own.map(|kind| (kind, name.clone())));
    let others: Vec<_> = others.filter(|other| !wanted.contains(other)).collect();
    context.absences.are_wanted(&owner.name, &wanted);
    let (found, left) =
        futures::try_join!(get_all(context, namespace, &wanted), look_for(context, &owner.name, &others))?;
    let unknown = wanted.iter().zip(&found).filter(|(_, found)| matches!(found, Existence::KindUnknown));
    let unknown = unknown.map(|((kind, _), _)| *kind).collect();
    let routes: Vec<Live> = found.into_iter().filter_map(Existence::there).chain(left).collect();
    let belongings: Vec<_> = routes.iter().flat_map(belongings).filter(|one| !wanted.contains(one)).collect();
    let belongings = look_for(context, &owner.name, &belongings).await?;
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

async fn get_all(context: &Context, namespace: &str, names: &[Object]) -> Result<Vec<Existence>, Error> {
    try_join_all(names.iter().map(|(kind, name)| get(context, *kind, namespace, name))).await
}

/// What there is of objects that may be left over. Where a kind may not be read, nothing of it was made either.
async fn look_for(context: &Context, webhook: &NamespacedName, objects: &[Object]) -> Result<Vec<Live>, Error> {
    let now = Instant::now();
    let may_exist = |object: &&Object| {
        context.unknown_kinds.may_exist(object.0, now) && context.absences.may_exist(webhook, object)
    };
    let looks = try_join_all(objects.iter().filter(may_exist).map(|object| look(context, webhook, object)));
    Ok(looks.await?.into_iter().flatten().collect())
}

async fn look(context: &Context, webhook: &NamespacedName, object: &Object) -> Result<Option<Live>, Error> {
    let (kind, name) = object;
    match get(context, *kind, &webhook.namespace, name).await {
        Err(error) if error.is_forbidden() => Ok(None),
        found => {
            let found = found?;
            context.absences.hear(webhook, object, &found, Instant::now());
            Ok(found.there())
        }
    }
}

async fn get(context: &Context, kind: ChildKind, namespace: &str, name: &str) -> Result<Existence, Error> {
    let found = children::get(&context.client, kind, namespace, name).await?;
    context.unknown_kinds.hear(kind, &found, Instant::now());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_the_cluster_does_not_have_is_looked_for_again_after_some_time_and_once_it_has_come() {
        let (kinds, now, kind) = (UnknownKinds::default(), Instant::now(), ChildKind::KongPlugin);
        assert!(kinds.may_exist(kind, now));
        kinds.hear(kind, &Existence::KindUnknown, now);
        let later = now + LOOK_FOR_KIND;
        assert_eq!([now, later].map(|at| kinds.may_exist(kind, at)), [false, true]);
        assert!(kinds.may_exist(ChildKind::Ingress, now));
        kinds.hear(kind, &Existence::Absent, now);
        assert!(kinds.may_exist(kind, now));
    }
}
