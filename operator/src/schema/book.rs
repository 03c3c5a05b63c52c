//! What is known of the subjects of one registry, and who is told.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use sluice_crds::{NamespacedName, Reason};
use sluice_model::topic::{SchemaOutcome, SubjectState, WantedSchema};
use tokio::sync::oneshot;
use tracing::warn;

use super::api::Refusal;

/// A schema to be compared and registered.
pub struct Job {
    pub topic: NamespacedName,
    pub wanted: WantedSchema,
    pub fingerprint: u64,
}

/// The subjects, by the Topics that have them.
#[derive(Default)]
pub struct Book {
    pub entries: HashMap<NamespacedName, Entry>,
    /// Why the registry does not answer, while it does not.
    pub silence: Option<String>,
}

/// A Topic's subject.
pub struct Entry {
    /// Of the wanted schema, whose text is not kept.
    pub fingerprint: u64,
    pub subject: String,
    pub has_compatibility: bool,
    /// The subjects that the schema refers to.
    pub refers_to: Vec<String>,
    pub outcome: Option<SchemaOutcome>,
    /// As the registry told it when the outcome came about.
    pub state: Option<SubjectState>,
    /// Whether the outcome may be another one by now.
    pub is_stale: bool,
    pub is_asked: bool,
    /// The pass that waits.
    pub pass: Option<oneshot::Sender<()>>,
}

/// What a job came to.
pub struct End {
    pub result: Result<SchemaOutcome, Refusal>,
    pub state: Option<SubjectState>,
}

/// What a pass gets from the book.
pub enum Answer {
    Known(SchemaOutcome),
    Asked { receiver: oneshot::Receiver<()>, is_new: bool },
}

/// What a look needs to know.
pub struct Look {
    pub subject: String,
    pub has_compatibility: bool,
    pub state: Option<SubjectState>,
}

impl Entry {
    /// What a look at the subject needs to know.
    pub fn look(&self) -> Look {
        let (subject, has_compatibility) = (self.subject.clone(), self.has_compatibility);
        Look { subject, has_compatibility, state: self.state.clone() }
    }

    /// Whether it may be registered now that the subject has a version.
    pub fn waits_for(&self, subject: &str) -> bool {
        let is_missing = matches!(self.outcome, Some(SchemaOutcome::Failed { reason: Reason::NotFound, .. }));
        is_missing && self.refers_to.iter().any(|other| other == subject)
    }
}

impl Book {
    /// What is known of a Topic's schema, or who will tell.
    pub fn ask(&mut self, registry: &str, topic: &NamespacedName, wanted: &WantedSchema, fingerprint: u64) -> Answer {
        let new = || Entry {
            fingerprint,
            subject: wanted.subject.clone(),
            has_compatibility: wanted.compatibility.is_some(),
            refers_to: wanted.references.iter().map(|reference| reference.subject.clone()).collect(),
            outcome: None,
            state: None,
            is_stale: false,
            is_asked: false,
            pass: None,
        };
        let entry = self.entries.entry(topic.clone()).or_insert_with(new);
        if entry.fingerprint != fingerprint {
            *entry = new();
        }
        match (&entry.outcome, &self.silence) {
            (Some(outcome), _) if !entry.is_stale && !entry.is_asked => return Answer::Known(outcome.clone()),
            (Some(outcome), Some(_)) => return Answer::Known(outcome.clone()),
            (None, Some(silence)) => {
                let outcome = failed(registry, &wanted.subject, &Refusal::NoAnswer(silence.clone()));
                entry.outcome = Some(outcome.clone());
                return Answer::Known(outcome);
            }
            _ => {}
        }
        let (pass, receiver) = oneshot::channel();
        entry.pass = Some(pass);
        Answer::Asked { receiver, is_new: !std::mem::replace(&mut entry.is_asked, true) }
    }

    /// Takes what a job came to; says whether its Topic has to be woken, because no pass waits.
    pub fn settle(&mut self, registry: &str, job: &Job, end: End) -> bool {
        if let Err(Refusal::NoAnswer(why)) = &end.result
            && self.silence.is_none()
        {
            warn!(registry, why, "The schema registry does not answer");
            self.silence = Some(why.clone());
        }
        let Some(entry) = self.entries.get_mut(&job.topic).filter(|entry| entry.fingerprint == job.fingerprint) else {
            return false;
        };
        entry.is_asked = false;
        match end.result {
            // What was registered is still so, as far as anybody knows.
            Err(Refusal::NoAnswer(_)) if entry.outcome.is_some() => entry.is_stale = true,
            result => {
                let failure = |refusal| failed(registry, &entry.subject, &refusal);
                (entry.outcome, entry.state) = (Some(result.unwrap_or_else(failure)), end.state);
                entry.is_stale = false;
            }
        }
        entry.pass.take().is_none_or(|pass| pass.send(()).is_err())
    }
}

fn failed(registry: &str, subject: &str, refusal: &Refusal) -> SchemaOutcome {
    let message = format!("the schema registry {registry:?} {}", refusal.message());
    SchemaOutcome::Failed { subject: subject.to_owned(), reason: refusal.reason(), message }
}

/// A schema as one number.
pub fn fingerprint(wanted: &WantedSchema) -> u64 {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    hasher.finish()
}
