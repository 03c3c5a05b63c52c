//! What is known of the subjects of one registry, who is told, and which schemas wait to be registered.
//!
//! A schema that is overtaken, by another one of its Topic or because the Topic has none here any more, is not registered: each
//! entry knows the job that it waits for, and no other one counts. What a request is on its way for cannot be called back, so no
//! job begins before the one under way with the same Topic or subject has ended: whatever came of that one is there when the
//! newer one compares.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
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
    /// No other job has it.
    number: u64,
}

/// The subjects, by the Topics that have them.
#[derive(Default)]
pub struct Book {
    pub entries: HashMap<NamespacedName, Entry>,
    /// Why the registry does not answer, while it does not.
    pub silence: Option<String>,
    /// The jobs that wait, by number: the oldest first, and one for each entry at most.
    waiting: BTreeMap<u64, Job>,
    /// The jobs that have begun, also those that were overtaken.
    under_way: Vec<Arc<Job>>,
    /// The number of the newest job.
    newest: u64,
}

/// A Topic's subject.
pub struct Entry {
    /// Of the wanted schema, whose text is not kept.
    fingerprint: u64,
    pub subject: String,
    has_compatibility: bool,
    /// The subjects that the schema refers to.
    refers_to: Vec<String>,
    pub outcome: Option<SchemaOutcome>,
    /// As the registry told it when the outcome came about.
    state: Option<SubjectState>,
    /// Whether the outcome may be another one by now.
    pub is_stale: bool,
    /// The number of the job that it waits for.
    pub job: Option<u64>,
    /// The pass that waits.
    pass: Option<oneshot::Sender<()>>,
}

/// What a job came to.
pub struct End {
    pub result: Result<SchemaOutcome, Refusal>,
    pub state: Option<SubjectState>,
}

/// What a pass gets from the book.
pub enum Answer {
    Known(SchemaOutcome),
    /// It is told when something is known.
    Asked(oneshot::Receiver<()>),
}

/// What a look needs to know.
pub struct Look {
    pub subject: String,
    pub has_compatibility: bool,
    pub state: Option<SubjectState>,
}

impl Job {
    /// Whether what comes of the two depends on which of them is the first.
    fn meets(&self, other: &Self) -> bool {
        self.topic == other.topic || self.wanted.subject == other.wanted.subject
    }
}

