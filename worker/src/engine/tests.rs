//! The law of the worker under scripted faults, through the real engine, flow and pipeline: whatever fails, received is
//! delivered, skipped, dead-lettered or unsettled, order is kept, and no commit passes an unsettled record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use sluice_crds::{
    Backoff, CircuitBreaker, Decode, Delivery, Duration as Text, HeaderStyle, LogLevel, NamespacedName, OnDataError,
    OnDeliveryError, Ordering, Retry, StartFrom,
    wire::{HttpSinkConfig, Operation, SinkConfig, SourceConfig, StepConfig, WorkerConfig},
};
use sluice_kafka::{OutgoingRecord, SendError};
use sluice_pipeline::{Pipeline, Record};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Job,
    dead_letters::{DeadLetters, Writer},
    engine,
    flow::Flow,
    retry::Failure,
    sink::{DeliveryError, Sink, scripted::ScriptedSink},
    source::{Batch, Command, Commit, Died, Event, PartitionId, SourceEnd, Start, channels},
    status::Status,
};

/// Takes dead letters, but only each second time it is asked.
#[derive(Clone, Default)]
pub(crate) struct ScriptedWriter(Arc<Mutex<(usize, Vec<OutgoingRecord>)>>);

impl ScriptedWriter {
    pub(crate) async fn send(&self, letter: OutgoingRecord) -> Result<(), SendError> {
        tokio::task::yield_now().await;
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        if state.0 % 2 == 1 {
            return Err(SendError::Busy);
        }
        state.1.push(letter);
        Ok(())
    }
}

/// What becomes of a record, by script.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Delivered,
    /// So many attempts fail before one succeeds; three are allowed.
    Fails(u32),
    Refused,
    Malformed,
    Filtered,
    Panics,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Delivered),
        2 => (1..5_u32).prop_map(Fate::Fails),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Malformed),
        1 => Just(Fate::Filtered),
    ]
}

/// How a partition goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    /// What is under way comes to its end before.
    Revoked,
    /// What is under way is given up.
    Lost,
}

fn going() -> impl Strategy<Value = Going> {
    prop_oneof![Just(Going::Revoked), Just(Going::Lost)]
}

/// One record: its partition, its key, its fate.
fn records() -> impl Strategy<Value = Vec<(i32, u8, Fate)>> {
    proptest::collection::vec((0..3_i32, 0..4_u8, fate()), 0..120)
}

