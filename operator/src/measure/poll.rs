//! Follows one Kafka cluster: one look at all topics that Integrations read or keep dead letters in, and offsets of some groups.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Measuring, NamespacedName};
use sluice_kafka::{Admin, CommittedOffset, PerPartition};
use sluice_model::integration::{Age, Backlog, Earlier, PartitionOffsets, Subject, Why, age_said};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{
    silence::{SILENCE, Silence},
    topics::{Topics, why},
    turns::{Group, Pace, State, turns},
};
use crate::{context::Context, error::Error, watch::Seen};

/// What a status says of ages is believed when the replica before this one was at work so long ago.
const HANDOVER: Duration = Duration::from_mins(5);

/// Follows all clusters for ever. No cluster waits for another.
pub async fn follow_clusters(context: Arc<Context>) {
    let context = context.as_ref();
    join_all(context.clusters.names().map(|cluster| Poller::new(cluster, context.settings.measuring).run(context)))
        .await;
}

/// What is known of one cluster.
struct Poller<'a> {
    cluster: &'a str,
    measuring: Measuring,
    /// When it last answered.
    answered: Instant,
    topics: Topics,
    groups: HashMap<NamespacedName, Asked>,
}

/// What is known of a group.
struct Asked {
    subject: Subject,
    at: Option<Instant>,
    /// Whether its answer is awaited.
    awaited: bool,
    /// The ends together, when it was asked or, once it has answered, then.
    ends: i64,
    backlog: Option<Backlog>,
    /// How far it had read then, all partitions together; `None` before it has committed an offset.
    position: Option<i64>,
    /// Whether that was somewhere else than when it was asked before.
    reads: bool,
    /// Whether its workers have got on since it was asked.
    works: bool,
    /// How long the oldest record had waited before this replica first asked.
    said: Option<Age>,
    /// The same of each partition, by its name, once the group's offsets were known. Of which partition it was said is not known, and taken for
    /// true of each: it concerns only records that were there then.
    earlier: HashMap<String, Earlier>,
    /// Of the backlog.
    silence: Silence,
    /// Of the topic with the dead letters.
    silence_of_dead_letters: Silence,
}

/// Whose groups are asked in a look, and why others' would be asked in vain.
#[derive(Default)]
struct Chosen {
    asked: Vec<NamespacedName>,
    untold: Vec<(NamespacedName, Why)>,
}

/// What Kafka tells of a group.
struct Answer {
    name: NamespacedName,
    /// What was asked about.
    subject: Subject,
    committed: Result<PerPartition<CommittedOffset>, sluice_kafka::Error>,
}

/// Answers that are awaited. A group whose broker is slow holds up no look, and no other group.
type Questions = FuturesUnordered<BoxFuture<'static, Answer>>;

impl<'a> Poller<'a> {
    fn new(cluster: &'a str, measuring: Measuring) -> Self {
        Self { cluster, measuring, answered: Instant::now(), topics: Topics::default(), groups: HashMap::new() }
    }

