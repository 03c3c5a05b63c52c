//! What becomes of the subjects of one registry: each schema that a pass asks about is compared and registered, and every subject
//! is looked at again once in an interval, to find what other tools changed.
//!
//! While the registry does not answer, one request every 5 s finds out whether it does again, and all schemas that are asked
//! about are told so at once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use sluice_crds::{NamespacedName, RegisteredSchema, SchemaReference};
use sluice_model::topic::{SchemaChange, SchemaOutcome, SchemaVersion, SubjectState, WantedSchema, plan_schema};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info};

use super::{
    api::{Api, Refusal},
    book::{Answer, Book, End, Entry, Job, Look},
};
use crate::{context::Context, watch::Seen};

/// How often a registry that does not answer is asked again, and its files are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long a pass waits for an outcome; most registries answer sooner.
const PATIENCE: Duration = Duration::from_millis(500);
/// Schemas that are registered at the same time.
const AT_ONCE: usize = 8;
/// Subjects that are looked at at the same time.
const LOOKS_AT_ONCE: usize = 4;

/// One registry, and what is known of its subjects. It is filled again after a restart.
pub struct Registrar {
    api: Api,
    drift_interval: Duration,
    book: Mutex<Book>,
    /// There may be a new job.
    asked: Notify,
}

/// Why a job comes to no outcome.
enum Stop {
    /// Nobody wants it any more.
    Overtaken,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Registrar {
    pub fn new(api: Api, drift_interval: Duration) -> Self {
        Self { api, drift_interval, book: Mutex::default(), asked: Notify::new() }
    }

    /// What became of a Topic's schema. Where that takes longer than a moment, the Topic is woken when it is known.
    pub async fn outcome(&self, topic: &NamespacedName, wanted: WantedSchema) -> SchemaOutcome {
        let answer = self.book().ask(self.api.name(), topic, wanted);
        let receiver = match answer {
            Answer::Known(outcome) => return outcome,
            Answer::Asked(receiver) => receiver,
        };
        self.asked.notify_one();
        // Too late or not: the newest outcome is in the book.
        let _ = timeout(PATIENCE, receiver).await;
        let known = self.book().entries.get(topic).and_then(|entry| entry.outcome.clone());
        known.unwrap_or(SchemaOutcome::Asked)
    }

    /// The Topic has no subject here.
    pub fn forget(&self, topic: &NamespacedName) {
        self.book().forget(topic);
    }

    /// Works for ever.
    pub async fn run(&self, context: &Context) {
        let work = async {
            let mut under_way = FuturesUnordered::new();
            loop {
                while under_way.len() < AT_ONCE {
                    let Some(job) = self.begin() else { break };
                    under_way.push(self.work(context, job));
                }
                tokio::select! {
                    () = self.asked.notified() => {}
                    Some(()) = under_way.next(), if !under_way.is_empty() => {}
                }
            }
        };
        futures::future::join(work, self.follow(context)).await;
    }

    fn begin(&self) -> Option<Arc<Job>> {
        self.book().begin()
    }

    async fn work(&self, context: &Context, job: Arc<Job>) {
        let silence = self.book().silence.clone();
        let end = match silence {
            Some(silence) => Some(End { result: Err(Refusal::NoAnswer(silence)), state: None }),
            None => self.register(context, &job).await,
        };
        let is_registered =
            matches!(&end, Some(End { result: Ok(SchemaOutcome::Compared { registered: Some(_), .. }), .. }));
        if self.book().settle(self.api.name(), &job, end) {
            context.topics.queue.wake(&job.topic);
        }
        if is_registered {
            self.wake(context, |entry| entry.waits_for(&job.wanted.subject));
        }
    }

    /// What a job comes to; `None` where it was overtaken before it was done.
    async fn register(&self, context: &Context, job: &Job) -> Option<End> {
        let mut state = None;
        let result = match self.carry_out(context, job, &mut state).await {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Overtaken) => return None,
        };
        Some(End { result, state })
    }

    /// Compares, makes the changes and compares again.
    async fn carry_out(
        &self,
        context: &Context,
        job: &Job,
        seen: &mut Option<SubjectState>,
    ) -> Result<SchemaOutcome, Stop> {
        let (api, wanted) = (&self.api, &job.wanted);
        for (index, reference) in wanted.references.iter().enumerate() {
            self.goes_on(context, job)?;
            if !api.has(reference).await? {
                return Err(missing(index, reference).into());
            }
        }
        self.goes_on(context, job)?;
        let (mut state, mut ours) = observe(api, wanted, seen).await?;
        let mut plan = plan_schema(wanted, &state, ours);
        if !plan.changes.is_empty() {
            for change in &plan.changes {
                self.goes_on(context, job)?;
                apply(api, wanted, *change).await?;
            }
            (state, ours) = observe(api, wanted, seen).await?;
            plan = plan_schema(wanted, &state, ours);
        }
        if !plan.changes.is_empty() {
            let message = format!("took the schema of {:?} and does not show it", wanted.subject);
            return Err(Refusal::Other(message).into());
        }
        let registered =
            ours.map(|SchemaVersion { id, version }| RegisteredSchema { subject: wanted.subject.clone(), id, version });
        Ok(SchemaOutcome::Compared { registered, plan })
    }