fn ordering() -> impl Strategy<Value = Ordering> {
    prop_oneof![Just(Ordering::Key), Just(Ordering::Partition), Just(Ordering::None)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_lost_and_order_is_kept(
        records in records(), ordering in ordering(), in_flight in 1..8_u32, revoke_after in 0..120_usize,
        failures in proptest::option::of(1..4_u32), going in going(),
    ) {
        let circuit_breaker = failures.map(|failures| {
            CircuitBreaker { failures, failure_share: None, open_for: Text::from_secs(1) }
        });
        let delivery = Delivery { circuit_breaker, ..delivery(ordering, in_flight) };
        virtually(Story::new(&records, delivery).play(revoke_after, going));
    }

    #[test]
    fn a_partition_stops_at_the_first_record_that_halts_it_and_nothing_before_it_is_lost(
        records in records(), ordering in ordering(), in_flight in 1..8_u32, revoke_after in 0..120_usize,
    ) {
        let usual = delivery(ordering, in_flight);
        let delivery = Delivery { on_data_error: OnDataError::Halt, on_delivery_error: OnDeliveryError::Halt, ..usual };
        virtually(Story::new(&records, delivery).play_to_the_halts(revoke_after));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn several_threads_lose_nothing_while_partitions_come_and_go(
        records in records(), ordering in ordering(), in_flight in 1..8_u32,
        goings in proptest::collection::vec((0..3_i32, going(), 0..5_u64), 0..12),
    ) {
        let usual = delivery(ordering, in_flight);
        let backoff = Backoff { initial: Text::from_millis(1), max: Text::from_millis(3), ..Backoff::default() };
        let delivery = Delivery { retry: Retry { backoff, ..usual.retry.clone() }, ..usual };
        on_threads(Story::new(&records, delivery).play_again_and_again(&goings));
    }
}

#[test]
fn a_delivery_that_panics_ends_the_worker_and_no_commit_passes_its_record() {
    let script: Vec<_> = (0..30).map(|n| (0, n % 4, if n == 25 { Fate::Panics } else { Fate::Delivered })).collect();
    virtually(Story::new(&script, delivery(Ordering::Key, 30)).play_to_the_panic(22));
}

#[tokio::test]
async fn a_source_that_ends_by_itself_is_an_error() {
    for is_told in [true, false] {
        let (source, end) = channels();
        let shutdown = CancellationToken::new();
        if is_told {
            shutdown.cancel();
        }
        drop(end);
        let flow = flow(BTreeMap::new(), delivery(Ordering::Key, 1), ScriptedWriter::default());
        let ended = engine::run(flow, source, shutdown).await.map_err(|error| error.is::<Died>());
        assert_eq!(ended, if is_told { Ok(()) } else { Err(true) });
    }
}

#[tokio::test(start_paused = true)]
async fn many_that_are_settled_are_committed_before_it_is_time() {
    let story = Story::new(&vec![(0, 0, Fate::Filtered); 10_000], delivery(Ordering::Key, 1));
    let (source, end) = channels();
    let _engine = tokio::spawn(engine::run(Arc::clone(&story.flow), source, CancellationToken::new()));
    story.hand_out(&end, 0, &BTreeMap::new()).await;
    // The clock stands still as long as somebody has something to do.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        if let Ok(Command::Commit(commits)) = end.commands.try_recv() {
            assert_eq!(commits.iter().map(|commit| commit.offset).collect::<Vec<_>>(), [10_010]);
            return;
        }
    }
    panic!("not committed: {:?}", story.flow.status.report());
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_committed_again_at_once_when_a_rebalance_is_over() {
    let story = Story::new(&[(0, 1, Fate::Delivered), (1, 1, Fate::Delivered)], delivery(Ordering::Key, 2));
    let (source, mut end) = channels();
    let _engine = tokio::spawn(engine::run(Arc::clone(&story.flow), source, CancellationToken::new()));
    for number in 0..2 {
        story.hand_out(&end, number, &BTreeMap::new()).await;
    }
    let offsets = |commits: Vec<Commit>| {
        commits.into_iter().map(|commit| (commit.partition.partition, commit.offset)).collect::<BTreeMap<_, _>>()
    };
    // Each twice the time after which commits come.
    let later = async || drop(tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await);
    later().await;
    assert_eq!(offsets(commits(&mut end, &[])), [(0, 11), (1, 11)].into());
    later().await;
    assert!(commits(&mut end, &[]).is_empty(), "they are no news");
    end.events.send(Event::Rebalanced(None)).await.unwrap();
    // The clock stands still as long as somebody has something to do.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        if let Ok(Command::Commit(commits)) = end.commands.try_recv() {
            assert_eq!(offsets(commits), [(0, 11), (1, 11)].into());
            return;
        }
    }
    panic!("not committed again: {:?}", story.flow.status.report());
}

#[tokio::test(start_paused = true)]
async fn counts_are_told_soon_though_nothing_else_happens() {
    let story = Story::new(&[(0, 0, Fate::Delivered); 10], delivery(Ordering::Key, 1));
    let (source, end) = channels();
    let _engine = tokio::spawn(engine::run(Arc::clone(&story.flow), source, CancellationToken::new()));
    story.hand_out(&end, 0, &BTreeMap::new()).await;
    story.until(|| story.ends().count() == 10).await;
    let ended = tokio::time::Instant::now();
    story.until(|| story.flow.status.report().delivered == 10).await;
    assert!(ended.elapsed() < Duration::from_millis(600), "{:?}", ended.elapsed());
}

/// Time passes while everybody waits.
fn virtually(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(story);
}

/// Several tasks go on at once, in real time.
fn on_threads(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let told = runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), story).await });
    told.expect("a story takes less than a minute");
}

struct Story {
    records: Vec<Record>,
    fates: BTreeMap<(i32, i64), Fate>,
    ordering: Ordering,
    /// Whether attempts of some records are not counted, which may then need no dead letter.
    has_circuit: bool,
    flow: Arc<Flow>,
    writer: ScriptedWriter,
}

/// An engine that has been told all records.
struct Running {
    engine: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    end: SourceEnd,
    /// What was committed of the partition that was taken away.
    kept: Vec<Commit>,
    left: Vec<PartitionId>,
}

