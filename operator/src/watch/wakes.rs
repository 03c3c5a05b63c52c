//! Whom a change concerns.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sluice_crds::{Integration, NamespacedName, Topic, Webhook};

use sluice_model::{
    children::SHARED,
    topic::{Across, User, UserKind},
    webhook::claim_the_same,
};

use super::{
    Change, Seen, Watched,
    others::{Owned, SeenGateway, SeenGrant, SeenNamespace, controller},
};
use crate::{
    context::Context,
    controller::{Kind, version_of},
    topic::Related,
};

/// A kind whose changes concern others.
pub trait Wakes: Sized {
    /// Wakes whoever owns, uses or is used by the resource.
    fn wake_others(&self, context: &Context, name: &NamespacedName);

    /// Forgets what passes have kept of a resource that is gone.
    fn forget(_: &Context, _: &NamespacedName) {}
}

/// Wakes the resource itself, unless only its status changed, and the others whom it concerns.
pub fn resource<K: Kind + Wakes + Related>(context: &Context, change: &Change<Seen<K>>, begins: bool) {
    let name = &change.name;
    let concerned = match &change.after {
        Some(Seen::Resource(resource)) => context.relations.is(resource.as_ref()),
        None => context.relations.is_gone::<K>(name),
        // What it uses can no longer be told: what it used counts.
        Some(Seen::Undecodable(_)) => BTreeSet::new(),
    };
    let Watched { queue, backoff, .. } = K::watched(context);
    match (&change.before, &change.after) {
        (_, None) => {
            queue.forget(name);
            backoff.succeeded(name);
            K::forget(context, name);
        }
        (None, Some(_)) if begins => queue.wake_later(name),
        (None, Some(_)) => queue.wake(name),
        (Some(before), Some(after)) => {
            if before.meta().uid != after.meta().uid {
                // It is another one of that name: the watch was away in between.
                backoff.succeeded(name);
                K::forget(context, name);
            }
            queue.seen(name, version_of(after.meta()));
            if asks_for_something_else(before, after) {
                queue.wake(name);
            }
        }
    }
    if begins {
        // Everybody has a pass anyway.
        return;
    }
    for topic in &concerned {
        context.topics.wake_known(topic);
    }
    for seen in [&change.before, &change.after].into_iter().flatten() {
        if let Seen::Resource(resource) = seen {
            resource.wake_others(context, name);
        }
    }
}

/// Whether anything but the status differs.
fn asks_for_something_else<K: Kind>(before: &Seen<K>, after: &Seen<K>) -> bool {
    let (Seen::Resource(_), Seen::Resource(_)) = (before, after) else { return true };
    let (before, after) = (before.meta(), after.meta());
    before.uid != after.uid
        || before.generation != after.generation
        || before.labels != after.labels
        || before.annotations != after.annotations
        || before.finalizers != after.finalizers
        || before.owner_references != after.owner_references
        || before.deletion_timestamp != after.deletion_timestamp
}

/// Wakes the owners of an object, before and after its change.
pub fn owners(context: &Context, change: &Change<Owned>) {
    for owned in [&change.before, &change.after].into_iter().flatten() {
        if let Some(owner) = &owned.what {
            wake_owner(context, &change.name.namespace, owner);
        }
    }
}

/// Wakes the owner of a ConfigMap, and the Integrations, Webhooks and Topics that name it.
pub fn config_map(context: &Context, change: &Change<Owned>) {
    owners(context, change);
    let NamespacedName { namespace, name } = &change.name;
    context
        .integrations
        .wake_where(namespace, |integration| integration.spec.config_map_names().contains(name.as_str()));
    context.webhooks.wake_where(namespace, |webhook| webhook.spec.config_map_name() == Some(name.as_str()));
    context.topics.wake_where(namespace, |topic| topic.spec.schema_config_map() == Some(name.as_str()));
}

/// Wakes the Webhooks that name a Gateway, where its listeners or its addresses are other ones than before.
pub fn gateway(context: &Context, change: &Change<SeenGateway>) {
    let [before, after] = [&change.before, &change.after].map(|seen| seen.as_ref().map(|seen| &seen.what));
    if before == after {
        return;
    }
    for (webhook, _) in context.webhooks.where_is(|webhook| names_gateway(webhook, &change.name)) {
        context.webhooks.queue.wake_later(&webhook);
    }
}

fn names_gateway(webhook: &Webhook, gateway: &NamespacedName) -> bool {
    let own = webhook.metadata.namespace.as_deref();
    webhook.spec.route.parent_refs.iter().any(|parent| {
        parent.name == gateway.name && parent.namespace.as_deref().or(own) == Some(gateway.namespace.as_str())
    })
}