    /// A job goes on while nothing overtook it, and its Topic exists and is not being deleted.
    fn goes_on(&self, context: &Context, job: &Job) -> Result<(), Stop> {
        let topic = context.topics.get(&job.topic);
        let is_there = matches!(topic, Some(Seen::Resource(topic)) if topic.metadata.deletion_timestamp.is_none());
        if is_there && self.book().wants(job) { Ok(()) } else { Err(Stop::Overtaken) }
    }

    async fn follow(&self, context: &Context) {
        let mut ticks = interval(TICK.min(self.drift_interval));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_look = Instant::now();
        loop {
            ticks.tick().await;
            if self.api.renew() {
                info!(registry = self.api.name(), "Credentials of the schema registry changed");
                self.wake(context, |entry| matches!(entry.outcome, Some(SchemaOutcome::Failed { .. })));
            }
            self.listen(context).await;
            if last_look.elapsed() >= self.drift_interval {
                last_look = Instant::now();
                self.look(context).await;
            }
        }
    }

    /// Asks a registry that did not answer whether it does again.
    async fn listen(&self, context: &Context) {
        let subject = {
            let book = self.book();
            let any = book.entries.values().next().map(|entry| entry.subject.clone());
            book.silence.as_ref().map(|_| any.unwrap_or_else(|| "any".to_owned()))
        };
        let Some(subject) = subject else { return };
        if let Err(Refusal::NoAnswer(why)) = self.api.newest(&subject).await {
            self.book().silence = Some(why);
            return;
        }
        info!(registry = self.api.name(), "The schema registry answers again");
        self.book().silence = None;
        self.wake(context, |entry| entry.is_stale || matches!(entry.outcome, Some(SchemaOutcome::Failed { .. })));
    }

    /// Looks at every subject, and wakes the Topics of those that differ from what was seen.
    async fn look(&self, context: &Context) {
        let subjects = {
            let mut book = self.book();
            book.keep(|topic| context.topics.get(topic).is_some());
            if book.silence.is_some() {
                return;
            }
            let settled = book.entries.iter().filter(|(_, entry)| entry.job.is_none());
            let subject = |(topic, entry): (&NamespacedName, &Entry)| (topic.clone(), entry.look());
            settled.map(subject).collect::<Vec<_>>()
        };
        let looks: Vec<_> = subjects.into_iter().map(|(topic, look)| self.looked(topic, look)).collect();
        let mut looks = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
        while let Some((topic, differs)) = looks.next().await {
            match differs {
                Ok(false) => {}
                Ok(true) => {
                    if let Some(entry) = self.book().entries.get_mut(&topic) {
                        entry.is_stale = true;
                    }
                    context.topics.queue.wake(&topic);
                }
                Err(why) => {
                    debug!(registry = self.api.name(), why, "No look at the subjects this time");
                    self.book().silence = Some(why);
                    return;
                }
            }
        }
    }

    async fn looked(&self, topic: NamespacedName, look: Look) -> (NamespacedName, Result<bool, String>) {
        let differs = self.differs(look).await;
        (topic, differs)
    }

    /// Whether a subject may have another outcome by now. Error: the registry does not answer.
    async fn differs(&self, look: Look) -> Result<bool, String> {
        // What was refused before the subject was seen is tried again.
        let Some(seen) = look.state else { return Ok(true) };
        match subject_state(&self.api, &look.subject, look.has_compatibility).await {
            Ok(now) => Ok(now != seen),
            Err(Refusal::NoAnswer(why)) => Err(why),
            Err(_) => Ok(true),
        }
    }

    /// Makes the outcomes of these stale, so that their Topics ask again.
    fn wake(&self, context: &Context, concerns: impl Fn(&Entry) -> bool) {
        let mut book = self.book();
        for (topic, entry) in book.entries.iter_mut().filter(|(_, entry)| concerns(entry)) {
            entry.is_stale = true;
            context.topics.queue.wake(topic);
        }
    }

    /// What the lock guards is whole after each statement, so a panic elsewhere does not spoil it.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It may come: another Topic may have it.
fn missing(index: usize, SchemaReference { subject, version, .. }: &SchemaReference) -> Refusal {
    Refusal::Missing(format!(
        "has no version {version} of {subject:?}, to which spec.schema.references[{index}] refers; register it first"
    ))
}

async fn observe(
    api: &Api,
    wanted: &WantedSchema,
    seen: &mut Option<SubjectState>,
) -> Result<(SubjectState, Option<SchemaVersion>), Refusal> {
    let state = subject_state(api, &wanted.subject, wanted.compatibility.is_some()).await?;
    *seen = Some(state.clone());
    let ours = match state.newest {
        Some(_) => api.find(wanted).await?,
        None => None,
    };
    Ok((state, ours))
}

async fn subject_state(api: &Api, subject: &str, has_compatibility: bool) -> Result<SubjectState, Refusal> {
    let compatibility = if has_compatibility { api.compatibility(subject).await? } else { None };
    Ok(SubjectState { compatibility, newest: api.newest(subject).await? })
}

async fn apply(api: &Api, wanted: &WantedSchema, change: SchemaChange) -> Result<(), Refusal> {
    let (registry, subject) = (api.name(), wanted.subject.as_str());
    match change {
        SchemaChange::SetCompatibility(level) => {
            api.set_compatibility(subject, level).await?;
            info!(registry, subject, level = level.wire(), "Compatibility set");
        }
        SchemaChange::Register => {
            api.register(wanted).await?;
            info!(registry, subject, "Schema registered");
        }
    }
    Ok(())
}