    async fn run(mut self, context: &Context) {
        let mut ticks = interval(self.measuring.interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut questions = Questions::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(context, &mut questions).await,
                Some(answer) = questions.next() => self.take_answer(context, answer),
            }
        }
    }

    async fn tick(&mut self, context: &Context, questions: &mut Questions) {
        let subjects = context.measurements.subjects(self.cluster, |name| context.integrations.get(name).is_some());
        if subjects.is_empty() {
            // Who is not asked is not silent.
            self.answered = Instant::now();
            return;
        }
        match self.look(context, subjects, questions).await {
            Ok(()) => self.answered = Instant::now(),
            Err(error) => {
                // Its Topics say so already.
                debug!(cluster = self.cluster, %error, "No measurement this time");
                if self.answered.elapsed() >= SILENCE {
                    context.measurements.lose(self.cluster, &Why::from(&error));
                    self.groups.clear();
                }
            }
        }
    }

    async fn look(
        &mut self,
        context: &Context,
        subjects: BTreeMap<NamespacedName, Subject>,
        questions: &mut Questions,
    ) -> Result<(), Error> {
        let cluster = self.cluster;
        let unreachable = |source| Error::Kafka { cluster: cluster.to_owned(), source };
        let kafka = context.clusters.client(cluster)?;
        self.take(context, subjects);
        let topics: BTreeSet<&str> =
            self.groups.values().flat_map(|asked| asked.subject.all_topics()).map(String::as_str).collect();
        self.topics.look(&kafka, &topics).await.map_err(unreachable)?;
        self.ask_groups(&kafka, context, questions);
        self.look_at_dead_letters(context);
        self.look_at_workers(context);
        Ok(())
    }

    /// Forgets what is gone or reads something else now.
    fn take(&mut self, context: &Context, subjects: BTreeMap<NamespacedName, Subject>) {
        self.groups.retain(|name, _| subjects.contains_key(name));
        for (name, subject) in subjects {
            let said = match self.groups.get(&name) {
                Some(known) if known.subject == subject => continue,
                // What the status says is about what it read before.
                Some(_) => None,
                None => said_before(context, &name),
            };
            self.groups.insert(name, Asked::new(subject, said));
        }
    }

    fn ask_groups(&mut self, kafka: &Admin, context: &Context, questions: &Questions) {
        for name in context.measurements.got_on(self.cluster) {
            if let Some(asked) = self.groups.get_mut(&name) {
                asked.works = true;
            }
        }
        let pace = Pace::new(self.measuring);
        let topics = &self.topics;
        let Chosen { asked, untold } =
            choose(&mut self.groups, pace, |subject| topics.ends(&subject.topics), Instant::now());
        for name in asked {
            let subject = self.groups[&name].subject.clone();
            questions.push(ask(kafka.clone(), name, subject).boxed());
        }
        for (name, why) in untold {
            self.miss(context, &name, why);
        }
    }

    fn take_answer(&mut self, context: &Context, Answer { name, subject, committed }: Answer) {
        // Who is gone or reads something else by now was not meant.
        let Some(asked) = self.groups.get_mut(&name).filter(|asked| asked.subject == subject) else { return };
        asked.answer(self.topics.ends(&subject.topics).ok());
        let measured = match committed {
            Ok(committed) => asked.measure(&self.topics, &committed, Timestamp::now()),
            Err(error) => Err(refused(self.cluster, &subject.group, error)),
        };
        match measured {
            Ok(backlog) => {
                if asked.silence.ends() {
                    info!(integration = %name, group = subject.group, "The lag is known again");
                }
                context.measurements.take_backlog(&name, backlog.clone());
                if asked.backlog.as_ref().is_none_or(|before| before.lag != backlog.lag) {
                    context.work.hurry(&name);
                }
                asked.learn(backlog);
                self.look_at_workers_of(context, &name, &subject);
            }
            Err(why) => self.miss(context, &name, why),
        }
    }

    /// A backlog cannot be measured. What is known of it counts for a while.
    fn miss(&mut self, context: &Context, name: &NamespacedName, why: Why) {
        let Some(asked) = self.groups.get_mut(name) else { return };
        if !asked.silence.lasts(Instant::now()) {
            return;
        }
        if asked.silence.is_news(why.reason) {
            warn!(integration = %name, group = asked.subject.group, "The lag is not known any more: {}", why.message);
        }
        asked.backlog = None;
        context.measurements.lose_backlog(name, why);
    }

    fn look_at_dead_letters(&mut self, context: &Context) {
        let now = Instant::now();
        for (name, asked) in &mut self.groups {
            let (topic, silence) = (&asked.subject.dead_letters, &mut asked.silence_of_dead_letters);
            if context.relations.shares_dead_letters(name) {
                silence.ends();
                context.measurements.share_dead_letters(name);
                continue;
            }
            match self.topics.records_in(topic) {
                Ok(held) => {
                    silence.ends();
                    context.measurements.take_dead_letters(name, held);
                }
                Err(why) if silence.lasts(now) => {
                    if silence.is_news(why.reason) {
                        warn!(integration = %name, topic, "Dead letters are not counted any more: {}", why.message);
                    }
                    context.measurements.lose_dead_letters(name, why);
                }
                Err(_) => {}
            }
        }
    }

    /// Where the lag needs another number of workers, a pass has to see to it.
    fn look_at_workers(&self, context: &Context) {
        for (name, asked) in &self.groups {
            self.look_at_workers_of(context, name, &asked.subject);
        }
    }

    fn look_at_workers_of(&self, context: &Context, name: &NamespacedName, subject: &Subject) {
        let Some(partitions) = self.topics.partitions(&subject.topics) else { return };
        if context.measurements.needs_others(name, partitions, Timestamp::now()) {
            context.integrations.queue.wake(name);
        }
    }
}

