//! Keeps the relations of Topics, Webhooks and Integrations as the watches tell them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sluice_crds::{Integration, NamespacedName, Tenancy, Topic, Webhook};
use sluice_model::{
    grants::ReferenceGrant,
    topic::{self, Across, References, User, UserKind, Users, uses_of_integration, uses_of_webhook},
};

/// The relations, as far as the watches have told. No pass begins before they have told everything once.
#[derive(Debug)]
pub struct Relations(Mutex<topic::Relations>);

impl Relations {
    /// None yet; what a namespace may not name, its Topics do not claim.
    pub fn new(tenancy: Option<Tenancy>) -> Self {
        Self(Mutex::new(topic::Relations::new(tenancy)))
    }

    /// What a Topic has to do with others.
    pub fn of(&self, topic: &Topic) -> References {
        self.lock().of(topic)
    }

    /// The same, with these users instead of those that the watches have told.
    pub fn of_users(&self, topic: &Topic, users: &Users) -> References {
        self.lock().of_users(topic, users)
    }

    /// The names of Kafka clusters, of these, under which somebody claims or uses the Topic's Kafka topic too.
    pub fn named_under<'a>(&self, topic: &Topic, clusters: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        self.lock().named_under(topic, clusters)
    }

    /// The same, with these users instead of those that the watches have told.
    pub fn named_under_by<'a>(
        &self,
        topic: &Topic,
        users: &Users,
        clusters: impl IntoIterator<Item = &'a String>,
    ) -> Vec<String> {
        self.lock().named_under_by(topic, users, clusters)
    }

    /// Whether others write too to the topic that holds an Integration's dead letters.
    pub fn shares_dead_letters(&self, integration: &NamespacedName) -> bool {
        self.lock().shares_dead_letters(&User { kind: UserKind::Integration, name: integration.clone() })
    }

    /// Who reads the events of a Webhook.
    pub fn readers(&self, webhook: &NamespacedName) -> BTreeSet<User> {
        self.lock().readers(webhook)
    }

    /// Who names a Topic in another namespace, let or not.
    pub fn strangers(&self, topic: &NamespacedName) -> BTreeSet<User> {
        self.lock().strangers(topic)
    }

    /// Who names Topics of other namespaces, let or not.
    pub fn across(&self) -> Across {
        self.lock().across()
    }

    /// Takes a ReferenceGrant as it is now, or that it is gone. Gives whom that concerns.
    pub fn grant_is(&self, name: &NamespacedName, grant: Option<ReferenceGrant>) -> Across {
        self.lock().grant_is(name.clone(), grant)
    }

    /// These names of the configuration turn out to mean one Kafka cluster. Gives the Topics whose Kafka topic others claim or use under
    /// another one of them.
    pub fn are_one(&self, clusters: &[String]) -> BTreeSet<NamespacedName> {
        self.lock().are_one(clusters)
    }

    /// Takes a resource as it is now. Gives the Topics that the change concerns.
    pub fn is<K: Related>(&self, resource: &K) -> BTreeSet<NamespacedName> {
        resource.is(&mut self.lock())
    }

    /// Forgets a resource. Gives the Topics that the change concerns.
    pub fn is_gone<K: Related>(&self, name: &NamespacedName) -> BTreeSet<NamespacedName> {
        K::is_gone(name, &mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, topic::Relations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kind that has to do with Topics.
pub trait Related {
    /// It is like this now.
    fn is(&self, relations: &mut topic::Relations) -> BTreeSet<NamespacedName>;
    /// It is gone.
    fn is_gone(name: &NamespacedName, relations: &mut topic::Relations) -> BTreeSet<NamespacedName>;
}

impl Related for Topic {
    fn is(&self, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        relations.topic_is(self)
    }

    fn is_gone(name: &NamespacedName, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        relations.topic_is_gone(name)
    }
}

impl Related for Webhook {
    fn is(&self, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        let (who, uses) = uses_of_webhook(self);
        relations.user_is(who, uses)
    }

    fn is_gone(name: &NamespacedName, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        relations.user_is(User { kind: UserKind::Webhook, name: name.clone() }, BTreeSet::new())
    }
}

impl Related for Integration {
    fn is(&self, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        let (who, uses) = uses_of_integration(self);
        relations.user_is(who, uses)
    }

    fn is_gone(name: &NamespacedName, relations: &mut topic::Relations) -> BTreeSet<NamespacedName> {
        relations.user_is(User { kind: UserKind::Integration, name: name.clone() }, BTreeSet::new())
    }
}
