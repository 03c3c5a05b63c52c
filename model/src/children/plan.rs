//! Compares the objects that should exist with those that do.

use serde_json::Value;

use super::{Child, ChildKind, Difference, Live, NOTE_ANNOTATION, Owner, differences, find, short_hash};

/// Everything that the operator can do to the objects that it owns.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Create an object.
    Create(Child),
    /// Bring an object back to what it should be.
    Update {
        /// What it should be.
        child: Child,
        /// The uid of the one that was observed: no other is changed.
        uid: String,
        /// Its resourceVersion: it is changed only as it was observed.
        resource_version: String,
        /// The fields that differ.
        differences: Vec<Difference>,
    },
    /// Delete an object that is no longer wanted.
    Delete {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// The uid of the one that was observed: no other is deleted.
        uid: String,
        /// Its resourceVersion: it is deleted only as it was observed.
        resource_version: String,
    },
}

impl Change {
    /// The kind of the object.
    pub fn kind(&self) -> ChildKind {
        match self {
            Self::Create(child) | Self::Update { child, .. } => child.kind,
            Self::Delete { kind, .. } => *kind,
        }
    }
}

/// An object that is wanted and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, name) = (self.kind.api().1, &self.name);
        write!(f, "there is a {kind} {name:?} that is not ours; rename this resource, or delete the {kind}")
    }
}

/// What has to change, in order, and what is held back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Changes to make.
    pub changes: Vec<Change>,
    /// Names that objects of somebody else hold; they are never taken over.
    pub withheld: Vec<Withheld>,
}

/// Configurations that are kept after they are no longer in use, so that a rollback finds them.
const KEPT_CONFIGURATIONS: usize = 3;

/// What turns `live` into `desired`. In a world where the plan was applied nothing is left to change.
pub fn plan(owner: &Owner, desired: &[Child], live: &[Live]) -> Plan {
    plan_of(|object| object.is_owned_by(owner), desired, live)
}

/// The same of objects that are told to be ours by something else than their owner.
pub(crate) fn plan_of(is_ours: impl Fn(&Live) -> bool, desired: &[Child], live: &[Live]) -> Plan {
    let (mut plan, mut notes) = (Plan::default(), Vec::new());
    for child in desired {
        match find(live, child.kind, &child.name) {
            None => plan.changes.push(Change::Create(child.clone())),
            Some(object) if !is_ours(object) => {
                plan.withheld.push(Withheld { kind: child.kind, name: child.name.clone() });
            }
            Some(object) if child.manifest["immutable"] == true => notes.extend(update_note(child, object)),
            Some(object) => plan.changes.extend(update(child, object)),
        }
    }
    plan.changes.extend(leftovers(is_ours, desired, live));
    // A note is of objects that are there: where one of them is refused, that of the spec before stays.
    plan.changes.extend(notes);
    plan
}

fn update(child: &Child, live: &Live) -> Option<Change> {
    let differences = differences(&child.manifest, &live.object);
    (!differences.is_empty()).then(|| Change::Update {
        child: child.clone(),
        uid: live.metadata("uid").to_owned(),
        resource_version: live.metadata("resourceVersion").to_owned(),
        differences,
    })
}

/// What is immutable is named by its content: the one that exists is the one that is wanted, but for what is noted on it.
fn update_note(child: &Child, live: &Live) -> Option<Change> {
    let note = |object: &Value| object["metadata"]["annotations"][NOTE_ANNOTATION].as_str().map(str::to_owned);
    let (wanted, there) = (note(&child.manifest)?, note(&live.object));
    if there.as_ref() == Some(&wanted) {
        return None;
    }
    let mut child = child.clone();
    // The generation of the first spec that had this configuration stays.
    child.manifest["data"] = live.object["data"].clone();
    let short = |note: String| format!("note {}", short_hash(note.as_bytes()));
    let path = format!("metadata.annotations.{NOTE_ANNOTATION}");
    let differences = vec![Difference { path, from: there.map(short), to: short(wanted) }];
    let [uid, resource_version] = ["uid", "resourceVersion"].map(|key| live.metadata(key).to_owned());
    Some(Change::Update { child, uid, resource_version, differences })
}

/// Of the objects that are ours and no longer wanted: all but the newest configurations, and those that are being deleted, which may wait
/// for a controller of theirs.
fn leftovers(is_ours: impl Fn(&Live) -> bool, desired: &[Child], live: &[Live]) -> Vec<Change> {
    let is_wanted = |object: &Live| desired.iter().any(|child| child.kind == object.kind && child.name == object.name);
    let is_going = |object: &Live| !object.metadata("deletionTimestamp").is_empty();
    let ours = live.iter().filter(|object| is_ours(object) && !is_wanted(object) && !is_going(object));
    let (mut configurations, others): (Vec<_>, Vec<_>) = ours.partition(|object| object.is_configuration());
    // RFC 3339 in UTC sorts as text.
    configurations.sort_by(|a, b| b.metadata("creationTimestamp").cmp(a.metadata("creationTimestamp")));
    others.into_iter().chain(configurations.into_iter().skip(KEPT_CONFIGURATIONS)).map(delete).collect()
}

