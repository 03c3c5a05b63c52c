//! What becomes of the consumer group when an Integration that holds on to it is deleted.

use std::{collections::BTreeSet, fmt};

use sluice_crds::{ConsumerGroup, DeletionPolicy, Integration, NamespacedName, Settings};

use super::validate::{group, owner};
use crate::{
    Cluster, Rejection,
    tenancy::{self, Named},
};

/// What is done about the consumer group of an Integration that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It is deleted, once its workers have ended and nobody else is in it.
    Delete(ConsumerGroup),
    /// The Integration is let go, and the group stays.
    Release(Release),
}

/// Why an Integration is let go without deleting a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The spec does not ask for it.
    Retained,
    /// No group was ever recorded: it has had no workers.
    NeverHad,
    /// Other Integrations name the group.
    Shared(Vec<NamespacedName>),
    /// Kafka has no such group any more.
    Gone,
    /// Its namespace goes, and the group could not be deleted in time; what came of it instead.
    GivenUp(String),
}

/// What the deletion of a consumer group waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Workers that are ending.
    Workers {
        /// Name of the group.
        group: String,
        /// Pods that are left, or may still come.
        pods: usize,
    },
    /// Members that are no workers of the Integration, or were not seen off by Kafka yet.
    Members {
        /// Name of the group.
        group: String,
        /// Each as `<client id> at <address>`.
        members: BTreeSet<String>,
    },
}

/// The consumer groups of an Integration that stays, or does not ask for their deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUse {
    integration: NamespacedName,
    /// The one that it names, and the one in which its workers read while what it names cannot be carried out.
    groups: BTreeSet<String>,
}

impl GroupUse {
    /// Those of an Integration; `None` where they may go with it.
    pub fn of(integration: &Integration) -> Option<Self> {
        if integration.metadata.deletion_timestamp.is_some() && is_deleted_too(integration) {
            return None;
        }
        let recorded = recorded(integration).map(|group| group.name.clone());
        let groups = recorded.into_iter().chain([group(integration)]).collect();
        Some(Self { integration: owner(integration).name, groups })
    }
}

/// Whether the consumer group is deleted with the Integration.
pub fn is_deleted_too(integration: &Integration) -> bool {
    integration.spec.deletion_policy == DeletionPolicy::Delete
}

fn recorded(integration: &Integration) -> Option<&ConsumerGroup> {
    integration.status.as_ref()?.consumer_group.as_ref()
}

/// What is done about the consumer group, before Kafka is asked. `others` were listed just now. A group of that name on another Kafka
/// cluster counts as well: two names of the configuration can mean one cluster, and what is left can be deleted later.
pub fn farewell<'a>(integration: &Integration, others: impl IntoIterator<Item = &'a GroupUse>) -> Farewell {
    if !is_deleted_too(integration) {
        return Farewell::Release(Release::Retained);
    }
    let Some(group) = recorded(integration) else { return Farewell::Release(Release::NeverHad) };
    let own = owner(integration).name;
    let shares = |other: &&GroupUse| other.integration != own && other.groups.contains(&group.name);
    let sharing: Vec<_> = others.into_iter().filter(shares).map(|other| other.integration.clone()).collect();
    if sharing.is_empty() { Farewell::Delete(group.clone()) } else { Farewell::Release(Release::Shared(sharing)) }
}

/// All that speaks against the deletion of the group in the operator's configuration, which may be another one than when it was recorded.
pub fn complaints_of_deletion(integration: &Integration, group: &ConsumerGroup, settings: &Settings) -> Vec<Rejection> {
    let namespace = integration.metadata.namespace.as_deref().unwrap_or_default();
    let ConsumerGroup { cluster, name } = group;
    let unknown = Cluster::find(settings, cluster, "status.consumerGroup.cluster").err();
    let foreign = tenancy::judge(settings, namespace, "status.consumerGroup.name", Named::Group(name));
    let and_now = |complaint: Rejection| {
        let message = format!("{}; or write spec.deletionPolicy: Retain, and the group stays", complaint.message);
        Rejection { message, ..complaint }
    };
    unknown.into_iter().chain(foreign).map(and_now).collect()
}