impl Entry {
    fn new(wanted: &WantedSchema, fingerprint: u64) -> Self {
        Self {
            fingerprint,
            subject: wanted.subject.clone(),
            has_compatibility: wanted.compatibility.is_some(),
            refers_to: wanted.references.iter().map(|reference| reference.subject.clone()).collect(),
            outcome: None,
            state: None,
            is_stale: false,
            job: None,
            pass: None,
        }
    }

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
    pub fn ask(&mut self, registry: &str, topic: &NamespacedName, wanted: WantedSchema) -> Answer {
        let fingerprint = fingerprint(&wanted);
        if self.entries.get(topic).is_some_and(|entry| entry.fingerprint != fingerprint) {
            self.forget(topic);
        }
        let entry = self.entries.entry(topic.clone()).or_insert_with(|| Entry::new(&wanted, fingerprint));
        match (&entry.outcome, &self.silence) {
            (Some(outcome), _) if !entry.is_stale && entry.job.is_none() => return Answer::Known(outcome.clone()),
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
        if entry.job.is_none() {
            self.newest += 1;
            entry.job = Some(self.newest);
            self.waiting.insert(self.newest, Job { topic: topic.clone(), wanted, number: self.newest });
        }
        Answer::Asked(receiver)
    }

    /// The oldest job that meets none under way; it has to end with [`Book::settle`].
    pub fn begin(&mut self) -> Option<Arc<Job>> {
        let mut waiting = self.waiting.iter();
        let (&number, _) = waiting.find(|(_, job)| !self.under_way.iter().any(|other| other.meets(job)))?;
        let job = Arc::new(self.waiting.remove(&number)?);
        self.under_way.push(Arc::clone(&job));
        Some(job)
    }

    /// Whether the job was not overtaken.
    pub fn wants(&self, job: &Job) -> bool {
        self.entries.get(&job.topic).is_some_and(|entry| entry.job == Some(job.number))
    }

    /// The Topic has no subject here.
    pub fn forget(&mut self, topic: &NamespacedName) {
        if let Some(number) = self.entries.remove(topic).and_then(|entry| entry.job) {
            self.waiting.remove(&number);
        }
    }

    /// Forgets the Topics that do not exist.
    pub fn keep(&mut self, exists: impl Fn(&NamespacedName) -> bool) {
        self.entries.retain(|topic, _| exists(topic));
        self.waiting.retain(|_, job| exists(&job.topic));
    }

    /// Takes what a job came to, `None` where it was overtaken; says whether its Topic has to be woken, because no pass waits.
    pub fn settle(&mut self, registry: &str, job: &Job, end: Option<End>) -> bool {
        self.under_way.retain(|other| other.number != job.number);
        if let Some(End { result: Err(Refusal::NoAnswer(why)), .. }) = &end
            && self.silence.is_none()
        {
            warn!(registry, why, "The schema registry does not answer");
            self.silence = Some(why.clone());
        }
        let Some(entry) = self.entries.get_mut(&job.topic).filter(|entry| entry.job == Some(job.number)) else {
            return false;
        };
        let Some(End { result, state }) = end else {
            // Its Topic was gone. Should another one have come in its place, that one asks anew.
            self.entries.remove(&job.topic);
            return true;
        };
        entry.job = None;
        match result {
            // What was registered is still so, as far as anybody knows.
            Err(Refusal::NoAnswer(_)) if entry.outcome.is_some() => entry.is_stale = true,
            result => {
                let failure = |refusal| failed(registry, &entry.subject, &refusal);
                (entry.outcome, entry.state) = (Some(result.unwrap_or_else(failure)), state);
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

fn fingerprint(wanted: &WantedSchema) -> u64 {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use sluice_crds::{ManagementPolicy, SchemaFormat};
    use sluice_model::topic::SchemaPlan;

    use super::*;

    fn name(topic: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".to_owned(), name: topic.to_owned() }
    }

    fn ask_about(book: &mut Book, topic: &str, subject: &str, text: &str) -> Answer {
        let wanted = WantedSchema {
            registry: "default".to_owned(),
            subject: subject.to_owned(),
            format: SchemaFormat::Avro,
            compatibility: None,
            text: text.to_owned(),
            references: Vec::new(),
            policy: ManagementPolicy::Full,
        };
        book.ask("default", &name(topic), wanted)
    }

    /// Asks, and waits for no answer.
    fn ask(book: &mut Book, topic: &str, text: &str) {
        let answer = ask_about(book, topic, &format!("shop.{topic}-value"), text);
        assert!(matches!(answer, Answer::Asked(_)), "{topic} {text} is not known");
    }

    /// Begins the next job, which must be about that.
    fn begin(book: &mut Book, topic: &str, text: &str) -> Arc<Job> {
        let job = book.begin().unwrap();
        assert_eq!((job.topic.name.as_str(), job.wanted.text.as_str()), (topic, text));
        job
    }

    fn in_sync() -> SchemaOutcome {
        SchemaOutcome::Compared { registered: None, plan: SchemaPlan::default() }
    }

    /// Ends a job well; says whether its Topic is woken.
    fn end(book: &mut Book, job: &Job) -> bool {
        book.settle("default", job, Some(End { result: Ok(in_sync()), state: None }))
    }

    fn outcome(book: &Book, topic: &str) -> Option<SchemaOutcome> {
        book.entries.get(&name(topic)).and_then(|entry| entry.outcome.clone())
    }

    #[test]
    fn of_each_topic_only_the_newest_schema_waits() {
        let mut book = Book::default();
        for text in ["1", "2", "2", "3"] {
            ask(&mut book, "orders", text);
            ask(&mut book, "customers", "1");
        }
        assert_eq!(book.waiting.len(), 2);
        begin(&mut book, "customers", "1");
        begin(&mut book, "orders", "3");
        assert!(book.begin().is_none());
    }

    #[test]
    fn a_newer_schema_waits_for_the_overtaken_one_and_other_topics_do_not() {
        let mut book = Book::default();
        ask(&mut book, "orders", "1");
        let old = begin(&mut book, "orders", "1");
        assert!(book.wants(&old));
        ask(&mut book, "orders", "2");
        ask(&mut book, "customers", "1");
        assert!(!book.wants(&old));
        begin(&mut book, "customers", "1");
        assert!(book.begin().is_none());

        assert!(!end(&mut book, &old));
        assert_eq!(outcome(&book, "orders"), None);
        let new = begin(&mut book, "orders", "2");
        assert!(book.wants(&new) && end(&mut book, &new));
        assert_eq!(outcome(&book, "orders"), Some(in_sync()));
    }

    #[test]
    fn a_schema_that_comes_back_does_not_revive_its_old_job() {
        let mut book = Book::default();
        ask(&mut book, "orders", "1");
        let old = begin(&mut book, "orders", "1");
        ask(&mut book, "orders", "2");
        ask(&mut book, "orders", "1");
        assert!(!book.wants(&old));
        assert!(!book.settle("default", &old, None));
        let new = begin(&mut book, "orders", "1");
        assert!(book.wants(&new));
    }

    #[test]
    fn of_a_topic_without_a_subject_nothing_waits_and_nothing_is_wanted() {
        let mut book = Book::default();
        ask(&mut book, "orders", "1");
        let job = begin(&mut book, "orders", "1");
        ask(&mut book, "customers", "1");
        for topic in ["orders", "customers"] {
            book.forget(&name(topic));
        }
        assert!(!book.wants(&job) && book.begin().is_none());
        assert!(!end(&mut book, &job));
        assert!(book.entries.is_empty() && book.waiting.is_empty() && book.under_way.is_empty());

        ask(&mut book, "orders", "1");
        book.keep(|_| false);
        assert!(book.entries.is_empty() && book.waiting.is_empty());
    }

    #[test]
    fn a_topic_that_gets_the_subject_of_another_waits_for_its_job() {
        let mut book = Book::default();
        let ask = |book: &mut Book, topic: &str| drop(ask_about(book, topic, "shop.Order", topic));
        ask(&mut book, "first");
        let first = begin(&mut book, "first", "first");
        book.forget(&name("first"));
        ask(&mut book, "second");
        assert!(book.begin().is_none());
        end(&mut book, &first);
        begin(&mut book, "second", "second");
    }

    #[test]
    fn a_job_whose_topic_is_gone_leaves_nothing() {
        let mut book = Book::default();
        ask(&mut book, "orders", "1");
        let job = begin(&mut book, "orders", "1");
        assert!(book.settle("default", &job, None), "another Topic in its place is looked at again");
        assert!(book.entries.is_empty());
        ask(&mut book, "orders", "1");
        begin(&mut book, "orders", "1");
    }

    #[test]
    fn while_the_registry_does_not_answer_what_waits_for_it_is_overtaken_too() {
        let mut book = Book::default();
        ask(&mut book, "orders", "1");
        ask(&mut book, "customers", "1");
        let job = begin(&mut book, "orders", "1");
        let silence = Err(Refusal::NoAnswer("did not answer".to_owned()));
        assert!(book.settle("default", &job, Some(End { result: silence, state: None })));
        let answer = ask_about(&mut book, "customers", "shop.customers-value", "2");
        assert!(matches!(answer, Answer::Known(SchemaOutcome::Failed { reason: Reason::RegistryUnreachable, .. })));
        assert!(book.begin().is_none());
    }
}
