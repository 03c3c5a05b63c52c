//! What the schedule does while a sink is left alone or a partition stands still.

use std::time::Duration;

use sluice_crds::{CircuitBreaker, Duration as Text, Ordering, Retry};
use sluice_pipeline::{Envelope, Media, Message};

use super::*;
use crate::{
    engine::{partition::UNSETTLED, tests::plain_record},
    retry::Failure,
    source::GRACE,
};

const OPEN_FOR: Duration = Duration::from_mins(1);

/// One partition of a topic, and a clock that stands until it is moved.
struct Stage {
    schedule: Schedule,
    now: Moment,
}

impl Stage {
    fn new(delivery: Delivery) -> Self {
        let now = Moment { at: Instant::now(), utc: DateTime::UNIX_EPOCH };
        let mut schedule = Schedule::new(delivery, "scripted", now.at);
        let committed = Some(Commit { partition: id(), offset: 0, note: String::new() });
        schedule.assign(Start { partition: id(), committed });
        Self { schedule, now }
    }

    fn receive(&mut self, offsets: std::ops::Range<i64>) {
        let records = offsets.map(|offset| plain_record(0, offset)).collect();
        self.schedule.receive(Batch { partition: id(), records }, self.now, |record| {
            let value = record.value.clone();
            Verdict::Deliver(Message { value, media: Media::Bytes, envelope: Envelope::None })
        });
    }

    fn wait(&mut self, time: Duration) {
        self.now.at += time;
    }

    /// The offset of what begins now, and nothing of it is known yet.
    fn begin(&mut self) -> Option<Work> {
        self.schedule.next(self.now.at)
    }

    fn end(&mut self, work: Work, end: End) {
        self.schedule.finish(Done { key: work.key, record: work.record, span: work.span, end }, self.now, 1.0);
    }

    fn commands(&mut self) -> Vec<Command> {
        self.schedule.commands().collect()
    }
}

fn id() -> PartitionId {
    PartitionId { topic: "t".into(), partition: 0 }
}

fn busy() -> End {
    let failure = Failure::Passing { retry_after: None };
    End::Failed(DeliveryError { failure, code: "503".into(), message: "busy".into() })
}

fn asking_for(seconds: u64) -> End {
    let failure = Failure::Busy { retry_after: Duration::from_secs(seconds) };
    End::Failed(DeliveryError { failure, code: "429".into(), message: "later".into() })
}

fn guarded() -> Delivery {
    let open_for = Text::from_millis(60_000);
    Delivery {
        circuit_breaker: Some(CircuitBreaker { failures: 1, failure_share: None, open_for }),
        retry: Retry { max_attempts: 3, max_elapsed: Text::from_secs(30), ..Retry::default() },
        ..Delivery::default()
    }
}

#[test]
fn an_open_circuit_pauses_partitions_and_stops_the_clock_of_the_budgets() {
    let mut stage = Stage::new(guarded());
    stage.receive(0..1);
    let work = stage.begin().unwrap();
    stage.end(work, busy());
    assert!(stage.begin().is_none());
    assert_eq!(stage.commands(), [Command::Pause(id())]);
    assert_eq!(stage.schedule.wakes_at(stage.now.at).map(|at| at - stage.now.at), Some(Duration::from_millis(200)));
    stage.wait(Duration::from_secs(1));
    assert!(stage.begin().is_none(), "its wait is over, and the circuit is open");

    // Far more probes than attempts, far more time than the budget has.
    for _ in 0..10 {
        stage.wait(OPEN_FOR);
        let probe = stage.begin().unwrap();
        assert_eq!(stage.commands(), [Command::Resume(id())], "what comes may serve as the next probe");
        assert!(stage.begin().is_none(), "one probe at a time");
        stage.end(probe, busy());
        assert!(stage.begin().is_none());
        assert_eq!(stage.commands(), [Command::Pause(id())]);
    }
    stage.wait(OPEN_FOR);
    let probe = stage.begin().unwrap();
    stage.receive(1..2);
    stage.end(probe, End::Delivered);
    assert_eq!(stage.schedule.counts().circuit, Circuit::HalfOpen, "the schedule has yet to look at it");
    let next = stage.begin().unwrap();
    assert_eq!((next.record.offset, stage.schedule.counts().circuit), (1, Circuit::Closed));
    assert_eq!((stage.schedule.counts().delivered, stage.schedule.counts().retries), (1, 1));
}

