//! What becomes of the Kafka topic when a Topic that holds on to it is deleted.

use std::fmt;

use sluice_crds::{DeletionPolicy, ManagementPolicy, Topic, TopicSpec};

use super::{
    claim::{Claim, winner},
    relations::References,
    users::Usage,
};

/// What is done about the Kafka topic of a Topic that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The Kafka topic with this id is deleted, if it still has it when it is looked at just before.
    Delete {
        /// Kafka's id of the topic.
        id: String,
    },
    /// Nothing yet: these still use it.
    Wait(Vec<Usage>),
    /// The Topic is let go, and the Kafka topic stays.
    Release(Release),
}

/// Why a Topic is let go without deleting a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The spec does not ask for it.
    Retained,
    /// No id of a Kafka topic was ever recorded, as after a restore from a backup.
    NeverHad,
    /// Another Topic has the Kafka topic.
    Lost(Claim),
    /// Kafka has no such topic any more.
    Gone,
    /// Kafka has another topic of that name.
    Replaced {
        /// Kafka's id of the other one.
        found: String,
    },
    /// Its namespace goes, and resources of other namespaces, which stay, use the topic.
    UsedElsewhere(Vec<Usage>),
    /// Its namespace goes, and Kafka did not do it in time; what came of it instead.
    GivenUp(String),
}

/// Whether the Kafka topic is deleted with the Topic. Under `Observe` nothing is.
pub fn is_deleted_too(spec: &TopicSpec) -> bool {
    spec.deletion_policy == DeletionPolicy::Delete && spec.management_policy != ManagementPolicy::Observe
}

/// What is done about the Kafka topic, before Kafka is asked. `references` have users that were listed just now.
pub fn farewell(topic: &Topic, references: &References, namespace_goes: bool) -> Farewell {
    if !is_deleted_too(&topic.spec) {
        return Farewell::Release(Release::Retained);
    }
    let own = Claim::of(topic).1;
    let Some(id) = own.id.clone() else { return Farewell::Release(Release::NeverHad) };
    if let Some(winner) = winner(&own, &references.rivals, Some(&id)) {
        return Farewell::Release(Release::Lost(winner.clone()));
    }
    let users = &references.users;
    let elsewhere = |usage: &&Usage| usage.user.name.namespace != own.topic.namespace;
    if namespace_goes && users.iter().any(|usage| elsewhere(&usage)) {
        return Farewell::Release(Release::UsedElsewhere(users.iter().filter(elsewhere).cloned().collect()));
    }
    if users.is_empty() { Farewell::Delete { id } } else { Farewell::Wait(users.clone()) }
}

impl Release {
    /// The reason in one word, for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Retained => "Retained",
            Self::NeverHad => "NeverHad",
            Self::Lost(_) => "Lost",
            Self::Gone => "Gone",
            Self::Replaced { .. } => "Replaced",
            Self::UsedElsewhere(_) => "UsedElsewhere",
            Self::GivenUp(_) => "GivenUp",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained => f.write_str("the spec does not ask for its deletion"),
            Self::NeverHad => f.write_str("no id of a Kafka topic was recorded"),
            Self::Lost(winner) => write!(f, "the Kafka topic belongs to Topic {}", winner.topic),
            Self::Gone => f.write_str("Kafka has no such topic any more"),
            Self::Replaced { found } => write!(f, "Kafka has another topic of that name, with the id {found}"),
            Self::UsedElsewhere(users) => write!(f, "other namespaces use it: {}", names(users)),
            Self::GivenUp(error) => write!(f, "its namespace is being deleted and cannot wait longer: {error}"),
        }
    }
}

/// The users, each once, for people.
pub(super) fn names(users: &[Usage]) -> String {
    let mut names: Vec<String> = users.iter().map(|usage| usage.user.to_string()).collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use sluice_crds::NamespacedName;

    use super::*;
    use crate::topic::{Role, User, UserKind};

    fn topic(policy: &str, id: &str) -> Topic {
        let metadata = "{name: orders, namespace: shop, creationTimestamp: '2026-01-01T00:00:10Z'}";
        let (spec, status) = (format!("{{deletionPolicy: {policy}}}"), format!("{{topicName: shop.orders{id}}}"));
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {metadata}, spec: {spec}, status: {status}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn user(namespace: &str) -> Usage {
        let name = NamespacedName { namespace: namespace.into(), name: "to-api".into() };
        Usage { user: User { kind: UserKind::Integration, name }, role: Role::DeadLetters }
    }

    fn used_by(users: &[Usage]) -> References {
        References { users: users.to_vec(), ..References::default() }
    }

    const HAD: &str = ", topicId: x";

    #[test]
    fn only_a_topic_that_was_ours_and_is_not_used_is_deleted() {
        let delete = Farewell::Delete { id: "x".into() };
        let (near, far) = (user("shop"), user("billing"));
        let cases = [
            ("Delete", HAD, vec![], false, delete.clone()),
            ("Delete", HAD, vec![], true, delete),
            ("Retain", HAD, vec![near.clone()], false, Farewell::Release(Release::Retained)),
            ("Delete, managementPolicy: Observe", HAD, vec![], false, Farewell::Release(Release::Retained)),
            ("Delete", "", vec![], false, Farewell::Release(Release::NeverHad)),
            ("Delete", HAD, vec![near.clone()], false, Farewell::Wait(vec![near.clone()])),
            ("Delete", HAD, vec![near.clone()], true, Farewell::Wait(vec![near.clone()])),
            ("Delete", HAD, vec![far.clone()], false, Farewell::Wait(vec![far.clone()])),
            ("Delete", HAD, vec![near, far.clone()], true, Farewell::Release(Release::UsedElsewhere(vec![far]))),
        ];
        for (policy, id, users, namespace_goes, expected) in cases {
            let found = farewell(&topic(policy, id), &used_by(&users), namespace_goes);
            assert_eq!(found, expected, "{policy} {id} {users:?} {namespace_goes}");
        }
    }

    #[test]
    fn a_topic_that_another_one_has_is_not_deleted() {
        let mut rival = Claim::of(&topic("Delete", HAD)).1;
        rival.topic.name = "older".into();
        rival.created = rival.created.map(|time| time - k8s_openapi::jiff::SignedDuration::from_secs(5));
        let references = References { rivals: vec![rival.clone()], ..References::default() };
        let found = farewell(&topic("Delete", HAD), &references, false);
        assert_eq!(found, Farewell::Release(Release::Lost(rival)));
    }
}