fn delete(object: &Live) -> Change {
    Change::Delete {
        kind: object.kind,
        name: object.name.clone(),
        uid: object.metadata("uid").to_owned(),
        resource_version: object.metadata("resourceVersion").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::json;
    use sluice_crds::NamespacedName;

    use super::*;

    fn owner() -> Owner {
        let name = NamespacedName { namespace: "shop".into(), name: "orders".into() };
        Owner { kind: "Integration", name, uid: "owner-uid".into(), generation: 1 }
    }

    fn child(kind: ChildKind, name: &str, replicas: i64) -> Child {
        owner().child(kind, "worker", name, json!({"spec": {"replicas": replicas}}))
    }

    fn live(child: &Child) -> Live {
        let mut object = child.manifest.clone();
        object["metadata"]["uid"] = json!("live-uid");
        object["metadata"]["resourceVersion"] = json!("7");
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["status"] = json!({"observedGeneration": 1});
        Live { kind: child.kind, name: child.name.clone(), object }
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    /// What the API server does with the changes.
    fn apply(plan: &Plan, mut world: Vec<Live>) -> Vec<Live> {
        for change in &plan.changes {
            match change {
                Change::Create(child) => world.push(live(child)),
                Change::Update { child, .. } => {
                    let object = world.iter_mut().find(|o| o.kind == child.kind && o.name == child.name).unwrap();
                    merge(&mut object.object, &child.manifest);
                }
                Change::Delete { kind, name, .. } => world.retain(|o| !(o.kind == *kind && o.name == *name)),
            }
        }
        world
    }

    fn any_child() -> impl Strategy<Value = Child> {
        let kinds = vec![ChildKind::ConfigMap, ChildKind::Deployment, ChildKind::Topic];
        (select(kinds), select(vec!["a", "b", "c", "d", "e"]), 0..3_i64)
            .prop_map(|(kind, name, replicas)| child(kind, name, replicas))
    }

    fn distinct(children: Vec<Child>) -> Vec<Child> {
        let mut seen = std::collections::BTreeSet::new();
        children.into_iter().filter(|child| seen.insert((child.kind, child.name.clone()))).collect()
    }

    proptest! {
        #[test]
        fn after_a_plan_was_applied_nothing_is_left_to_change(
            desired in vec(any_child(), 0..6).prop_map(distinct),
            there in vec(any_child(), 0..8).prop_map(distinct),
            foreign in vec(any::<bool>(), 8),
        ) {
            let world: Vec<Live> = there.iter().zip(foreign).map(|(child, foreign)| {
                let mut live = live(child);
                if foreign {
                    live.object["metadata"]["ownerReferences"] = json!([]);
                }
                live
            }).collect();
            let first = plan(&owner(), &desired, &world);
            let second = plan(&owner(), &desired, &apply(&first, world));
            prop_assert_eq!(&second.changes, &vec![]);
            prop_assert_eq!(second.withheld, first.withheld);
        }
    }

    #[test]
    fn an_object_of_somebody_else_is_neither_taken_over_nor_deleted() {
        let wanted = child(ChildKind::Deployment, "orders-worker", 1);
        let mut foreign = live(&child(ChildKind::Deployment, "orders-worker", 9));
        foreign.object["metadata"]["ownerReferences"][0]["uid"] = json!("another");
        let plan = plan(&owner(), &[wanted], &[foreign]);
        assert_eq!(plan.changes, []);
        assert_eq!(plan.withheld, [Withheld { kind: ChildKind::Deployment, name: "orders-worker".into() }]);
    }

    #[test]
    fn what_is_no_longer_wanted_is_deleted_once_and_configurations_are_kept_for_a_rollback() {
        let named = |name: &str| live(&child(ChildKind::AwsApi, name, 1));
        let mut going = named("going");
        going.object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let document = live(&owner().child(ChildKind::ConfigMap, "worker", "document", json!({"data": {}})));
        let configuration = live(&owner().configuration("worker", &json!({"topic": "a"})));
        let changes = plan(&owner(), &[], &[going, named("left"), document, configuration]).changes;
        let deleted: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Delete { name, .. } => name.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(deleted, ["left", "document"]);
        assert_eq!(changes.iter().map(Change::kind).collect::<Vec<_>>(), [ChildKind::AwsApi, ChildKind::ConfigMap]);
    }

    #[test]
    fn a_field_that_left_the_manifest_is_noticed_by_the_annotation() {
        let before =
            owner().child(ChildKind::Deployment, "worker", "w", json!({"spec": {"replicas": 1, "paused": true}}));
        let plan = plan(&owner(), &[child(ChildKind::Deployment, "w", 1)], &[live(&before)]);
        let Change::Update { differences, .. } = &plan.changes[0] else { panic!("{plan:?}") };
        assert_eq!(differences[0].path, "metadata.annotations.sluice.dev/applied");
    }
}