#[test]
fn nothing_is_sent_before_a_busy_sink_wants_it_and_the_wait_costs_no_budget() {
    let retry = Retry { max_elapsed: Text::from_secs(10), ..Retry::default() };
    let mut stage = Stage::new(Delivery { retry, ..Delivery::default() });
    stage.receive(0..3);
    let [first, second] = [(); 2].map(|()| stage.begin().unwrap());
    stage.end(first, asking_for(30));
    // What was under way comes to its end, and asks for less.
    stage.end(second, asking_for(1));
    assert!(stage.begin().is_none(), "the third one waits too");
    assert_eq!(stage.schedule.wakes_at(stage.now.at).map(|at| at - stage.now.at), Some(Duration::from_secs(1)));
    stage.wait(Duration::from_secs(29));
    assert!(stage.begin().is_none());
    stage.wait(Duration::from_secs(1));
    let begun: Vec<_> = std::iter::from_fn(|| stage.begin()).collect();
    assert_eq!(begun.len(), 3);
    for work in begun {
        stage.end(work, busy());
    }
    stage.wait(Duration::from_secs(1));
    let again = stage.begin().unwrap();
    assert!(matches!(again.task, Task::Deliver(_)), "of 10 s hardly one is spent");
}

#[test]
fn an_open_circuit_is_not_probed_before_the_sink_wants_it() {
    let mut stage = Stage::new(guarded());
    stage.receive(0..2);
    let work = stage.begin().unwrap();
    stage.end(work, asking_for(90));
    stage.wait(OPEN_FOR);
    assert!(stage.begin().is_none(), "the circuit would be probed now, with the second one");
    assert_eq!(stage.schedule.wakes_at(stage.now.at).map(|at| at - stage.now.at), Some(Duration::from_secs(30)));
    stage.wait(Duration::from_secs(30));
    let probe = stage.begin().unwrap();
    stage.end(probe, asking_for(90));
    stage.wait(OPEN_FOR);
    assert!(stage.begin().is_none());
}

#[test]
fn the_time_of_an_outage_does_not_count_against_max_elapsed() {
    let mut stage = Stage::new(guarded());
    stage.receive(0..2);
    let [first, second] = [(); 2].map(|()| stage.begin().unwrap());
    stage.end(first, busy());
    stage.end(second, busy());
    stage.wait(OPEN_FOR);
    let probe = stage.begin().unwrap();
    let probed = probe.record.offset;
    stage.end(probe, End::Delivered);
    // The other one failed once, a minute ago, and has 30 s.
    let other = stage.begin().unwrap();
    assert_ne!(other.record.offset, probed);
    stage.end(other, busy());
    stage.wait(OPEN_FOR);
    let again = stage.begin().unwrap();
    assert!(matches!(again.task, Task::Deliver(_)), "it is no dead letter");
}

#[test]
fn a_probe_whose_partition_goes_makes_room_for_another() {
    let mut stage = Stage::new(guarded());
    stage.receive(0..1);
    let work = stage.begin().unwrap();
    stage.end(work, busy());
    stage.wait(OPEN_FOR);
    assert!(stage.begin().is_some());
    stage.schedule.release(&id(), stage.now.at).unwrap();
    stage.schedule.assign(Start { partition: id(), committed: None });
    stage.receive(0..1);
    assert!(stage.begin().is_some());
}

#[test]
fn a_partition_is_paused_where_it_has_no_room_for_longer_than_a_moment() {
    let mut stage = Stage::new(Delivery { ordering: Ordering::None, ..Delivery::default() });
    let room = |stage: &mut Stage| {
        stage.schedule.mind_room(stage.now.at);
        (stage.schedule.has_room(), stage.commands())
    };
    let full = i64::try_from(UNSETTLED).unwrap();
    stage.receive(0..full);
    assert_eq!(room(&mut stage), (false, vec![]));
    stage.wait(GRACE / 2);
    assert_eq!(room(&mut stage), (false, vec![]));
    let work = stage.begin().unwrap();
    stage.end(work, End::Delivered);
    assert_eq!(room(&mut stage), (true, vec![]), "it was in time");

    stage.receive(full..full + 1);
    assert_eq!(room(&mut stage), (false, vec![]));
    stage.wait(GRACE);
    assert!(stage.schedule.wakes_at(stage.now.at).is_some_and(|at| at <= stage.now.at));
    assert_eq!(room(&mut stage), (true, vec![Command::Pause(id())]), "others go on");
    for _ in 0..full / 2 {
        let work = stage.begin().unwrap();
        stage.end(work, End::Delivered);
    }
    assert_eq!(room(&mut stage), (true, vec![Command::Resume(id())]));
}

