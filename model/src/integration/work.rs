//! What workers say about themselves, put together: rates, times, and how it stands with the sink.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use sluice_crds::{
    ConditionType, IntegrationStatus, Reason,
    wire::{Circuit, HaltedPartition, WorkerStatus},
};

use crate::{
    Conditions,
    number::{coarse, minute, parsed, per_second, percent, rounded},
    tally::{self, Answer, Tally, add, add_each},
};

/// What all workers of an Integration have done.
#[derive(Clone, Debug)]
pub struct Work {
    tally: Tally<Counts>,
    /// In seconds since 1970.
    last_delivery: Option<i64>,
    found: Found,
    /// Whether a worker was silent when they were asked last.
    silent: bool,
}

/// What a status says about the workers' work. Where there are no workers, it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether rates and times are yet to be told, which takes two looks: a status keeps what it says of them until then.
    pub rates_follow: bool,
    /// Records that the sink took, per second.
    pub rate: Option<String>,
    /// Records that became dead letters, per second.
    pub dead_letter_rate: Option<String>,
    /// The share of attempts that failed.
    pub error_rate: Option<String>,
    /// Time of an attempt.
    pub p95: Option<String>,
    /// Attempts under way.
    pub in_flight: Option<String>,
    /// The circuit of the worker where it is furthest from closed.
    pub circuit: Option<String>,
    /// Records that Kafka deleted before they were read; `None` where none is known of.
    pub gone: Option<String>,
    /// Records that became dead letters, ever.
    pub dead_letters: u64,
    /// The minute of the last delivery.
    pub last_delivery: Option<Timestamp>,
    /// What keeps workers from working.
    pub trouble: Option<String>,
    /// Whether every Secret is there that they need.
    pub secrets: Option<Health>,
    /// How it stands with the sink.
    pub sink: Option<Health>,
}

/// How it stands with something that workers tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `None`: nobody can tell.
    healthy: Option<bool>,
    reason: Reason,
    message: String,
}

/// What the workers said when they were asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    workers: usize,
    answered: usize,
    in_flight: u64,
    circuit: Circuit,
    /// What keeps each of them from delivering.
    sink_troubles: BTreeSet<String>,
    /// Why Secrets cannot be used, and what else Kafka needs.
    secrets_troubles: BTreeSet<String>,
    /// What attempts fail with, where so many failed in a row that it is no accident.
    sink_failure: Option<String>,
    /// The partitions that stopped at a record, in words and in order.
    halts: Vec<String>,
    troubles: BTreeSet<String>,
}

/// Numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    delivered: u64,
    dead_lettered: u64,
    failed: u64,
    gone: u64,
    attempts: Vec<u64>,
}

/// What is not known because a worker does not answer.
const UNKNOWN: &str = "unknown";
/// Failures in a row that are no accident: as many as open a circuit where nothing else is said.
const IN_A_ROW: u64 = 10;
/// Halted partitions that a message names.
const NAMED: usize = 3;

impl Work {
    /// Begins with what a status says, where it says something: that was counted before. What stands there of dead letters may be
    /// the broker's count; then it is not this one that is shown.
    pub fn resume(status: &IntegrationStatus, now: Timestamp) -> Self {
        let [gone, dead_lettered] =
            [&status.gone, &status.dead_letters].map(|text| text.as_deref().and_then(parsed).unwrap_or_default());
        let is_counted = status.rate.is_some() || gone > 0 || dead_lettered > 0;
        let counted = is_counted.then(|| Counts { dead_lettered, gone, ..Counts::default() });
        Self {
            tally: Tally::resume(counted, now),
            last_delivery: status.last_delivery_time.as_ref().map(|time| time.0.as_second()),
            found: Found::default(),
            silent: false,
        }
    }

    /// Takes what the workers answered; `None` for each that did not. One question may get lost where a machine is busy: what was known
    /// counts until the next one, which should come soon.
    pub fn take(&mut self, answers: &[Option<WorkerStatus>], now: Timestamp) {
        let is_silent = answers.iter().any(Option::is_none);
        let was_silent = std::mem::replace(&mut self.silent, is_silent);
        if is_silent && !was_silent && self.found.is_complete() && self.found.workers == answers.len() {
            return;
        }
        self.tally.take(answers, now);
        let deliveries = answers.iter().flatten().map(|status| status.last_delivery);
        self.last_delivery = deliveries.fold(self.last_delivery, Option::max);
        self.found = Found::of(answers);
    }

    /// Whether a worker was silent when they were asked last.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether one was, and what was known before counts all the same, until they are asked again.
    pub fn is_in_doubt(&self) -> bool {
        self.silent && self.found.is_complete()
    }

