//! Writes down what was observed of a Topic.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{ConditionType, ManagementPolicy, Reason, Topic, TopicStatus};

use super::{Observed, Plan, Wanted};
use crate::{Conditions, Rejection, rejection};

/// What a pass came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The Topic cannot be carried out.
    Rejected(&'a [Rejection]),
    /// The Topic was compared with what exists; the plan's changes, if it has any, were applied after that.
    Planned {
        /// What should exist.
        wanted: &'a Wanted,
        /// What existed before the plan was applied.
        observed: Option<&'a Observed>,
        /// What had to change.
        plan: &'a Plan,
    },
    /// The world did not let the pass finish.
    Failed {
        /// Why, by class.
        reason: Reason,
        /// What was being done to what, and what came of it.
        message: String,
    },
}

/// The Topic's new status. What this pass did not observe stays as it was.
pub fn report(topic: &Topic, outcome: &Outcome<'_>, now: Timestamp) -> TopicStatus {
    let previous = topic.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, topic.metadata.generation, now);
    judge(&mut conditions, outcome);
    let status = TopicStatus {
        observed_generation: topic.metadata.generation,
        conditions: conditions.finish(),
        ..previous.clone()
    };
    match outcome {
        Outcome::Planned { wanted, observed, plan } => TopicStatus {
            topic_name: Some(wanted.name.clone()),
            topic_id: observed.map(|topic| topic.id.clone()),
            partitions: observed.map(|topic| topic.partitions),
            replicas: observed.map(|topic| topic.replicas.into()),
            config_keys: ours(wanted, &previous),
            pending: plan.pending(),
            ..status
        },
        Outcome::Rejected(_) | Outcome::Failed { .. } => status,
    }
}

/// The settings that are Sluice's from now on; under a policy that changes nothing, those that were.
fn ours(wanted: &Wanted, previous: &TopicStatus) -> Vec<String> {
    match wanted.policy {
        ManagementPolicy::Full => wanted.config.keys().cloned().collect(),
        ManagementPolicy::CreateOnly | ManagementPolicy::Observe => previous.config_keys.clone(),
    }
}

fn judge(conditions: &mut Conditions<'_>, outcome: &Outcome<'_>) {
    match outcome {
        Outcome::Rejected(rejections) => {
            let message = rejection::summary(rejections);
            conditions.no(ConditionType::Ready, Reason::Invalid, &message);
            conditions.yes(ConditionType::Stalled, Reason::Invalid, message);
        }
        Outcome::Failed { reason, message } => {
            conditions.no(ConditionType::Ready, *reason, message);
            conditions.yes(ConditionType::Reconciling, *reason, message);
        }
        Outcome::Planned { plan, .. } if !plan.changes.is_empty() => {
            let message = format!("{} change(s) were made and are looked at again", plan.changes.len());
            conditions.no(ConditionType::Ready, Reason::Progressing, &message);
            conditions.yes(ConditionType::Reconciling, Reason::Progressing, message);
        }
        Outcome::Planned { wanted, observed: None, .. } => {
            let message = format!(
                "Kafka has no topic {:?}, and spec.managementPolicy is Observe; create it, or set managementPolicy to Full",
                wanted.name
            );
            conditions.no(ConditionType::Ready, Reason::NotFound, &message);
            conditions.yes(ConditionType::Stalled, Reason::NotFound, message);
        }
        Outcome::Planned { wanted, observed: Some(observed), plan } => {
            if wanted.policy == ManagementPolicy::Full && !plan.withheld.is_empty() {
                let message = withheld(plan);
                conditions.no(ConditionType::Ready, Reason::Withheld, &message);
                conditions.yes(ConditionType::Stalled, Reason::Withheld, message);
            } else {
                let (partitions, replicas) = (observed.partitions, observed.replicas);
                conditions.yes(
                    ConditionType::Ready,
                    Reason::InSync,
                    format!("{partitions} partition(s), {replicas} cop(ies) of each"),
                );
            }
        }
    }
}

fn withheld(plan: &Plan) -> String {
    plan.withheld.iter().map(|change| change.reason.as_str()).collect::<Vec<_>>().join("; ")
}