impl Story {
    fn new(script: &[(i32, u8, Fate)], delivery: Delivery) -> Self {
        let mut next = BTreeMap::<i32, i64>::new();
        let (mut records, mut fates) = (Vec::new(), BTreeMap::new());
        for (partition, key, fate) in script {
            let offset = next.entry(*partition).or_insert(10);
            records.push(record(*partition, *offset, *key, *fate));
            fates.insert((*partition, *offset), *fate);
            *offset += 1;
        }
        let writer = ScriptedWriter::default();
        let (ordering, has_circuit) = (delivery.ordering, delivery.circuit_breaker.is_some());
        let flow = flow(fates.clone(), delivery, writer.clone());
        Self { records, fates, ordering, has_circuit, flow, writer }
    }

    /// Starts an engine, tells the records, and takes partition 0 away in between.
    async fn begin(&self, revoke_after: usize, going: Going) -> Running {
        let (source, end) = channels();
        let shutdown = CancellationToken::new();
        let engine = tokio::spawn(engine::run(Arc::clone(&self.flow), source, shutdown.clone()));
        let mut all: Vec<_> = (0..3).map(partition).collect();
        let starts = all.iter().map(|id| Start { partition: id.clone(), committed: None });
        end.events.send(Event::Assigned(starts.collect())).await.unwrap();
        let (before, after) = self.records.split_at(revoke_after.min(self.records.len()));
        tell(&end, before).await;
        let left = all.split_off(1);
        let kept = match going {
            Going::Revoked => revoke(&end, &all).await,
            Going::Lost => {
                end.events.send(Event::Lost(all)).await.unwrap();
                Vec::new()
            }
        };
        tell(&end, after).await;
        Running { engine, shutdown, end, kept, left }
    }

    /// Tells the records, takes partition 0 away in between, and waits for the others to come to their halts or ends.
    async fn play_to_the_halts(self, revoke_after: usize) {
        let Running { engine, shutdown, mut end, kept, left } = self.begin(revoke_after, Going::Revoked).await;
        let lasting = self.records.iter().filter(|record| record.partition != 0);
        let halts: BTreeMap<i32, i64> = lasting
            .clone()
            .filter(|record| self.halts(record))
            .map(|record| (record.partition, record.offset))
            .rev()
            .collect();
        let due: BTreeSet<_> = lasting
            .filter(|record| halts.get(&record.partition).is_none_or(|halt| record.offset < *halt))
            .map(|record| (record.partition, record.offset))
            .collect();
        let told = || {
            let halted = self.flow.status.report().halted;
            halted.into_iter().map(|halted| (halted.partition, halted.offset)).collect::<BTreeMap<_, _>>()
        };
        self.until(|| told() == halts && due.is_subset(&self.ends().collect())).await;
        let settled = revoke(&end, &left).await;
        self.check_order();
        self.check_walls(&commits(&mut end, &kept));
        self.check_walls(&settled);
        for Commit { partition: id, offset, .. } in &settled {
            let last = self.records.iter().filter(|r| r.partition == id.partition).map(|r| r.offset + 1).max();
            assert_eq!(Some(*offset), halts.get(&id.partition).copied().or(last), "{id}");
        }
        shutdown.cancel();
        drop(end);
        engine.await.unwrap().unwrap();
    }

    fn halts(&self, record: &Record) -> bool {
        let fate = self.fates[&(record.partition, record.offset)];
        matches!(fate, Fate::Refused | Fate::Malformed | Fate::Fails(3..))
    }

    /// Tells the records, takes partition 0 away in between, ends, and checks what came of it.
    async fn play(self, revoke_after: usize, going: Going) {
        let Running { engine, shutdown, mut end, kept, left } = self.begin(revoke_after, going).await;
        let lasting: Vec<_> = self.records.iter().filter(|r| r.partition != 0).cloned().collect();
        self.until_settled(lasting.len()).await;
        let settled = revoke(&end, &left).await;
        self.check_counts();
        self.check_order();
        self.check_commits(&commits(&mut end, &kept), &settled);
        shutdown.cancel();
        drop(end);
        engine.await.unwrap().unwrap();
    }

