//! What is held back until a person approves it, and how an approval is told from a stale one.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::json;
use sluice_crds::{APPROVE_ANNOTATION, ChangeKind, PendingChange, PendingChanges, Topic};

use crate::children::short_hash;

/// The changes that a person has approved: those that the status shows, where the annotation has their hash.
///
/// It is what was shown that is approved, and not what a pass computes: so a pass that was interrupted after some of the
/// approved changes goes on with the rest, and a change that nobody has seen is never approved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Approval<'a> {
    approved: &'a [PendingChange],
}

impl<'a> Approval<'a> {
    /// What is approved of a Topic's pending changes. The hash is computed again from the topic's id, the generation of the
    /// spec and what was observed: one that was given for anything else approves nothing.
    pub fn of(topic: &'a Topic) -> Self {
        let annotation = topic.metadata.annotations.as_ref().and_then(|all| all.get(APPROVE_ANNOTATION));
        let status = topic.status.as_ref();
        let (Some(annotation), Some(status)) = (annotation, status) else { return Self::default() };
        let Some(pending) = &status.pending else { return Self::default() };
        let subject = Subject { topic_id: status.topic_id.as_deref(), generation: topic.metadata.generation };
        let is_valid = *annotation == subject.hash(&pending.since, &pending.changes);
        Self { approved: if is_valid { &pending.changes } else { &[] } }
    }

    /// Whether this change is approved. A new topic in the place of the one that is gone is approved whether it is still to be
    /// made or was made just now.
    pub fn covers(self, change: &PendingChange) -> bool {
        let replaces = |kind| matches!(kind, ChangeKind::Recreate | ChangeKind::Adopt);
        self.approved.iter().filter(|approved| approved.approvable).any(|approved| {
            is_same(approved, change)
                || (approved.change == ChangeKind::Recreate && replaces(change.change) && approved.from == change.from)
        })
    }
}

/// What an approval is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Kafka's id of the topic, as the status has it.
    pub topic_id: Option<&'a str>,
    /// Generation of the spec.
    pub generation: Option<i64>,
}

impl Subject<'_> {
    /// The changes as the status shows them; `None` where there are none. Their time stays while they stay the same, and is
    /// part of the hash: what comes back after it was approved and done has to be approved again.
    pub fn pending(
        self,
        changes: &[PendingChange],
        previous: Option<&PendingChanges>,
        now: Timestamp,
    ) -> Option<PendingChanges> {
        if changes.is_empty() {
            return None;
        }
        let unchanged = |previous: &&PendingChanges| {
            previous.changes.len() == changes.len()
                && previous.changes.iter().zip(changes).all(|(before, after)| is_same(before, after))
        };
        // Kubernetes keeps whole seconds.
        let whole_seconds = || Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let since = previous.filter(unchanged).map_or_else(whole_seconds, |previous| previous.since.clone());
        Some(PendingChanges { hash: self.hash(&since, changes), since, changes: changes.to_vec() })
    }

    fn hash(self, since: &Time, changes: &[PendingChange]) -> String {
        let changes: Vec<_> =
            changes.iter().map(|change| json!([change.change, change.field, change.from, change.to])).collect();
        let about = json!([self.topic_id, self.generation, since.0.as_second(), changes]);
        short_hash(&serde_json::to_vec(&about).expect("plain data always serializes"))
    }
}

