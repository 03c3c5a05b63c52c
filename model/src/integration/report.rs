//! Writes down what was observed of an Integration.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{ConditionType, ConsumerGroup, Integration, IntegrationStatus, LastGood, Reason, Scaling, Topic};

use super::{COMPONENT, DeadLetterTopic, Flow, Held, Leaving, desire::own_dead_letters, work::BY_WORKERS, worker_name};
use crate::{
    Conditions, Rejection,
    children::{self, Availability, ChildKind, Live, Owner, Plan, SeenPod},
    dependencies, references, rejection,
};

/// What a pass came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The Integration cannot be carried out, or not yet, and nothing is known of a spec that could. What runs keeps running.
    Rejected(&'a [Rejection]),
    /// The Integration cannot be carried out, or not yet; what followed from the last spec that could was kept.
    Held {
        /// Why.
        rejections: &'a [Rejection],
        /// What was kept.
        held: &'a Held,
        /// The objects that existed before.
        live: &'a [Live],
        /// The workers' pods; none are needed where every one is available.
        pods: &'a [SeenPod],
    },
    /// The Integration was compared with what exists; the plan's changes, if it has any, were applied after that.
    Planned {
        /// What should run.
        flow: &'a Flow,
        /// The objects that existed before the plan was applied.
        live: &'a [Live],
        /// The workers' pods; none are needed where every one is available.
        pods: &'a [SeenPod],
        /// What had to change.
        plan: &'a Plan,
        /// Where the objects are noted.
        last_good: Option<LastGood>,
    },
    /// It is being deleted, and its consumer group with it as soon as this is over.
    Leaving(&'a Leaving),
    /// The world did not let the pass finish.
    Failed {
        /// Why, by class.
        reason: Reason,
        /// What was being done to what, and what came of it.
        message: String,
    },
}

/// The Integration's new status. What this pass did not observe stays as it was.
pub fn report(integration: &Integration, outcome: &Outcome<'_>, now: Timestamp) -> IntegrationStatus {
    let previous = integration.status.clone().unwrap_or_default();
    let generation = integration.metadata.generation;
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    let status = IntegrationStatus {
        observed_generation: generation,
        depends_on: dependencies::of_integration(integration),
        ..previous.clone()
    };
    let status = match outcome {
        Outcome::Rejected(rejections) => {
            rejected(&mut conditions, rejections);
            conditions.keep(ConditionType::WorkersAvailable);
            status
        }
        Outcome::Held { rejections, held, live, pods } => {
            rejected(&mut conditions, rejections);
            let workers = children::find_availability(live, &worker_name(&held.owner), pods, now);
            available(&mut conditions, workers.as_ref());
            paused(&mut conditions, held.paused);
            running(status, &held.owner, (held.scaling, held.replicas), workers.as_ref())
        }
        Outcome::Leaving(leaving) => {
            let progress = match leaving {
                Leaving::Workers { .. } => ConditionType::Reconciling,
                Leaving::Members { .. } => ConditionType::Stalled,
            };
            not_ready(&mut conditions, progress, Reason::InUse, &leaving.to_string());
            status
        }
        Outcome::Failed { reason, message } => {
            not_ready(&mut conditions, ConditionType::Reconciling, *reason, message);
            status
        }
        Outcome::Planned { flow, live, pods, plan, last_good } => {
            let workers = children::find_availability(live, &worker_name(&flow.owner), pods, now);
            planned(&mut conditions, flow, &Seen { live, plan, workers: workers.as_ref() });
            let active = workers.as_ref().filter(|workers| workers.complete && plan.changes.is_empty());
            IntegrationStatus {
                active_generation: active.map_or(previous.active_generation, |_| generation),
                last_good: last_good.clone(),
                consumer_group: Some(ConsumerGroup { cluster: flow.cluster.name.clone(), name: flow.group.clone() }),
                source: Some(flow.source_title()),
                sink: Some(flow.sink_title()),
                ..running(status, &flow.owner, (flow.scaling, flow.replicas), workers.as_ref())
            }
        }
    };
    // Kafka and the workers tell of them, not a pass.
    for told in [ConditionType::Unmeasured].into_iter().chain(BY_WORKERS) {
        conditions.keep(told);
    }
    IntegrationStatus { conditions: conditions.finish(), ..status }
}

/// The status with how many workers there are, and how many `scaling` wants.
fn running(
    status: IntegrationStatus,
    owner: &Owner,
    (scaling, wanted): (Option<Scaling>, i32),
    workers: Option<&Availability>,
) -> IntegrationStatus {
    IntegrationStatus {
        wanted_replicas: scaling.map(|_| wanted),
        replicas: workers.map(|workers| workers.replicas),
        ready_replicas: workers.map(|workers| workers.ready),
        selector: Some(owner.selector_text(COMPONENT)),
        ..status
    }
}

fn rejected(conditions: &mut Conditions<'_>, rejections: &[Rejection]) {
    let (invalid, waiting): (Vec<_>, Vec<_>) = rejections.iter().cloned().partition(Rejection::needs_a_person);
    let first = rejection::reason(rejections);
    let message = rejection::summary(rejections);
    conditions.no(ConditionType::Ready, first, &message);
    if invalid.is_empty() {
        conditions.yes(ConditionType::Reconciling, first, message);
        conditions.yes(ConditionType::ConfigValid, Reason::Satisfied, "");
    } else {
        conditions.yes(ConditionType::Stalled, first, message);
        conditions.no(ConditionType::ConfigValid, first, rejection::summary(&invalid));
    }
    match waiting.first() {
        Some(missing) => {
            conditions.no(ConditionType::DependenciesReady, missing.reason, rejection::summary(&waiting));
        }
        None => conditions.keep(ConditionType::DependenciesReady),
    }
}

fn not_ready(conditions: &mut Conditions<'_>, progress: ConditionType, reason: Reason, message: &str) {
    conditions.no(ConditionType::Ready, reason, message);
    conditions.yes(progress, reason, message);
    for kept in [ConditionType::ConfigValid, ConditionType::DependenciesReady, ConditionType::WorkersAvailable] {
        conditions.keep(kept);
    }
}

/// What a pass observed.
struct Seen<'a> {
    live: &'a [Live],
    plan: &'a Plan,
    workers: Option<&'a Availability>,
}