    /// Tells so many records and waits until they are settled; then tells the others, of which one panics, and takes the partition away
    /// while they are under way.
    async fn play_to_the_panic(self, before: usize) {
        let (source, mut end) = channels();
        let engine = tokio::spawn(engine::run(Arc::clone(&self.flow), source, CancellationToken::new()));
        let start = Start { partition: partition(0), committed: None };
        end.events.send(Event::Assigned(vec![start])).await.unwrap();
        let (before, after) = self.records.split_at(before);
        tell(&end, before).await;
        self.until(|| self.ends().count() == before.len()).await;
        // They are committed meanwhile.
        drop(tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await);
        tell(&end, after).await;
        let (settled, settlement) = oneshot::channel();
        end.events.send(Event::Revoked(vec![partition(0)], settled)).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_hours(1), engine).await.expect("it ends").unwrap();
        assert!(ended.is_err_and(|error| error.is::<engine::Panicked>()));
        assert!(settlement.await.is_err(), "nobody says how far a partition is settled in which a record is in limbo");
        let commits = commits(&mut end, &[]);
        assert!(!commits.is_empty());
        self.check_walls(&commits);
    }

    /// Takes partitions away, each after so many milliseconds, and gives them back with what is committed of them, until everything is.
    async fn play_again_and_again(self, goings: &[(i32, Going, u64)]) {
        let (source, mut end) = channels();
        let shutdown = CancellationToken::new();
        let engine = tokio::spawn(engine::run(Arc::clone(&self.flow), source, shutdown.clone()));
        let (mut committed, mut told) = (BTreeMap::new(), Vec::new());
        let mut keep = |commits: Vec<Commit>, committed: &mut BTreeMap<i32, Commit>| {
            committed.extend(commits.iter().map(|commit| (commit.partition.partition, commit.clone())));
            told.extend(commits);
        };
        for number in 0..3 {
            self.hand_out(&end, number, &committed).await;
        }
        for (number, going, milliseconds) in goings {
            drop(tokio::time::timeout(Duration::from_millis(*milliseconds), std::future::pending::<()>()).await);
            let settled = match going {
                Going::Revoked => revoke(&end, &[partition(*number)]).await,
                Going::Lost => {
                    end.events.send(Event::Lost(vec![partition(*number)])).await.unwrap();
                    Vec::new()
                }
            };
            // What was told before comes before.
            keep(commits(&mut end, &[]), &mut committed);
            keep(settled, &mut committed);
            self.hand_out(&end, *number, &committed).await;
        }
        let is_left = |record: &Record, committed: &BTreeMap<i32, Commit>| {
            committed.get(&record.partition).is_none_or(|commit| commit.offset <= record.offset)
        };
        loop {
            let settled = revoke(&end, &[0, 1, 2].map(partition)).await;
            keep(commits(&mut end, &[]), &mut committed);
            keep(settled, &mut committed);
            if !self.records.iter().any(|record| is_left(record, &committed)) {
                break;
            }
            for number in 0..3 {
                self.hand_out(&end, number, &committed).await;
            }
        }
        shutdown.cancel();
        drop(end);
        engine.await.unwrap().unwrap();
        self.check_walls(&told);
        self.check_first_order();
        let report = self.flow.status.report();
        assert_eq!(report.unsettled, 0, "{report:?}");
        assert_eq!(report.received, report.delivered + report.skipped + report.dead_lettered, "{report:?}");
    }

    /// Gives a partition out, and tells what is not committed of it.
    async fn hand_out(&self, end: &SourceEnd, number: i32, committed: &BTreeMap<i32, Commit>) {
        let committed = committed.get(&number).cloned();
        let from = committed.as_ref().map_or(0, |commit| commit.offset);
        let start = Start { partition: partition(number), committed };
        end.events.send(Event::Assigned(vec![start])).await.unwrap();
        let is_due = |record: &&Record| record.partition == number && record.offset >= from;
        let records: Vec<_> = self.records.iter().filter(is_due).cloned().collect();
        tell(end, &records).await;
    }

    /// Waits until the partitions that stay are settled. Time is virtual: it passes while everybody waits.
    async fn until_settled(&self, lasting: usize) {
        self.until(|| self.ends().filter(|(partition, _)| *partition != 0).count() >= lasting).await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let looking = async {
            while !done() {
                tokio::task::yield_now().await;
                drop(tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await);
            }
        };
        let looked = tokio::time::timeout(Duration::from_hours(1), looking).await;
        looked.unwrap_or_else(|_| panic!("not within an hour: {:?}", self.flow.status.report()));
    }

    /// Partition and offset of all records that came to their end beyond the worker.
    fn ends(&self) -> impl Iterator<Item = (i32, i64)> + use<> {
        let Sink::Scripted(sink) = &self.flow.sink else { unreachable!() };
        let delivered: Vec<_> = sink.attempts.lock().unwrap().iter().filter(|a| a.2).map(|a| (a.0, a.1)).collect();
        let letters: Vec<_> = self.writer.0.lock().unwrap().1.iter().map(origin).collect();
        let filtered: Vec<_> =
            self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Filtered)).map(|(place, _)| *place).collect();
        delivered.into_iter().chain(letters).chain(filtered)
    }

    fn check_counts(&self) {
        let report = self.flow.status.report();
        let counts = *self.flow.status.counts();
        assert_eq!(report.unsettled, 0, "{report:?}");
        assert_eq!(report.received, report.delivered + report.skipped + report.dead_lettered, "{report:?}");
        let ends: Vec<_> = self.ends().collect();
        let distinct: BTreeSet<_> = ends.iter().collect();
        assert_eq!(distinct.len(), ends.len(), "no record comes to its end twice");
        // Of those given back some may have been on their way: they reached the sink, and will again.
        assert!(report.delivered + report.skipped + report.dead_lettered + counts.returned >= counts.received);
        for record in self.records.iter().filter(|record| record.partition != 0) {
            let place = (record.partition, record.offset);
            if self.has_circuit && matches!(self.fates[&place], Fate::Fails(_)) {
                continue;
            }
            let is_letter = self.writer.0.lock().unwrap().1.iter().any(|letter| origin(letter) == place);
            let expected = matches!(self.fates[&place], Fate::Refused | Fate::Malformed | Fate::Fails(3..));
            assert_eq!(is_letter, expected, "{place:?} {:?}", self.fates[&place]);
        }
    }

    fn check_order(&self) {
        let Sink::Scripted(sink) = &self.flow.sink else { unreachable!() };
        self.check_order_of(sink.attempts.lock().unwrap().iter().map(|attempt| (attempt.0, attempt.1)));
    }

    /// The same where records may be delivered again: by when they were taken first. One that became a dead letter at first may be taken
    /// when it comes again.
    fn check_first_order(&self) {
        let Sink::Scripted(sink) = &self.flow.sink else { unreachable!() };
        let attempts = sink.attempts.lock().unwrap();
        let mut seen = BTreeSet::new();
        let taken = attempts.iter().filter(|attempt| attempt.2).map(|attempt| (attempt.0, attempt.1));
        let taken = taken.filter(|place| !matches!(self.fates[place], Fate::Fails(3..)));
        self.check_order_of(taken.filter(|place| seen.insert(*place)));
    }

    fn check_order_of(&self, places: impl Iterator<Item = (i32, i64)>) {
        let mut last = BTreeMap::new();
        for (partition, offset) in places {
            let record = self.records.iter().find(|r| (r.partition, r.offset) == (partition, offset)).unwrap();
            let lane = match self.ordering {
                Ordering::Key if record.key.is_some() => (partition, record.key.clone()),
                Ordering::Partition => (partition, None),
                Ordering::Key | Ordering::None => continue,
            };
            let before = last.insert(lane, offset).unwrap_or(i64::MIN);
            assert!(before <= offset, "{offset} came after {before}");
        }
    }

    /// All commits lie at or below the first record that has no end; at the end all are committed.
    fn check_commits(&self, commits: &[Commit], settled: &[Commit]) {
        self.check_walls(commits);
        self.check_walls(settled);
        for Commit { partition: id, offset, .. } in settled {
            let last = self.records.iter().filter(|r| r.partition == id.partition).map(|r| r.offset).max();
            assert_eq!(Some(*offset), last.map(|last| last + 1), "{id}");
        }
    }

    fn check_walls(&self, commits: &[Commit]) {
        let ends: BTreeSet<_> = self.ends().collect();
        for Commit { partition: id, offset, .. } in commits {
            let below = self.records.iter().filter(|r| r.partition == id.partition && r.offset < *offset);
            for record in below {
                assert!(ends.contains(&(record.partition, record.offset)), "{id} {offset} passes {}", record.offset);
            }
        }
    }
}