/// Wakes whom a ReferenceGrant concerns: who names Topics of its namespace from elsewhere, and these Topics.
pub fn grant(context: &Context, change: &Change<SeenGrant>) {
    let grant = change.after.as_ref().map(|seen| seen.what.clone());
    let Across { topics, users } = context.relations.grant_is(&change.name, grant);
    for topic in &topics {
        context.topics.wake_known(topic);
    }
    wake_users(context, &users);
}

/// Wakes the Webhooks of a namespace that gateways may judge by its labels, where these are other ones than before.
pub fn namespace(context: &Context, change: &Change<SeenNamespace>) {
    // Before the first look at a namespace its Webhooks had no pass, or one that read the labels as they are.
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return };
    if before.what != after.what {
        context.webhooks.wake_where(&change.name.name, |webhook| !webhook.spec.route.parent_refs.is_empty());
    }
}

/// Wakes whom a kind concerns that others have brought: routes can be made now, and others may permit the use of their Topics.
pub fn kind_appeared(context: &Context) {
    context.webhooks.wake_all();
    wake_users(context, &context.relations.across().users);
}

fn wake_users(context: &Context, users: &BTreeSet<User>) {
    for User { kind, name } in users {
        match kind {
            UserKind::Integration => context.integrations.wake_known(name),
            UserKind::Webhook => context.webhooks.wake_known(name),
        }
    }
}

fn wake_owner(context: &Context, namespace: &str, owner: &OwnerReference) {
    let name = NamespacedName { namespace: namespace.to_owned(), name: owner.name.clone() };
    match owner.kind.as_str() {
        Webhook::NAME => context.webhooks.wake_known(&name),
        Integration::NAME => context.integrations.wake_known(&name),
        SHARED => context.shared.wake(namespace),
        _ => {}
    }
}

impl<K> Watched<K> {
    fn wake_known(&self, name: &NamespacedName) {
        if self.get(name).is_some() {
            self.queue.wake(name);
        }
    }

    fn wake_all(&self) {
        for (name, _) in self.cache.all() {
            self.queue.wake_later(&name);
        }
    }

    fn wake_where(&self, namespace: &str, concerns: impl Fn(&K) -> bool) {
        for (name, resource) in self.of_namespace(namespace) {
            if concerns(&resource) {
                self.queue.wake(&name);
            }
        }
    }
}

impl Wakes for Topic {
    fn wake_others(&self, context: &Context, topic: &NamespacedName) {
        if let Some(owner) = controller(&self.metadata) {
            wake_owner(context, &topic.namespace, owner);
        }
        context.webhooks.wake_where(&topic.namespace, |webhook| {
            let references = [webhook.spec.topic_ref.as_ref(), webhook.spec.dead_letters_ref()];
            references.into_iter().flatten().any(|reference| reference.name == topic.name)
        });
        let webhooks = context.webhooks.of_namespace(&topic.namespace);
        let names_it =
            |webhook: &Webhook| webhook.spec.topic_ref.as_ref().is_some_and(|named| named.name == topic.name);
        let webhooks = webhooks.filter(|(_, webhook)| names_it(webhook.as_ref()));
        let webhooks: BTreeSet<_> = webhooks.map(|(webhook, _)| webhook.name).collect();
        context.integrations.wake_where(&topic.namespace, |integration| {
            let webhook = integration.spec.source.webhook.as_ref();
            refers_to_topic(integration, &topic.name) || webhook.is_some_and(|webhook| webhooks.contains(&webhook.name))
        });
        wake_users(context, &context.relations.strangers(topic));
    }
}

/// By name, or through a Webhook, whose own Topic is named like it.
fn refers_to_topic(integration: &Integration, name: &str) -> bool {
    let spec = &integration.spec;
    spec.source.topic.as_ref().is_some_and(|topic| topic.name == name)
        || spec.source.webhook.as_ref().is_some_and(|webhook| webhook.name == name)
        || spec.sink_topic().is_some_and(|topic| topic.name == name)
        || spec.dead_letters.topic_ref.as_ref().is_some_and(|topic| topic.name == name)
}

impl Wakes for Webhook {
    fn forget(context: &Context, webhook: &NamespacedName) {
        context.shared.forget(webhook);
        context.absences.forget(webhook);
        context.reception.forget(webhook);
    }

    fn wake_others(&self, context: &Context, webhook: &NamespacedName) {
        context.integrations.wake_where(&webhook.namespace, |integration| {
            integration.spec.source.webhook.as_ref().is_some_and(|reference| reference.name == webhook.name)
        });
        for (rival, _) in context.webhooks.where_is(|other| claim_the_same(other, self)) {
            if rival != *webhook {
                context.webhooks.queue.wake(&rival);
            }
        }
    }
}

impl Wakes for Integration {
    fn forget(context: &Context, integration: &NamespacedName) {
        context.work.forget(integration);
        context.measurements.forget_work(integration);
    }

    fn wake_others(&self, _: &Context, _: &NamespacedName) {}
}