async fn ask(kafka: Admin, name: NamespacedName, subject: Subject) -> Answer {
    let committed = kafka.group_offsets(&subject.group).await;
    Answer { name, subject, committed }
}

/// How long the oldest record had waited, as the replica before this one wrote until a short time ago: an alert does not begin anew with
/// every handover.
fn said_before(context: &Context, name: &NamespacedName) -> Option<Age> {
    let worked = context.leadership.predecessor_worked()?;
    let since = Duration::try_from(Timestamp::now().duration_since(worked)).unwrap_or_default();
    let Some(Seen::Resource(integration)) = context.integrations.get(name) else { return None };
    integration.status.as_ref().filter(|_| since <= HANDOVER).and_then(age_said)
}

/// Chooses the groups that are asked in this look, of those whose topics tell where they end and of whom no answer is awaited. Whoever is
/// chosen has had his turn, whatever comes of it: those who never get an answer would have all others wait.
fn choose(
    groups: &mut HashMap<NamespacedName, Asked>,
    pace: Pace,
    ends: impl Fn(&Subject) -> Result<i64, Why>,
    now: Instant,
) -> Chosen {
    let mut chosen = Chosen::default();
    let mut known = Vec::with_capacity(groups.len());
    for (name, asked) in groups {
        match ends(&asked.subject) {
            Ok(ends) if !asked.awaited => known.push((name, asked, ends)),
            Ok(_) => {}
            Err(why) => chosen.untold.push((name.clone(), why)),
        }
    }
    let states: Vec<Group> = known.iter().map(|(_, asked, ends)| asked.group(*ends)).collect();
    for index in turns(&states, pace) {
        let (name, asked, ends) = &mut known[index];
        asked.ask(now, *ends);
        chosen.asked.push((*name).clone());
    }
    chosen
}

impl Asked {
    fn new(subject: Subject, said: Option<Age>) -> Self {
        Self {
            subject,
            at: None,
            awaited: false,
            ends: 0,
            backlog: None,
            position: None,
            reads: false,
            works: false,
            said,
            earlier: HashMap::new(),
            silence: Silence::default(),
            silence_of_dead_letters: Silence::default(),
        }
    }

    /// With where its topics end now.
    fn group(&self, ends: i64) -> Group {
        let state = match &self.backlog {
            Some(_) if ends != self.ends || self.works || self.silence.is_on() => State::Moves,
            Some(Backlog { lag: Some(0), .. }) => State::Rests,
            Some(_) if self.reads => State::Moves,
            // Where nobody answers, records that come make no difference.
            Some(_) | None => State::Waits,
        };
        Group { asked: self.at, state }
    }

    /// It has its turn, while its topics end there.
    fn ask(&mut self, now: Instant, ends: i64) {
        (self.at, self.awaited, self.ends, self.works) = (Some(now), true, ends, false);
    }

    /// It has answered, or will not; its topics end there by now, as far as is known.
    fn answer(&mut self, ends: Option<i64>) {
        (self.awaited, self.ends) = (false, ends.unwrap_or(self.ends));
    }