impl Release {
    /// The reason in one word, for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Retained => "Retained",
            Self::NeverHad => "NeverHad",
            Self::Shared(_) => "Shared",
            Self::Gone => "Gone",
            Self::GivenUp(_) => "GivenUp",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained => f.write_str("the spec does not ask for its deletion"),
            Self::NeverHad => f.write_str("no consumer group was recorded"),
            Self::Shared(others) => {
                let others: Vec<String> = others.iter().map(|other| format!("Integration/{other}")).collect();
                write!(f, "others name it too: {}", others.join(", "))
            }
            Self::Gone => f.write_str("Kafka has no such group any more"),
            Self::GivenUp(error) => write!(f, "its namespace is being deleted and cannot wait longer: {error}"),
        }
    }
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workers { group, pods } => {
                write!(
                    f,
                    "the consumer group {group:?} is deleted once the workers have ended; pods that are left: {pods}"
                )
            }
            Self::Members { group, members } => {
                let members = members.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "the consumer group {group:?} has members, and Kafka deletes none that has: {members}; end them, or write \
                     spec.deletionPolicy: Retain"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_crds::Reason;

    use super::*;

    fn integration(name: &str, group: &str, more: &str, status: &str) -> Integration {
        let source = format!("{{topic: {{name: orders}}{group}}}");
        let spec = format!("{{source: {source}, sink: {{http: {{url: 'https://api.example/'}}}}{more}}}");
        let deleted = if more.contains("Delete") { ", deletionTimestamp: '2026-01-01T00:00:00Z'" } else { "" };
        let metadata = format!("{{name: {name}, namespace: shop{deleted}}}");
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}, status: {status}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    const DELETE: &str = ", deletionPolicy: Delete";
    const HAD: &str = "{consumerGroup: {cluster: default, name: shop.both}}";

    fn ends(integration: &Integration, others: &[Integration]) -> Farewell {
        farewell(integration, &others.iter().filter_map(GroupUse::of).collect::<Vec<_>>())
    }

    #[test]
    fn a_group_is_deleted_that_was_had_and_that_nobody_else_names() {
        let group = ConsumerGroup { cluster: "default".into(), name: "shop.both".into() };
        let had = integration("one", ", group: shop.both", DELETE, HAD);
        let retained = integration("one", ", group: shop.both", "", HAD);
        let fresh = integration("one", ", group: shop.both", DELETE, "{}");
        let alone = integration("two", "", "", "{}");
        let sharing = |more| integration("two", ", group: shop.both", more, "{}");
        // What it names now cannot be carried out, so its workers read in the former group.
        let held = integration("two", "", "", HAD);
        let two = || NamespacedName { namespace: "shop".into(), name: "two".into() };
        for (integration, others, expected) in [
            (&had, vec![], Farewell::Delete(group.clone())),
            (&had, vec![had.clone(), alone], Farewell::Delete(group.clone())),
            (&had, vec![sharing(DELETE)], Farewell::Delete(group)),
            (&had, vec![sharing("")], Farewell::Release(Release::Shared(vec![two()]))),
            (&had, vec![held], Farewell::Release(Release::Shared(vec![two()]))),
            (&retained, vec![], Farewell::Release(Release::Retained)),
            (&fresh, vec![], Farewell::Release(Release::NeverHad)),
        ] {
            assert_eq!(ends(integration, &others), expected, "{others:?}");
        }
    }

    #[test]
    fn a_group_is_not_deleted_that_the_configuration_has_taken_from_the_namespace() {
        let integration = integration("one", ", group: legacy", DELETE, "{}");
        let granted = "{grants: [{namespaces: [shop], groups: [legacy]}]}";
        let to_others = "{grants: [{namespaces: [bank], groups: [legacy]}, {namespaces: [shop], topics: [legacy]}]}";
        let (cluster, name) = ("status.consumerGroup.cluster", "status.consumerGroup.name");
        for (tenancy, group, expected) in [
            ("null", "default/legacy", vec![]),
            ("{}", "default/shop.one", vec![]),
            (granted, "default/legacy", vec![]),
            ("{}", "default/legacy", vec![(name, Reason::OutsideTenancy)]),
            (to_others, "default/legacy", vec![(name, Reason::OutsideTenancy)]),
            ("null", "gone/legacy", vec![(cluster, Reason::Invalid)]),
            ("{}", "gone/legacy", vec![(cluster, Reason::Invalid), (name, Reason::OutsideTenancy)]),
        ] {
            let clusters = "{default: {bootstrapServers: ['kafka:9092']}}";
            let yaml = format!("{{clusters: {clusters}, images: {{receiver: r, worker: w}}, tenancy: {tenancy}}}");
            let settings: Settings = serde_saphyr::from_str(&yaml).unwrap();
            let (group_cluster, group_name) = group.split_once('/').unwrap();
            let group = ConsumerGroup { cluster: group_cluster.into(), name: group_name.into() };
            let complaints = complaints_of_deletion(&integration, &group, &settings);
            let found: Vec<_> = complaints.iter().map(|found| (found.field.as_str(), found.reason)).collect();
            assert_eq!(found, expected, "{tenancy}: {group:?}");
            assert!(complaints.iter().all(|found| found.message.contains("deletionPolicy: Retain")), "{complaints:?}");
        }
    }

    #[test]
    fn reasons_are_counted_under_the_names_that_the_metric_lists() {
        let all = [
            Release::Retained,
            Release::NeverHad,
            Release::Shared(Vec::new()),
            Release::Gone,
            Release::GivenUp(String::new()),
        ];
        let names: Vec<&str> = all.iter().map(Release::name).collect();
        assert_eq!(names, sluice_crds::metrics::labels::GROUP_RELEASED_REASON.listed());
    }
}
