//! The differences between the topic that should exist and the one that does, each with what can be done about it.

use std::collections::BTreeMap;

use sluice_crds::{ChangeKind, ManagementPolicy, PendingChange};

use super::{
    Observed, Stakes, Wanted,
    approval::Approval,
    plan::{Change, Known},
    reassignment::{copying, procedure},
    risk,
    users::Usage,
};

/// A difference between what is wanted and what exists.
pub struct Step {
    kind: ChangeKind,
    field: String,
    from: String,
    to: String,
    can: Can,
}

/// What can be done about a difference.
enum Can {
    /// This, at once.
    Do(Change),
    /// This, once a person has approved it, for that reason.
    DoApproved(Change, String),
    /// Nothing, for that reason.
    Nothing(String),
}

impl Step {
    /// The change that is to be made, or why it is held back.
    pub fn judged(self, policy: ManagementPolicy, approval: Approval<'_>) -> Result<Change, PendingChange> {
        let allowed = allows(policy, self.kind);
        let hold = |reason: String, approvable| PendingChange {
            change: self.kind,
            field: self.field.clone(),
            from: shortened(&self.from),
            to: shortened(&self.to),
            reason,
            approvable,
        };
        match self.can {
            Can::Nothing(reason) => Err(hold(reason, false)),
            _ if !allowed => Err(hold(format!("spec.managementPolicy is {policy:?}"), false)),
            Can::Do(change) => Ok(change),
            Can::DoApproved(change, reason) => {
                let pending = hold(reason, true);
                if approval.covers(&pending) { Ok(change) } else { Err(pending) }
            }
        }
    }
}

/// Adopting changes nothing in Kafka, so every policy allows it.
fn allows(policy: ManagementPolicy, kind: ChangeKind) -> bool {
    match policy {
        ManagementPolicy::Full => true,
        ManagementPolicy::CreateOnly => matches!(kind, ChangeKind::Create | ChangeKind::Recreate | ChangeKind::Adopt),
        ManagementPolicy::Observe => kind == ChangeKind::Adopt,
    }
}

/// Values of settings can be long, and a status is read by people.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}... ({} characters)", &text[..text.floor_char_boundary(LONGEST)], text.chars().count())
}

/// The creation of a topic that does not exist; its return, where it was known before.
pub fn creation(wanted: &Wanted, known_id: Option<&str>) -> Step {
    let partitions = wanted.partitions.unwrap_or(1);
    let create = Change::Create { partitions, replicas: wanted.replicas, config: wanted.config.clone() };
    let to = format!("a new topic with {}", counted(partitions, "partition"));
    match known_id {
        None => {
            Step { kind: ChangeKind::Create, field: "spec".into(), from: "no topic".into(), to, can: Can::Do(create) }
        }
        Some(id) => {
            let name = &wanted.name;
            let reason = format!(
                "topic {name:?} with the id {id} is gone with all its records: somebody else deleted it; approve to make a new one"
            );
            let can = Can::DoApproved(create, reason);
            Step { kind: ChangeKind::Recreate, field: "status.topicId".into(), from: id.to_owned(), to, can }
        }
    }
}

/// Another topic in the place of the one that was known.
pub fn adoption(observed: &Observed, known_id: &str) -> Step {
    let (from, to) = (known_id.to_owned(), observed.id.clone());
    let reason = format!(
        "the topic with the id {from} is gone with all its records, and somebody else made another one of that name, {to}; \
         approve to take it in its place"
    );
    let adopt = Change::Adopt { from: from.clone(), to: to.clone() };
    let can = Can::DoApproved(adopt, reason);
    Step { kind: ChangeKind::Adopt, field: "status.topicId".into(), from, to, can }
}

/// Everything in which a topic differs, in the order in which it is changed.
pub fn differences(wanted: &Wanted, observed: &Observed, known: &Known<'_>) -> Vec<Step> {
    let settings = settings(wanted, observed, known);
    let settings = settings.iter().map(|differing| setting(differing, observed, known.stakes));
    let size = partitions(wanted, observed, known.users).into_iter().chain(replicas(wanted, observed));
    size.chain(settings).chain(unseen(wanted, observed, known)).collect()
}