    /// Takes what was measured when it was asked.
    fn learn(&mut self, backlog: Backlog) {
        let position = backlog.lag.map(|lag| self.ends - i64::try_from(lag).unwrap_or_default());
        self.reads = self.backlog.is_some() && position != self.position;
        (self.position, self.backlog) = (position, Some(backlog));
    }

    fn measure(
        &mut self,
        topics: &Topics,
        committed: &PerPartition<CommittedOffset>,
        now: Timestamp,
    ) -> Result<Backlog, Why> {
        let Self { subject, backlog, said, earlier, .. } = self;
        let first = |offset| said.map(|age| Earlier { offset, age, at: now });
        let known = |name: &str, offset| earlier.get(name).copied().or_else(|| first(offset));
        let source = topics.source(&subject.topics, committed, known, now)?;
        let measured = Backlog::of(&source, backlog.as_ref(), now);
        let note =
            |partition: &PartitionOffsets| first(partition.position()).map(|known| (partition.name.clone(), known));
        let noted: Vec<_> = source.iter().filter_map(note).collect();
        earlier.extend(noted);
        *said = None;
        if measured.lag == Some(0) {
            earlier.clear();
        }
        Ok(measured)
    }
}

/// Why a group's offsets are not known.
fn refused(cluster: &str, group: &str, error: sluice_kafka::Error) -> Why {
    let error = match error {
        sluice_kafka::Error::Refused { error, .. } => {
            Error::Refused { doing: format!("tell the offsets of consumer group {group:?}"), source: error }
        }
        source => Error::Kafka { cluster: cluster.to_owned(), source },
    };
    why(&error)
}

#[cfg(test)]
mod tests {
    use sluice_crds::Reason;

    use super::*;

    fn groups(names: std::ops::Range<usize>) -> HashMap<NamespacedName, Asked> {
        let asked = |number| {
            let name = NamespacedName { namespace: "shop".into(), name: format!("i-{number}") };
            let subject = Subject {
                cluster: "default".into(),
                group: format!("shop.i-{number}"),
                topics: vec![format!("shop.{number}")],
                dead_letters: "shop.dead".into(),
            };
            (name, Asked::new(subject, None))
        };
        names.map(asked).collect()
    }

    #[test]
    fn groups_that_never_get_an_answer_have_nobody_else_wait() {
        let mut groups = groups(0..1_000);
        let pace = Pace::new(Measuring::default());
        let mut asked = BTreeSet::new();
        // None of them is answered, so that each waits as if it had never been asked.
        for look in 0..5 {
            let now = Instant::now() + Duration::from_secs(look);
            let chosen = choose(&mut groups, pace, |_| Ok(0), now);
            assert_eq!(chosen.asked.len(), 200);
            asked.extend(chosen.asked);
        }
        assert_eq!(asked.len(), 1_000);
    }

    #[test]
    fn groups_whose_topics_tell_nothing_are_not_asked() {
        let mut groups = groups(0..300);
        let gone = Why { reason: Reason::NotFound, message: "gone".into() };
        let ends = |subject: &Subject| if subject.group == "shop.i-7" { Ok(0) } else { Err(gone.clone()) };
        let chosen = choose(&mut groups, Pace::new(Measuring::default()), ends, Instant::now());
        let names: Vec<&str> = chosen.asked.iter().map(|name| name.name.as_str()).collect();
        assert_eq!((names, chosen.untold.len()), (vec!["i-7"], 299));
    }