#[test]
fn commits_do_not_wait_for_their_time_once_many_are_settled() {
    let mut stage = Stage::new(Delivery { ordering: Ordering::None, ..Delivery::default() });
    stage.receive(0..10_001);
    for settled in 1..=10_000 {
        let work = stage.begin().unwrap();
        stage.end(work, End::Delivered);
        assert_eq!(stage.schedule.owes_commits(), settled == 10_000, "{settled}");
    }
    let commits = stage.schedule.commits(stage.now.at);
    assert_eq!(commits.iter().map(|commit| commit.offset).collect::<Vec<_>>(), [10_000]);
    assert!(!stage.schedule.owes_commits());
}

#[test]
fn a_partition_that_comes_while_the_circuit_is_open_is_paused() {
    let mut stage = Stage::new(guarded());
    stage.receive(0..1);
    let work = stage.begin().unwrap();
    stage.end(work, busy());
    assert!(stage.begin().is_none());
    stage.commands();
    let other = PartitionId { partition: 1, ..id() };
    stage.schedule.assign(Start { partition: other.clone(), committed: None });
    assert_eq!(stage.commands(), [Command::Pause(other)]);
}

#[test]
fn a_circuit_that_opens_and_a_partition_that_stops_are_news_and_a_delivery_is_none() {
    let mut stage = Stage::new(Delivery { on_delivery_error: OnDeliveryError::Halt, ..guarded() });
    stage.receive(0..3);
    let [first, second, third] = [(); 3].map(|()| stage.begin().unwrap());
    stage.end(first, End::Delivered);
    assert!(!stage.schedule.has_news(Circuit::Closed));
    let refusal = DeliveryError { failure: Failure::Refusal, code: "422".into(), message: "no".into() };
    stage.end(second, End::Failed(refusal));
    assert!(stage.schedule.has_news(Circuit::Closed));
    assert!(stage.schedule.halts().is_some() && !stage.schedule.has_news(Circuit::Closed), "it is told once");
    stage.end(third, busy());
    assert!(stage.schedule.has_news(Circuit::Closed) && !stage.schedule.has_news(Circuit::Open));
}

#[test]
fn a_halted_partition_begins_nothing_and_commits_nothing_beyond() {
    let mut stage = Stage::new(Delivery { on_delivery_error: OnDeliveryError::Halt, ..Delivery::default() });
    stage.receive(0..3);
    let [first, second] = [(); 2].map(|()| stage.begin().unwrap());
    let refusal = DeliveryError { failure: Failure::Refusal, code: "422".into(), message: "no".into() };
    stage.end(first, End::Failed(refusal));
    let expected = HaltedPartition { topic: "t".into(), partition: 0, offset: 0, reason: "scripted: 422: no".into() };
    let reason = stage.schedule.halts().unwrap().remove(0);
    assert!(reason.reason.starts_with(&expected.reason), "{reason:?}");
    assert_eq!(HaltedPartition { reason: expected.reason.clone(), ..reason }, expected);
    assert_eq!(stage.commands(), [Command::Pause(id())]);
    stage.end(second, End::Delivered);
    assert!(stage.begin().is_none(), "the third one waits for a person");
    stage.receive(3..5);
    stage.schedule.reach(&[Position { partition: id(), offset: 9 }]);
    assert_eq!(stage.schedule.counts().received, 3);
    let commits = stage.schedule.commits(stage.now.at);
    assert_eq!(commits.iter().map(|commit| commit.offset).collect::<Vec<_>>(), [0]);
    stage.schedule.release(&id(), stage.now.at);
    assert_eq!(stage.schedule.halts(), Some(vec![]));
}
