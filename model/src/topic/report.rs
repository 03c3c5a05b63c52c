//! Writes down what was observed of a Topic.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{
    ChangeKind, ConditionType, ManagementPolicy, PendingChanges, Reason, RegisteredSchema, Topic, TopicStatus,
};

use super::{
    Observed, Plan, Wanted,
    approval::Subject,
    claim::Claim,
    farewell::names,
    plan::Change,
    schema::{SchemaOutcome, SchemaPlan},
    step::counted,
    users::{Usage, named},
};
use crate::{Conditions, Rejection, rejection};

/// What a pass came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The Topic cannot be carried out.
    Rejected(&'a [Rejection]),
    /// Another Topic has the Kafka topic.
    Lost {
        /// What should exist.
        wanted: &'a Wanted,
        /// The claim of the one that has it.
        winner: &'a Claim,
    },
    /// The Topic was compared with what exists; the plan's changes, if it has any, were applied after that.
    Planned {
        /// What should exist.
        wanted: &'a Wanted,
        /// What existed before the plan was applied.
        observed: Option<&'a Observed>,
        /// What had to change.
        plan: &'a Plan,
        /// What became of the schema, where there is one.
        schema: Option<&'a SchemaOutcome>,
    },
    /// The Topic is to be deleted, and these still use it.
    InUse(&'a [Usage]),
    /// The world did not let the pass finish.
    Failed {
        /// Why, by class.
        reason: Reason,
        /// What was being done to what, and what came of it.
        message: String,
    },
}

/// The Topic's new status. What this pass did not observe stays as it was; `users` are who uses it, where the pass knows.
pub fn report(topic: &Topic, users: Option<&[Usage]>, outcome: &Outcome<'_>, now: Timestamp) -> TopicStatus {
    let previous = topic.status.clone().unwrap_or_default();
    let status = TopicStatus {
        observed_generation: topic.metadata.generation,
        used_by: users.map_or_else(|| previous.used_by.clone(), |users| named(users.iter().map(|usage| &usage.user))),
        ..previous.clone()
    };
    let status = match outcome {
        Outcome::Planned { wanted, observed, plan, schema } => {
            let waits = plan.waits_for_notes;
            let topic_id =
                if waits && observed.is_none() { previous.topic_id.clone() } else { id(plan, *observed, &previous) };
            // Whatever was approved has to be approved still in the pass that makes it. Of another topic nothing was.
            let keeps_approval = waits && topic_id == previous.topic_id;
            let subject = Subject { topic_id: topic_id.as_deref(), generation: topic.metadata.generation };
            TopicStatus {
                topic_name: Some(wanted.name.clone()),
                partitions: observed.map(|topic| topic.partitions),
                replicas: observed.map(|topic| topic.replicas.into()),
                config_keys: plan.settings.clone(),
                config_underway: plan.underway.clone(),
                pending: if keeps_approval {
                    previous.pending.clone()
                } else {
                    subject.pending(&plan.withheld, previous.pending.as_ref(), now)
                },
                schema: schema.and_then(|schema| registered(schema, previous.schema.as_ref())),
                topic_id,
                ..status
            }
        }
        Outcome::Lost { wanted, .. } => TopicStatus {
            topic_name: Some(wanted.name.clone()),
            topic_id: None,
            partitions: None,
            replicas: None,
            pending: None,
            ..status
        },
        Outcome::Rejected(_) | Outcome::InUse(_) | Outcome::Failed { .. } => status,
    };
    let mut conditions = Conditions::new(&previous.conditions, topic.metadata.generation, now);
    judge(&mut conditions, topic, outcome, status.pending.as_ref());
    TopicStatus { conditions: conditions.finish(), ..status }
}

/// The id that the Topic has from now on: of another topic in the place of the known one only once that is approved.
fn id(plan: &Plan, observed: Option<&Observed>, previous: &TopicStatus) -> Option<String> {
    if plan.withheld.iter().any(|held| matches!(held.change, ChangeKind::Recreate | ChangeKind::Adopt)) {
        return previous.topic_id.clone();
    }
    observed.map(|topic| topic.id.clone())
}

/// The version that holds the schema. While that is not known it is the one from before, of the same subject.
fn registered(schema: &SchemaOutcome, previous: Option<&RegisteredSchema>) -> Option<RegisteredSchema> {
    match schema {
        SchemaOutcome::Compared { registered, .. } => registered.clone(),
        SchemaOutcome::Failed { subject, .. } => previous.filter(|previous| previous.subject == *subject).cloned(),
        SchemaOutcome::Asked | SchemaOutcome::Rejected(_) => previous.cloned(),
        SchemaOutcome::Lost { .. } => None,
    }
}

/// What a part of the Topic comes to: Kafka's, or the registry's.
#[derive(Clone, Debug)]
enum Verdict {
    /// It is as declared.
    Done(String),
    /// It is on its way, or waits for something that passes.
    Underway(Reason, String),
    /// A person must act.
    Stuck(Reason, String),
}

fn judge(conditions: &mut Conditions<'_>, topic: &Topic, outcome: &Outcome<'_>, pending: Option<&PendingChanges>) {
    let of_schema = match outcome {
        Outcome::Planned { schema, .. } => schema.map(schema_verdict),
        _ => None,
    };
    set_ready(conditions, &joined(kafka_verdict(topic, outcome, pending), of_schema.as_ref()));
    match (of_schema, outcome) {
        (Some(Verdict::Done(message)), _) => conditions.yes(ConditionType::SchemaRegistered, Reason::InSync, message),
        (Some(Verdict::Underway(reason, message) | Verdict::Stuck(reason, message)), _) => {
            conditions.no(ConditionType::SchemaRegistered, reason, message);
        }
        (None, Outcome::Planned { .. }) => {}
        (None, _) => conditions.keep(ConditionType::SchemaRegistered),
    }
}

/// Kafka's part comes first: without the topic a schema is worth nothing.
fn joined(kafka: Verdict, schema: Option<&Verdict>) -> Verdict {
    match (kafka, schema) {
        (Verdict::Done(kafka), Some(Verdict::Done(schema))) => Verdict::Done(format!("{kafka}; {schema}")),
        (Verdict::Done(_), Some(schema)) => schema.clone(),
        (kafka, _) => kafka,
    }
}

fn set_ready(conditions: &mut Conditions<'_>, verdict: &Verdict) {
    match verdict {
        Verdict::Done(message) => conditions.yes(ConditionType::Ready, Reason::InSync, message),
        Verdict::Underway(reason, message) => {
            conditions.no(ConditionType::Ready, *reason, message);
            conditions.yes(ConditionType::Reconciling, *reason, message);
        }
        Verdict::Stuck(reason, message) => {
            conditions.no(ConditionType::Ready, *reason, message);
            conditions.yes(ConditionType::Stalled, *reason, message);
        }
    }
}

fn kafka_verdict(topic: &Topic, outcome: &Outcome<'_>, pending: Option<&PendingChanges>) -> Verdict {
    match outcome {
        Outcome::Rejected(rejections) => Verdict::Stuck(rejection::reason(rejections), rejection::summary(rejections)),
        Outcome::Lost { wanted, winner } => Verdict::Stuck(Reason::Conflict, conflict(wanted, winner)),
        Outcome::InUse(users) => Verdict::Stuck(
            Reason::InUse,
            format!(
                "the Kafka topic is not deleted while these use it, by their spec or their status.lastGood: {}; delete them, \
                 or set spec.deletionPolicy to Retain",
                names(users)
            ),
        ),
        Outcome::Failed { reason, message } if needs_a_person(*reason) => Verdict::Stuck(*reason, message.clone()),
        Outcome::Failed { reason, message } => Verdict::Underway(*reason, message.clone()),
        Outcome::Planned { plan, .. } if !plan.changes.is_empty() => {
            let made = plan.changes.iter().map(title).collect::<Vec<_>>().join(", ");
            Verdict::Underway(Reason::Progressing, format!("{made}; Kafka is looked at again"))
        }
        Outcome::Planned { wanted, observed: None, .. } if wanted.policy == ManagementPolicy::Observe => {
            let message = format!(
                "Kafka has no topic {:?}, and spec.managementPolicy is Observe; create it, or set managementPolicy to Full",
                wanted.name
            );
            Verdict::Stuck(Reason::NotFound, message)
        }
        Outcome::Planned { wanted, observed, plan, .. } => match (blocking(wanted, plan), observed) {
            (None, Some(observed)) => Verdict::Done(in_sync(wanted, observed, plan)),
            (Some(reasons), Some(observed)) if only_copies(wanted, observed, plan) => {
                Verdict::Underway(Reason::Progressing, reasons)
            }
            (reasons, _) => {
                let reasons = reasons.unwrap_or_default();
                Verdict::Stuck(Reason::Withheld, format!("{reasons}{}", how_to_approve(topic, pending)))
            }
        },
    }
}

fn schema_verdict(schema: &SchemaOutcome) -> Verdict {
    match schema {
        SchemaOutcome::Rejected(rejection) if rejection.needs_a_person() => {
            let of_schema = rejection.field.starts_with("spec.schema.definition");
            let reason = if of_schema { Reason::SchemaInvalid } else { rejection.reason };
            Verdict::Stuck(reason, rejection.to_string())
        }
        SchemaOutcome::Rejected(rejection) => Verdict::Underway(rejection.reason, rejection.to_string()),
        SchemaOutcome::Lost { subject, winner } => Verdict::Stuck(
            Reason::Conflict,
            format!(
                "the subject {subject:?} belongs to Topic {winner}; write another spec.schema.subject, or leave the schema to \
                 that Topic"
            ),
        ),
        SchemaOutcome::Asked => Verdict::Underway(Reason::Progressing, "the schema registry is being asked".to_owned()),
        SchemaOutcome::Compared { registered, plan } => compared(registered.as_ref(), plan),
        SchemaOutcome::Failed { reason, message, .. } if needs_a_person(*reason) => {
            Verdict::Stuck(*reason, message.clone())
        }
        SchemaOutcome::Failed { reason, message, .. } => Verdict::Underway(*reason, message.clone()),
    }
}

fn compared(registered: Option<&RegisteredSchema>, plan: &SchemaPlan) -> Verdict {
    let title = registered.map_or_else(
        || "no schema".to_owned(),
        |schema| format!("schema {:?} version {}", schema.subject, schema.version),
    );
    let withheld = plan.withheld.join("; ");
    match (withheld.as_str(), plan.by_policy) {
        ("", _) => Verdict::Done(title),
        (withheld, true) => Verdict::Done(format!(
            "{title}; the registry differs, and spec.managementPolicy forbids a change: {withheld}"
        )),
        (withheld, false) => Verdict::Stuck(Reason::SchemaSuperseded, withheld.to_owned()),
    }
}

/// What Kafka or a registry refuses for a reason that will not pass by itself. It is tried again all the same.
fn needs_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Invalid
            | Reason::OutsideTenancy
            | Reason::NotAuthorized
            | Reason::NameRefused
            | Reason::SettingRefused
            | Reason::TooFewBrokers
            | Reason::PolicyViolation
            | Reason::DeletionDisabled
            | Reason::SchemaInvalid
            | Reason::SchemaIncompatible
            | Reason::RegistryUnauthorized
            | Reason::RegistryRefused
    )
}