/// Reasons are for people: who uses a topic may change while the change stays the same.
fn is_same(one: &PendingChange, other: &PendingChange) -> bool {
    (one.change, &one.field, &one.from, &one.to) == (other.change, &other.field, &other.from, &other.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, from: &str, to: &str) -> PendingChange {
        let (field, reason) = ("spec.partitions".into(), "because".into());
        PendingChange { change: kind, field, from: from.into(), to: to.into(), reason, approvable: true }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A Topic whose status shows `pending`, with an annotation.
    fn topic(pending: Option<PendingChanges>, annotation: &str) -> Topic {
        let metadata = format!("{{name: orders, generation: 3, annotations: {{sluice.dev/approve: {annotation:?}}}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {metadata}, spec: {{}}}}");
        let mut topic: Topic = serde_saphyr::from_str(&yaml).unwrap();
        let status = sluice_crds::TopicStatus { topic_id: Some("id".into()), pending, ..Default::default() };
        topic.status = Some(status);
        topic
    }

    const SUBJECT: Subject<'_> = Subject { topic_id: Some("id"), generation: Some(3) };

    #[test]
    fn only_what_was_shown_is_approved() {
        let (grow, more) = (change(ChangeKind::Grow, "3", "6"), change(ChangeKind::Grow, "3", "9"));
        let pending = SUBJECT.pending(std::slice::from_ref(&grow), None, at(100)).unwrap();
        let approved = topic(Some(pending.clone()), &pending.hash);
        assert!(Approval::of(&approved).covers(&grow));
        assert!(!Approval::of(&approved).covers(&more));
        assert!(!Approval::of(&topic(Some(pending), "4f2a91c0")).covers(&grow));
        assert!(!Approval::of(&topic(None, "4f2a91c0")).covers(&grow));
    }

    #[test]
    fn an_approval_is_stale_once_the_spec_the_topic_or_the_changes_are_others() {
        let grow = change(ChangeKind::Grow, "3", "6");
        let hash = SUBJECT.pending(std::slice::from_ref(&grow), None, at(100)).unwrap().hash;
        let others = [
            Subject { topic_id: Some("other"), ..SUBJECT }.pending(std::slice::from_ref(&grow), None, at(100)),
            Subject { generation: Some(4), ..SUBJECT }.pending(std::slice::from_ref(&grow), None, at(100)),
            SUBJECT.pending(std::slice::from_ref(&grow), None, at(101)),
            SUBJECT.pending(&[change(ChangeKind::Grow, "4", "6")], None, at(100)),
            SUBJECT.pending(&[grow.clone(), change(ChangeKind::Replicate, "1", "3")], None, at(100)),
        ];
        for other in others.map(Option::unwrap) {
            assert_ne!(other.hash, hash, "{other:?}");
        }
        // The same hash in the annotation, and another spec now.
        let pending = SUBJECT.pending(std::slice::from_ref(&grow), None, at(100)).unwrap();
        let mut edited = topic(Some(pending), &hash);
        edited.metadata.generation = Some(4);
        assert!(!Approval::of(&edited).covers(&grow));
    }

    #[test]
    fn pending_changes_keep_their_time_and_hash_while_they_stay_the_same() {
        let grow = change(ChangeKind::Grow, "3", "6");
        let first = SUBJECT.pending(std::slice::from_ref(&grow), None, at(100));
        let other_users = PendingChange { reason: "another reason".into(), ..grow.clone() };
        let second = SUBJECT.pending(&[other_users], first.as_ref(), at(200)).unwrap();
        assert_eq!((second.hash, second.since), first.clone().map(|first| (first.hash, first.since)).unwrap());
        let third = SUBJECT.pending(&[change(ChangeKind::Grow, "3", "7")], first.as_ref(), at(200)).unwrap();
        assert_eq!(third.since, Time(at(200)));
    }

    #[test]
    fn what_cannot_be_approved_is_not() {
        let shrink = PendingChange { approvable: false, ..change(ChangeKind::Shrink, "6", "3") };
        let pending = SUBJECT.pending(std::slice::from_ref(&shrink), None, at(100)).unwrap();
        let hash = pending.hash.clone();
        assert!(!Approval::of(&topic(Some(pending), &hash)).covers(&shrink));
    }

    #[test]
    fn a_topic_that_was_made_anew_with_approval_is_adopted_with_the_same() {
        let recreate = change(ChangeKind::Recreate, "id", "a new topic");
        let pending = SUBJECT.pending(std::slice::from_ref(&recreate), None, at(100)).unwrap();
        let hash = pending.hash.clone();
        let approved = topic(Some(pending), &hash);
        assert!(Approval::of(&approved).covers(&change(ChangeKind::Adopt, "id", "new-id")));
        assert!(!Approval::of(&approved).covers(&change(ChangeKind::Adopt, "another", "new-id")));
    }
}