fn planned(conditions: &mut Conditions<'_>, flow: &Flow, seen: &Seen<'_>) {
    let waiting = waiting_for(flow, seen.live);
    let (ready, reason, message) = verdict(flow, seen, &waiting);
    if ready {
        conditions.yes(ConditionType::Ready, reason, message);
    } else {
        conditions.no(ConditionType::Ready, reason, &message);
        let overdue = seen.workers.is_some_and(|workers| workers.overdue && workers.reason == reason);
        let stalled = reason == Reason::NameConflict || overdue;
        let progress = if stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
        conditions.yes(progress, reason, message);
    }
    conditions.yes(ConditionType::ConfigValid, Reason::Satisfied, "");
    match waiting.first() {
        Some(first) => conditions.no(ConditionType::DependenciesReady, first.reason, rejection::summary(&waiting)),
        None => conditions.yes(ConditionType::DependenciesReady, Reason::Satisfied, ""),
    }
    available(conditions, seen.workers);
    paused(conditions, flow.paused);
}

fn available(conditions: &mut Conditions<'_>, workers: Option<&Availability>) {
    match workers {
        Some(workers) if workers.complete => {
            conditions.yes(ConditionType::WorkersAvailable, Reason::Satisfied, &workers.message);
        }
        Some(workers) => conditions.no(ConditionType::WorkersAvailable, workers.reason, &workers.message),
        None => conditions.no(ConditionType::WorkersAvailable, Reason::Progressing, "no worker exists yet"),
    }
}

fn paused(conditions: &mut Conditions<'_>, paused: bool) {
    if paused {
        conditions.yes(ConditionType::Paused, Reason::Paused, PAUSED);
    }
}

const PAUSED: &str = "spec.paused is true; records wait in the source";

fn verdict(flow: &Flow, seen: &Seen<'_>, waiting: &[Rejection]) -> (bool, Reason, String) {
    if let Some(conflict) = seen.plan.withheld.first() {
        return (false, Reason::NameConflict, conflict.to_string());
    }
    if !seen.plan.changes.is_empty() {
        return (false, Reason::Progressing, format!("{} object(s) were changed", seen.plan.changes.len()));
    }
    if let Some(first) = waiting.first() {
        return (false, first.reason, rejection::summary(waiting));
    }
    match seen.workers {
        Some(workers) if !workers.complete => (false, workers.reason, format!("workers: {}", workers.message)),
        None => (false, Reason::Progressing, "no worker exists yet".to_owned()),
        Some(_) if flow.paused => (true, Reason::Paused, PAUSED.to_owned()),
        Some(workers) => (true, Reason::Running, format!("workers: {}", workers.message)),
    }
}

/// Topics that are not ready: those that are referred to, and the Integration's own for dead letters.
fn waiting_for(flow: &Flow, live: &[Live]) -> Vec<Rejection> {
    let mut waiting = flow.waiting_for.clone();
    if let DeadLetterTopic::Own(_) = flow.dead_letters {
        let name = own_dead_letters(flow);
        let topic = children::find(live, ChildKind::Topic, &name)
            .and_then(|live| serde_json::from_value::<Topic>(live.object.clone()).ok());
        waiting.extend(topic.and_then(|topic| references::not_ready("spec.deadLetters", &topic)));
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_workers_passes_and_what_waits_for_others_needs_a_person() {
        let spec =
            "{source: {topic: {name: orders}}, sink: {http: {url: 'https://api.example/'}}, deletionPolicy: Delete}";
        let metadata = "{name: to-api, namespace: shop}";
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        let integration: Integration = serde_saphyr::from_str(&yaml).unwrap();
        let group = || "shop.to-api".to_owned();
        let told = |leaving: &Leaving| -> Vec<String> {
            let status = report(&integration, &Outcome::Leaving(leaving), Timestamp::from_second(1).unwrap());
            status.conditions.iter().map(|one| format!("{} {} {}", one.type_, one.status, one.reason)).collect()
        };
        let workers = Leaving::Workers { group: group(), pods: 2 };
        assert_eq!(told(&workers), ["Ready False InUse", "Reconciling True InUse"]);
        let members = Leaving::Members { group: group(), members: ["app at /10.0.0.1".to_owned()].into() };
        assert_eq!(told(&members), ["Ready False InUse", "Stalled True InUse"]);
    }
}