fn conflict(wanted: &Wanted, winner: &Claim) -> String {
    let (name, theirs, other) = (&wanted.name, &winner.kafka_name, &winner.topic);
    if name == theirs {
        return format!("the Kafka topic {name:?} belongs to Topic {other}; delete one of the two");
    }
    format!(
        "the Kafka topic {theirs:?} of Topic {other} and {name:?} cannot be told apart in Kafka's metrics, which write '.' as \
         '_'; make this Topic anew with another spec.topicName"
    )
}

/// What was done, for people.
fn title(change: &Change) -> String {
    match change {
        Change::Create { partitions, .. } => format!("created with {}", counted(*partitions, "partition")),
        Change::Adopt { to, .. } => format!("adopted the topic with the id {to}"),
        Change::Grow { from, to } => format!("grown from {from} to {}", counted(*to, "partition")),
        Change::Set { key, .. } => format!("set {key}"),
        Change::Reset { key, .. } => format!("reset {key}"),
    }
}

/// The reasons of what keeps a Topic from being ready. Under `Observe` and `CreateOnly` a difference is only shown; what a
/// person has to approve blocks under `CreateOnly` too.
fn blocking(wanted: &Wanted, plan: &Plan) -> Option<String> {
    let blocks = |approvable: bool| match wanted.policy {
        ManagementPolicy::Full => true,
        ManagementPolicy::CreateOnly => approvable,
        ManagementPolicy::Observe => false,
    };
    let reasons: Vec<&str> =
        plan.withheld.iter().filter(|held| blocks(held.approvable)).map(|held| held.reason.as_str()).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Whether all that is missing are records in copies that are there: nobody has to do anything.
fn only_copies(wanted: &Wanted, observed: &Observed, plan: &Plan) -> bool {
    let is_there = wanted.replicas == Some(observed.replicas);
    is_there && plan.withheld.iter().all(|held| held.change == ChangeKind::Replicate)
}

fn in_sync(wanted: &Wanted, observed: &Observed, plan: &Plan) -> String {
    let copies = if observed.replicas == 1 { "copy" } else { "copies" };
    let (partitions, replicas) = (counted(observed.partitions, "partition"), observed.replicas);
    let shape = format!("{partitions}, {replicas} {copies} of each");
    if plan.withheld.is_empty() {
        return shape;
    }
    let fields = plan.withheld.iter().map(|held| held.field.as_str()).collect::<Vec<_>>().join(", ");
    format!("{shape}; Kafka differs in {fields}, and spec.managementPolicy is {:?}", wanted.policy)
}

fn how_to_approve(topic: &Topic, pending: Option<&PendingChanges>) -> String {
    let Some(pending) = pending.filter(|pending| pending.changes.iter().any(|change| change.approvable)) else {
        return String::new();
    };
    let [namespace, name] =
        [&topic.metadata.namespace, &topic.metadata.name].map(|text| text.as_deref().unwrap_or_default());
    let (annotation, hash) = (sluice_crds::APPROVE_ANNOTATION, &pending.hash);
    format!("; approve with: kubectl annotate --overwrite -n {namespace} topics.sluice.dev/{name} {annotation}={hash}")
}