    /// What a status should say.
    pub fn shown(&self) -> Shown {
        let Self { tally, last_delivery, found, .. } = self;
        let lasting = Shown {
            gone: self.gone(),
            dead_letters: tally.totals().dead_lettered,
            last_delivery: last_delivery.and_then(minute),
            ..Shown::default()
        };
        if found.workers == 0 {
            return lasting;
        }
        let span = tally.span();
        let known = |text: Option<String>| if found.is_complete() { text } else { Some(UNKNOWN.to_owned()) };
        let rate = |count: fn(&Counts) -> u64| known(span.as_ref().map(|span| per_second(span.rate(count))));
        let attempts = |counts: &Counts| counts.attempts.iter().sum();
        let circuit = Some(format!("{:?}", found.circuit));
        Shown {
            rates_follow: found.is_complete() && span.is_none(),
            rate: rate(|counts| counts.delivered),
            dead_letter_rate: rate(|counts| counts.dead_lettered),
            error_rate: known(
                span.as_ref().and_then(|span| percent(span.grown(|counts| counts.failed), span.grown(attempts))),
            ),
            p95: known(span.as_ref().and_then(|span| span.p95(|counts| &counts.attempts))),
            in_flight: known(Some(coarse(found.in_flight))),
            // That one is open is known, whatever the others would say.
            circuit: if found.circuit == Circuit::Closed { known(circuit) } else { circuit },
            trouble: (!found.troubles.is_empty()).then(|| joined(&found.troubles)),
            secrets: Some(found.secrets()),
            sink: Some(found.sink()),
            ..lasting
        }
    }

    fn gone(&self) -> Option<String> {
        Some(self.tally.totals().gone).filter(|gone| *gone > 0).map(rounded)
    }
}

impl Found {
    fn of(answers: &[Option<WorkerStatus>]) -> Self {
        let answered = || answers.iter().flatten();
        let failures = answered().filter_map(|status| status.sink_failure.as_ref());
        let lasting = failures.filter(|failure| failure.attempts >= IN_A_ROW);
        Self {
            workers: answers.len(),
            answered: answered().count(),
            in_flight: answered().map(|status| status.in_flight).sum(),
            circuit: answered().map(|status| status.circuit).max().unwrap_or_default(),
            sink_troubles: answered().filter_map(|status| status.sink_trouble.clone()).collect(),
            secrets_troubles: answered().filter_map(|status| status.secrets_trouble.clone()).collect(),
            sink_failure: lasting.max_by_key(|failure| failure.attempts).map(|failure| failure.message.clone()),
            halts: halts(answered().flat_map(|status| &status.halted).collect()),
            troubles: answered().filter_map(|status| status.trouble.clone()).collect(),
        }
    }

    fn is_complete(&self) -> bool {
        self.answered == self.workers
    }

    fn secrets(&self) -> Health {
        if !self.secrets_troubles.is_empty() {
            let message = joined(&self.secrets_troubles);
            return Health { healthy: Some(false), reason: Reason::SecretUnusable, message };
        }
        self.well("every Secret is there that is needed")
    }

    /// Nobody complains, which is good as far as everybody answers.
    fn well(&self, message: &str) -> Health {
        if !self.is_complete() {
            let message = format!("{} of {} workers say how it is", self.answered, self.workers);
            return Health { healthy: None, reason: Reason::Unavailable, message };
        }
        Health { healthy: Some(true), reason: Reason::Satisfied, message: message.to_owned() }
    }

    /// A stop comes first: it stays until a person acts.
    fn sink(&self) -> Health {
        let sick = |reason, message| Health { healthy: Some(false), reason, message };
        if !self.halts.is_empty() {
            let more = self.halts.len().saturating_sub(NAMED);
            let named = self.halts[..self.halts.len() - more].join("; ");
            let message = if more > 0 { format!("{named}; and {more} more") } else { named };
            return sick(Reason::Halted, format!("stopped until the Integration changes: {message}"));
        }
        if self.circuit != Circuit::Closed {
            let troubles = joined(&self.sink_troubles);
            let message = if troubles.is_empty() { "the sink is left alone and records wait" } else { &troubles };
            return sick(Reason::CircuitOpen, message.to_owned());
        }
        if !self.sink_troubles.is_empty() {
            return sick(Reason::SecretUnusable, joined(&self.sink_troubles));
        }
        if let Some(failure) = &self.sink_failure {
            return sick(Reason::SinkFailing, format!("one attempt after the other fails: {failure}"));
        }
        self.well("")
    }
}