async fn tell(end: &SourceEnd, records: &[Record]) {
    for records in records.chunk_by(|a, b| a.partition == b.partition) {
        let batch = Batch { partition: partition(records[0].partition), records: records.to_vec() };
        end.events.send(Event::Records(batch)).await.unwrap();
    }
}

async fn revoke(end: &SourceEnd, partitions: &[PartitionId]) -> Vec<Commit> {
    let (settled, settlement) = oneshot::channel();
    end.events.send(Event::Revoked(partitions.to_vec(), settled)).await.unwrap();
    settlement.await.unwrap()
}

fn commits(end: &mut SourceEnd, kept: &[Commit]) -> Vec<Commit> {
    let mut positions = kept.to_vec();
    while let Ok(command) = end.commands.try_recv() {
        if let Command::Commit(committed) = command {
            positions.extend(committed);
        }
    }
    positions
}

fn origin(letter: &OutgoingRecord) -> (i32, i64) {
    let header = |name| {
        let header = letter.headers.iter().find(|header| header.name == name).unwrap();
        std::str::from_utf8(header.value.as_ref().unwrap()).unwrap().to_owned()
    };
    (header("sluice-original-partition").parse().unwrap(), header("sluice-original-offset").parse().unwrap())
}

fn partition(partition: i32) -> PartitionId {
    PartitionId { topic: "t".into(), partition }
}