    #[test]
    fn groups_whose_records_only_wait_hold_up_none_that_gets_more() {
        let mut groups = groups(0..1_000);
        let (pace, begin) = (Pace::new(Measuring::default()), Instant::now());
        for asked in groups.values_mut() {
            let partition = PartitionOffsets::new(String::new(), (0, 9), Some(2));
            asked.ask(begin, 9);
            asked.answer(None);
            asked.learn(Backlog::of(&[partition], None, Timestamp::now()));
        }
        for look in 1..20_u32 {
            let ends = |subject: &Subject| Ok(if subject.group == "shop.i-7" { 9 + i64::from(look) } else { 9 });
            let chosen = choose(&mut groups, pace, ends, begin + Duration::from_secs(5) * look);
            assert!(chosen.asked.iter().any(|name| name.name == "i-7"), "in look {look}");
            assert_eq!(chosen.asked.len(), 200, "there is place for those that wait");
            for name in chosen.asked {
                groups.get_mut(&name).unwrap().answer(None);
            }
        }
    }

    #[test]
    fn groups_whose_answers_take_long_are_not_asked_again_and_hold_up_no_others() {
        let mut groups = groups(0..300);
        let (pace, begin) = (Pace::new(Measuring::default()), Instant::now());
        let is_slow = |name: &NamespacedName| name.name.ends_with('0');
        let mut times_asked = BTreeMap::new();
        for look in 0..10_u32 {
            let chosen = choose(&mut groups, pace, |_| Ok(i64::from(look)), begin + Duration::from_secs(5) * look);
            for name in chosen.asked {
                *times_asked.entry(is_slow(&name)).or_insert(0) += 1;
                if !is_slow(&name) {
                    groups.get_mut(&name).unwrap().answer(None);
                }
            }
        }
        // 200 places in each look: the slow ones take one each, once, and all others have the rest.
        assert_eq!(times_asked, [(false, 2_000 - 30), (true, 30)].into());
    }

    #[test]
    fn a_late_answer_counts_for_where_topics_end_by_then() {
        let mut asked = groups(0..1).into_values().next().unwrap();
        let now = Instant::now();
        asked.ask(now, 9);
        asked.answer(Some(12));
        asked.learn(Backlog::of(&[PartitionOffsets::new(String::new(), (0, 12), Some(12))], None, Timestamp::now()));
        assert_eq!((asked.group(12).state, asked.position), (State::Rests, Some(12)));
        asked.ask(now, 12);
        asked.answer(None);
        assert_eq!(asked.group(12).state, State::Rests, "what is not known stays");
    }

    #[test]
    fn a_group_moves_where_records_come_or_it_reads_on_and_not_where_they_only_wait() {
        let begin = Instant::now();
        let mut asked = groups(0..1).into_values().next().unwrap();
        let state = |asked: &Asked, ends| asked.group(ends).state;
        let ask = |asked: &mut Asked, end: i64, committed: Option<i64>| {
            let partition = PartitionOffsets::new("shop.0-0".into(), (0, end), committed);
            asked.ask(begin, end);
            asked.learn(Backlog::of(&[partition], None, Timestamp::now()));
            asked.group(end).state
        };
        assert_eq!(state(&asked, 0), State::Waits, "nothing is known");
        assert_eq!(ask(&mut asked, 9, None), State::Waits);
        assert_eq!(ask(&mut asked, 9, Some(2)), State::Moves, "it has committed for the first time");
        assert_eq!(ask(&mut asked, 9, Some(2)), State::Waits);
        assert_eq!(state(&asked, 10), State::Moves, "a record came");
        assert_eq!(ask(&mut asked, 10, Some(2)), State::Waits, "nobody reads it");
        assert_eq!(ask(&mut asked, 10, Some(4)), State::Moves);
        assert_eq!(ask(&mut asked, 10, Some(3)), State::Moves, "it was set back");
        assert_eq!(ask(&mut asked, 10, Some(10)), State::Rests);
        assert_eq!(state(&asked, 11), State::Moves);
        asked.works = true;
        assert_eq!(state(&asked, 10), State::Moves, "its workers tell of records");
        assert_eq!(ask(&mut asked, 10, Some(10)), State::Rests);
        asked.silence.lasts(begin);
        assert_eq!(state(&asked, 10), State::Moves, "it may only have lost its way");
        asked.backlog = None;
        assert_eq!(state(&asked, 11), State::Waits, "it is asked in vain");
    }
}