fn halts(mut halted: Vec<&HaltedPartition>) -> Vec<String> {
    halted.sort_by_key(|halted| (&halted.topic, halted.partition));
    let words = |HaltedPartition { topic, partition, offset, reason }: &HaltedPartition| {
        format!("{topic}[{partition}]@{offset}: {reason}")
    };
    halted.into_iter().map(words).collect()
}

fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
}

impl tally::Counts for Counts {
    fn add(&mut self, now: &Self, before: &Self) {
        add(&mut self.delivered, now.delivered, before.delivered);
        add(&mut self.dead_lettered, now.dead_lettered, before.dead_lettered);
        add(&mut self.failed, now.failed, before.failed);
        add(&mut self.gone, now.gone, before.gone);
        add_each(&mut self.attempts, &now.attempts, &before.attempts);
    }
}

impl Answer for WorkerStatus {
    type Counts = Counts;

    fn instance(&self) -> &str {
        &self.instance
    }

    fn uptime(&self) -> Duration {
        self.uptime.get()
    }

    fn counts(&self) -> Counts {
        Counts {
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            failed: self.failed,
            gone: self.gone,
            attempts: self.attempts.clone(),
        }
    }
}

/// The status with what workers have done.
pub fn with_work(previous: &IntegrationStatus, work: &Shown, now: Timestamp) -> IntegrationStatus {
    let work = work.clone();
    let status = IntegrationStatus {
        conditions: conditions(previous, [work.secrets, work.sink], now),
        in_flight: work.in_flight,
        circuit: work.circuit,
        gone: work.gone,
        last_delivery_time: work.last_delivery.map(Time),
        trouble: work.trouble,
        ..previous.clone()
    };
    if work.rates_follow {
        return status;
    }
    IntegrationStatus {
        rate: work.rate,
        dead_letter_rate: work.dead_letter_rate,
        error_rate: work.error_rate,
        p95: work.p95,
        ..status
    }
}

/// The conditions that workers tell of and passes keep, in their order.
pub(super) const BY_WORKERS: [ConditionType; 2] = [ConditionType::SecretsReady, ConditionType::SinkHealthy];

/// Those of workers come last, as passes keep them.
fn conditions(previous: &IntegrationStatus, told: [Option<Health>; 2], now: Timestamp) -> Vec<Condition> {
    let mut conditions = Conditions::new(&previous.conditions, previous.observed_generation, now);
    conditions.keep_all_but(&BY_WORKERS);
    for (kind, told) in BY_WORKERS.into_iter().zip(told) {
        match told {
            Some(Health { healthy: Some(true), reason, message }) => conditions.yes(kind, reason, message),
            Some(Health { healthy: Some(false), reason, message }) => conditions.no(kind, reason, message),
            Some(Health { healthy: None, reason, message }) => conditions.unknown(kind, reason, message),
            None => {}
        }
    }
    conditions.finish()
}

#[cfg(test)]
mod tests {
    use sluice_crds::wire::SinkFailure;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A worker that has delivered so many, each within 64 ms.
    fn worker(instance: &str, delivered: u64) -> WorkerStatus {
        WorkerStatus {
            instance: instance.to_owned(),
            uptime: sluice_crds::Duration::from_secs(600),
            delivered,
            attempts: vec![0, 0, 0, 0, 0, 0, delivered],
            last_delivery: Some(at(0).as_second()),
            ..WorkerStatus::default()
        }
    }

    /// What is shown after these looks, 30 s apart.
    fn shown(looks: Vec<Vec<Option<WorkerStatus>>>) -> Shown {
        let mut work = Work::resume(&IntegrationStatus::default(), at(0));
        for (look, answers) in (0..).zip(looks) {
            work.take(&answers, at(30 * look));
        }
        work.shown()
    }

    fn sink(status: WorkerStatus) -> String {
        text(shown(vec![vec![Some(worker("a", 0)), Some(status)]]).sink)
    }

    fn text(told: Option<Health>) -> String {
        let Health { healthy, reason, message } = told.unwrap();
        format!("{healthy:?} {reason}: {message}")
    }

    #[test]
    fn what_workers_did_in_the_last_minute_is_shown_for_people() {
        let busy = WorkerStatus {
            failed: 3,
            dead_lettered: 60,
            in_flight: 64,
            gone: 7,
            attempts: vec![0, 0, 0, 0, 0, 0, 950, 51],
            ..worker("a", 1_050)
        };
        let minute = Timestamp::from_second(at(0).as_second() / 60 * 60).unwrap();
        let expected = Shown {
            rates_follow: false,
            rate: Some("35/s".into()),
            dead_letter_rate: Some("2.0/s".into()),
            error_rate: Some("0.2%".into()),
            p95: Some("128ms".into()),
            in_flight: Some("64".into()),
            circuit: Some("Closed".into()),
            gone: Some("7".into()),
            dead_letters: 60,
            last_delivery: Some(minute),
            trouble: None,
            secrets: Some(Health {
                healthy: Some(true),
                reason: Reason::Satisfied,
                message: "every Secret is there that is needed".into(),
            }),
            sink: Some(Health { healthy: Some(true), reason: Reason::Satisfied, message: String::new() }),
        };
        assert_eq!(shown(vec![vec![Some(worker("a", 0))], vec![Some(busy)]]), expected);
    }