fn record(partition: i32, offset: i64, key: u8, fate: Fate) -> Record {
    let value = match fate {
        Fate::Malformed => "{",
        Fate::Filtered => r#"{"keep": false}"#,
        _ => r#"{"keep": true}"#,
    };
    let key = (key > 0).then(|| vec![key].into());
    Record { key, value: Some(value.into()), ..plain_record(partition, offset) }
}

/// A record without a key.
pub(crate) fn plain_record(partition: i32, offset: i64) -> Record {
    Record {
        topic: "t".into(),
        partition,
        offset,
        timestamp: None,
        log_append_time: false,
        key: None,
        value: Some("v".into()),
        headers: vec![],
    }
}

fn delivery(ordering: Ordering, max_in_flight: u32) -> Delivery {
    let backoff = Backoff { initial: Text::from_millis(100), ..Backoff::default() };
    Delivery {
        ordering,
        max_in_flight,
        retry: Retry { max_attempts: 3, backoff, ..Retry::default() },
        ..Delivery::default()
    }
}

fn flow(fates: BTreeMap<(i32, i64), Fate>, delivery: Delivery, writer: ScriptedWriter) -> Arc<Flow> {
    let script = move |outgoing: &crate::sink::Outgoing<'_>, before: u32| {
        let failure = match fates[&(outgoing.record.partition, outgoing.record.offset)] {
            Fate::Fails(times) if before < times => Failure::Passing { retry_after: None },
            Fate::Refused => Failure::Refusal,
            Fate::Panics => panic!("scripted"),
            _ => return Ok(()),
        };
        Err(DeliveryError { failure, code: "503".into(), message: "scripted".into() })
    };
    let steps = [StepConfig { name: "keep".into(), operation: Operation::Filter(".keep == true".into()) }];
    let job = job(delivery);
    let sink = Sink::Scripted(ScriptedSink { script: Box::new(script), attempts: Mutex::default() });
    let dead_letters = DeadLetters::new(&job, Writer::Scripted(writer));
    let pipeline = Pipeline::compile(&Decode::default(), &steps, None).unwrap();
    Arc::new(Flow::new(&job, pipeline, sink, dead_letters, Arc::new(Status::new(&job))))
}

pub(crate) fn job(delivery: Delivery) -> Job {
    let config = WorkerConfig {
        integration: NamespacedName { namespace: "shop".into(), name: "test".into() },
        source: SourceConfig::Kafka {
            connection: sluice_kafka::KafkaConnection::default(),
            topics: vec!["t".into()],
            group: "g".into(),
            start_from: StartFrom::Earliest,
        },
        decode: Decode::default(),
        steps: vec![],
        sink: SinkConfig::Http(HttpSinkConfig::new("http://unused")),
        delivery,
        dead_letters: "d".into(),
        dead_letter_headers: HeaderStyle::Sluice,
        outgoing: sluice_crds::OutgoingCalls::default(),
        log_level: LogLevel::Info,
    };
    Job { config, generation: 7 }
}