/// The settings that Sluice was about to make, that nobody wants any more, and that Kafka does not show: one may have been made by an operator
/// that ended, and the broker that was asked has not heard of it. Where none was, that changes nothing, so that nobody has to approve it.
fn unseen(wanted: &Wanted, observed: &Observed, known: &Known<'_>) -> Vec<Step> {
    if known.is_swept || wanted.policy != ManagementPolicy::Full {
        return Vec::new();
    }
    let is_unseen = |key: &&String| !wanted.config.contains_key(*key) && !observed.config.contains_key(*key);
    let reset = |key: &String| {
        let default = || "default".to_owned();
        let can = Can::Do(Change::Reset { key: key.clone(), from: default() });
        Step { kind: ChangeKind::Reset, field: setting_field(key), from: default(), to: default(), can }
    };
    known.underway.into_iter().flat_map(BTreeMap::keys).filter(is_unseen).map(reset).collect()
}

fn partitions(wanted: &Wanted, observed: &Observed, users: &[Usage]) -> Option<Step> {
    let from = observed.partitions;
    let to = wanted.partitions.filter(|to| *to != from)?;
    let (kind, can) = if to > from {
        let grow = Change::Grow { from, to };
        (ChangeKind::Grow, risk::of_growth(users).map_or(Can::Do(grow.clone()), |risk| Can::DoApproved(grow, risk)))
    } else {
        let (name, has) = (&wanted.name, counted(from, "partition"));
        let reason = format!("topic {name:?} has {has}; {to} were asked for, and Kafka cannot remove partitions");
        (ChangeKind::Shrink, Can::Nothing(reason))
    };
    Some(Step { kind, field: "spec.partitions".into(), from: from.to_string(), to: to.to_string(), can })
}

fn replicas(wanted: &Wanted, observed: &Observed) -> Option<Step> {
    let to = wanted.replicas?;
    let (from, reason) = if observed.replicas == to {
        let in_sync = observed.in_sync.filter(|in_sync| *in_sync < to)?;
        // How many there are already is no other change: it would make what was approved beside it stale.
        (format!("{to}, being copied"), copying(wanted, in_sync, to))
    } else {
        (observed.replicas.to_string(), procedure(wanted, observed, to))
    };
    let (kind, field, can) = (ChangeKind::Replicate, "spec.replicas".into(), Can::Nothing(reason));
    Some(Step { kind, field, from, to: to.to_string(), can })
}

/// A setting that differs. `to` is `None` where it returns to the broker's default.
pub struct Setting<'a> {
    /// Kafka's name of it.
    pub key: &'a str,
    /// The topic's own value.
    pub from: Option<&'a str>,
    /// The value that is wanted.
    pub to: Option<&'a str>,
}

/// The settings that differ: those that are wanted, and those that Sluice made earlier and nobody wants any more.
pub fn settings<'a>(wanted: &'a Wanted, observed: &'a Observed, known: &Known<'a>) -> Vec<Setting<'a>> {
    let own = |key: &String| observed.config.get(key).map(String::as_str);
    let set = wanted.config.iter().map(|(key, to)| Setting { key, from: own(key), to: Some(to) });
    let left = known.ours(observed).into_iter().filter(|key| !wanted.config.contains_key(*key));
    let reset = left.map(|key| Setting { key, from: own(key), to: None });
    set.chain(reset).filter(|setting| setting.from != setting.to).collect()
}

fn setting(setting: &Setting<'_>, observed: &Observed, stakes: Option<&Stakes>) -> Step {
    let Setting { key, from, to } = *setting;
    let text = |value: Option<&str>| value.unwrap_or("default").to_owned();
    let (kind, change) = match to {
        Some(to) => {
            let change = Change::Set { key: key.to_owned(), from: from.map(str::to_owned), to: to.to_owned() };
            (ChangeKind::Set, change)
        }
        None => (ChangeKind::Reset, Change::Reset { key: key.to_owned(), from: text(from) }),
    };
    let can = match risk::of_setting(key, to, observed, stakes) {
        None => Can::Do(change),
        Some(risk) => Can::DoApproved(change, risk),
    };
    Step { kind, field: setting_field(key), from: text(from), to: text(to), can }
}

/// The field of a setting, for people.
pub fn setting_field(key: &str) -> String {
    format!("spec.config[{key}]")
}

/// `1 partition`, `6 partitions`.
pub fn counted(number: i32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