    #[test]
    fn a_restart_is_no_burst() {
        let before = || vec![Some(worker("a", 5_000)), Some(worker("b", 5_000))];
        let young = WorkerStatus { uptime: sluice_crds::Duration::from_secs(20), ..worker("a2", 30) };
        let after = vec![Some(young), Some(worker("b", 5_060))];
        assert_eq!(shown(vec![before(), after]).rate.as_deref(), Some("3.0/s"));
    }

    #[test]
    fn numbers_are_unknown_while_a_worker_is_and_an_open_circuit_is_known_all_the_same() {
        let unknown = Some("unknown".to_owned());
        let silent = shown(vec![vec![Some(worker("a", 1))], vec![Some(worker("a", 2)), None]]);
        for number in [&silent.rate, &silent.error_rate, &silent.p95, &silent.in_flight, &silent.circuit] {
            assert_eq!(*number, unknown, "{silent:?}");
        }
        let expected =
            Health { healthy: None, reason: Reason::Unavailable, message: "1 of 2 workers say how it is".into() };
        assert_eq!((silent.secrets, silent.sink), (Some(expected.clone()), Some(expected)));
        let open = WorkerStatus { circuit: Circuit::Open, ..worker("a", 2) };
        let open = shown(vec![vec![None, Some(open)]]);
        assert_eq!((open.circuit.as_deref(), open.rate), (Some("Open"), unknown));
        assert_eq!(open.sink.unwrap().reason, Reason::CircuitOpen);
    }

    #[test]
    fn one_question_that_gets_lost_changes_nothing() {
        let answered = |count| vec![Some(worker("a", count)), Some(worker("b", count))];
        let lost = |count| vec![Some(worker("a", count)), None];
        let once = shown(vec![answered(0), answered(30), lost(60)]);
        assert_eq!(once, shown(vec![answered(0), answered(30)]));
        assert_eq!(shown(vec![answered(0), answered(30), lost(60), answered(90)]).rate.as_deref(), Some("2.0/s"));
        let twice = shown(vec![answered(0), answered(30), lost(60), lost(90)]);
        assert_eq!(twice.rate.as_deref(), Some("unknown"));
    }

    #[test]
    fn it_is_doubted_once_whether_a_worker_is_silent() {
        let mut work = Work::resume(&IntegrationStatus::default(), at(0));
        let mut look = |answers: [Option<WorkerStatus>; 1], second| {
            work.take(&answers, at(second));
            (work.is_silent(), work.is_in_doubt())
        };
        assert_eq!(look([None], 0), (true, false), "nothing was known before");
        assert_eq!(look([Some(worker("a", 0))], 30), (false, false));
        assert_eq!(look([None], 60), (true, true));
        assert_eq!(look([None], 70), (true, false));
        assert_eq!(look([None], 100), (true, false));
        assert_eq!(look([Some(worker("a", 0))], 130), (false, false));
    }

    #[test]
    fn without_workers_only_what_lasts_is_shown() {
        let mut work = Work::resume(&IntegrationStatus::default(), at(0));
        work.take(&[Some(worker("a", 9))], at(0));
        work.take(&[], at(30));
        let lasting = Shown { last_delivery: work.last_delivery.and_then(minute), ..Shown::default() };
        assert!(lasting.last_delivery.is_some());
        assert_eq!(work.shown(), lasting);
    }

    #[test]
    fn dead_letters_are_counted_on_when_workers_or_the_operator_restart() {
        let dead = |instance: &str, count| Some(WorkerStatus { dead_lettered: count, ..worker(instance, 0) });
        let fresh = |count| {
            let uptime = sluice_crds::Duration::from_secs(1);
            Some(WorkerStatus { uptime, dead_lettered: count, ..worker("new", 0) })
        };
        assert_eq!(shown(vec![vec![dead("a", 3)], vec![dead("a2", 2)], vec![None], vec![]]).dead_letters, 5);
        let said = IntegrationStatus { dead_letters: Some("12".into()), ..IntegrationStatus::default() };
        let mut work = Work::resume(&said, at(0));
        work.take(&[], at(0));
        assert_eq!(work.shown().dead_letters, 12, "while none runs");
        work.take(&[dead("a", 12)], at(10));
        assert_eq!(work.shown().dead_letters, 12, "it was counted before");
        work.take(&[dead("a", 14), fresh(1)], at(20));
        assert_eq!(work.shown().dead_letters, 15);
    }

    #[test]
    fn the_sink_is_not_healthy_where_workers_say_so() {
        let halted = |partition, offset| HaltedPartition {
            topic: "shop.orders".into(),
            partition,
            offset,
            reason: "http: 422: the API answered 422".into(),
        };
        let failing = |attempts| WorkerStatus {
            sink_failure: Some(SinkFailure { attempts, message: "no answer".into() }),
            ..worker("b", 0)
        };
        let open = WorkerStatus {
            circuit: Circuit::HalfOpen,
            sink_trouble: Some("the sink is left alone: the API answered 503".into()),
            ..worker("b", 0)
        };
        for (status, expected) in [
            (worker("b", 3), "Some(true) Satisfied: "),
            (failing(9), "Some(true) Satisfied: "),
            (failing(10), "Some(false) SinkFailing: one attempt after the other fails: no answer"),
            (open.clone(), "Some(false) CircuitOpen: the sink is left alone: the API answered 503"),
            (
                WorkerStatus { circuit: Circuit::Closed, ..open.clone() },
                "Some(false) SecretUnusable: the sink is left alone: the API answered 503",
            ),
            (
                WorkerStatus { halted: vec![halted(2, 17), halted(0, 5)], ..open },
                concat!(
                    "Some(false) Halted: stopped until the Integration changes: ",
                    "shop.orders[0]@5: http: 422: the API answered 422; ",
                    "shop.orders[2]@17: http: 422: the API answered 422",
                ),
            ),
        ] {
            assert_eq!(sink(status), expected);
        }
        let many = WorkerStatus { halted: (0..9).map(|partition| halted(partition, 1)).collect(), ..worker("b", 0) };
        assert!(sink(many).ends_with("; and 6 more"));
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_told_though_others_have_it_and_one_does_not_answer() {
        let missing = WorkerStatus { secrets_trouble: Some("no Secret \"kafka\"".into()), ..worker("b", 0) };
        let told = shown(vec![vec![Some(worker("a", 0)), Some(missing), None]]);
        assert_eq!(text(told.secrets), "Some(false) SecretUnusable: no Secret \"kafka\"");
    }

    #[test]
    fn a_rate_stands_until_another_one_is_known_when_the_operator_restarts() {
        let said =
            IntegrationStatus { rate: Some("35/s".into()), p95: Some("64ms".into()), ..IntegrationStatus::default() };
        let mut work = Work::resume(&said, at(0));
        let mut told = |answers: &[Option<WorkerStatus>], second| {
            work.take(answers, at(second));
            let status = with_work(&said, &work.shown(), at(second));
            [status.rate, status.p95].map(Option::unwrap_or_default)
        };
        assert_eq!(told(&[Some(worker("a", 1_000))], 0), ["35/s", "64ms"]);
        assert_eq!(told(&[Some(worker("a", 1_060))], 30), ["2.0/s", "64ms"]);
        assert_eq!(told(&[], 60), ["", ""], "nothing runs");
    }

    #[test]
    fn only_the_workers_conditions_change_and_keep_their_times_while_they_stay_the_same() {
        let mut before = Conditions::new(&[], Some(3), at(0));
        before.yes(ConditionType::Ready, Reason::Running, "");
        before.yes(ConditionType::Paused, Reason::Paused, "");
        let before = IntegrationStatus {
            conditions: before.finish(),
            observed_generation: Some(3),
            lag: Some("5".into()),
            ..IntegrationStatus::default()
        };
        let open = shown(vec![vec![Some(WorkerStatus { circuit: Circuit::Open, ..worker("a", 0) })]]);
        let first = with_work(&before, &open, at(10));
        let second = with_work(&first, &open, at(20));
        assert_eq!(second, first);
        let told: Vec<_> =
            second.conditions.iter().map(|one| (one.type_.as_str(), one.last_transition_time.0)).collect();
        assert_eq!(told, [("Ready", at(0)), ("Paused", at(0)), ("SecretsReady", at(10)), ("SinkHealthy", at(10))]);
        assert_eq!((second.lag.as_deref(), second.circuit.as_deref()), (Some("5"), Some("Open")));
        let none = with_work(&second, &Shown::default(), at(30));
        assert_eq!(none.conditions, before.conditions);
    }
}
