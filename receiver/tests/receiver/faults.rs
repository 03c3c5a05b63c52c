//! Kafka is away, the receiver is killed, the sender hangs up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use sluice_cluster::{Cluster, Component, Part, State, testing::OwnCluster};
use sluice_crds::wire::DeferredBecause;
use tokio::time::{interval, timeout};

use crate::{
    kafka::{connection, connection_to, records, topic},
    running::{CONTAINER, Running, SECRET, SHORT, Setup, free_address},
    sender::{Sender, fresh_id},
    until,
};

/// How soon senders are sent back that do not wait for longer than `SHORT`.
const SOON: Duration = Duration::from_secs(4);

/// Sends events until one is sent back before its sender gives up, which a machine that stands still may hinder; none is accepted. How
/// many it sent.
async fn until_sent_back_in_time(receiver: &Running) -> u64 {
    for sent in 1..=5 {
        let start = Instant::now();
        let answer = receiver.post("{}").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
        if start.elapsed() < SOON {
            return sent;
        }
    }
    panic!("patience is {SHORT}; each of them took longer than {SOON:?}");
}

#[tokio::test]
async fn a_receiver_without_kafka_lives_is_not_ready_and_acknowledges_nothing() {
    let mut setup = Setup::new(connection_to(free_address().to_string()), "shop.github");
    setup.config.patience = SHORT;
    let mut receiver = setup.start();
    let alive = async || Sender::to(receiver.status).get("/healthz").await.map(|answer| answer.status).ok();
    until(alive, |status| *status == Some(200)).await;

    let sent = until_sent_back_in_time(&receiver).await;
    assert!(!receiver.is_ready().await);
    until(
        async || receiver.status().await.trouble,
        |trouble| trouble.as_ref().is_some_and(|trouble| trouble.contains("no answer from Kafka")),
    )
    .await;
    let status = receiver.status().await;
    let deferred: u64 = [DeferredBecause::NotWritten, DeferredBecause::Unconfirmed]
        .iter()
        .filter_map(|because| status.deferred.get(because))
        .sum();
    assert_eq!((status.accepted, deferred), (0, sent));
    assert_eq!(receiver.ended(), None);
}

#[tokio::test]
async fn an_event_whose_topic_does_not_exist_is_known_not_to_be_written_before_its_sender_gives_up() {
    for _ in 0..3 {
        let mut setup = Setup::new(connection(), "receiver-test.missing");
        setup.config.patience = SHORT;
        let receiver = setup.start();
        until(async || receiver.log().contains("does not exist"), |told| *told).await;
        let start = Instant::now();
        assert_eq!(receiver.post("{}").await.status, 503);
        let (took, deferred) = (start.elapsed(), receiver.status().await.deferred);
        if deferred == [(DeferredBecause::NotWritten, 1)].into() {
            return;
        }
        // The sender gives up first where the machine stands still for a moment.
        assert!(took >= SHORT.get(), "{deferred:?}");
    }
    panic!("no sender waited for long enough");
}

#[tokio::test]
async fn while_the_broker_is_stopped_senders_are_asked_to_come_back_and_then_nothing_is_lost() {
    let cluster = OwnCluster::up("receiver-broker", &[Part::Kafka]).unwrap();
    let broker = cluster.component(Component::Kafka);
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let mut setup = Setup::new(kafka.clone(), &topic);
    setup.config.patience = SHORT;
    let receiver = setup.ready().await;
    until(async || receiver.post("{}").await.status, |status| *status == 202).await;

    broker.stop().unwrap();
    let sender = Sender::to(receiver.endpoint);
    for id in ["e-1", "e-2"] {
        let answer = sender.signed(SECRET, id, "{}").await.unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    }
    until_sent_back_in_time(&receiver).await;
    let told = until(async || receiver.status().await.kafka_trouble, Option::is_some).await.unwrap();
    assert!(told.contains("no answer from Kafka"), "{told}");
    // It goes on answering for itself, with Retry-After.
    assert!(receiver.is_ready().await);

    broker.start().unwrap();
    for id in ["e-1", "e-2"] {
        until(async || sender.signed(SECRET, id, "{}").await.unwrap().status, |status| *status == 202).await;
    }
    until(async || receiver.status().await.kafka_trouble, Option::is_none).await;
    let written: BTreeSet<_> =
        records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert!(["e-1", "e-2"].iter().all(|id| written.contains(*id)), "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_outlives_a_receiver_that_is_killed() {
    let topic = topic(&connection(), &[]).await;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        let mut receiver = Setup::new(connection(), &topic).ready().await;
        let senders = join_all((0..16).map(|_| send_until_refused(Sender::to(receiver.endpoint))));
        let kill = async {
            until(async || receiver.status().await.accepted, |accepted| *accepted > 200).await;
            receiver.kill();
        };
        let (ids, ()) = futures::join!(senders, kill);
        acknowledged.extend(ids.into_iter().flatten());
    }
    assert!(acknowledged.len() > 600, "{}", acknowledged.len());
    let written: Vec<_> =
        records(&connection(), &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !written.contains(id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
}

/// Sends until nobody answers; the ids of what was acknowledged.
async fn send_until_refused(sender: Sender) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let id = fresh_id();
        match sender.signed(SECRET, &id, "{}").await {
            Ok(answer) => assert_eq!(answer.status, 202),
            Err(_) => return acknowledged,
        }
        acknowledged.push(id);
    }
}

#[tokio::test]
async fn an_event_whose_sender_hung_up_is_remembered_all_the_same() {
    let cluster = patient_cluster("receiver-hang-up");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let receiver = Setup::new(kafka.clone(), &topic).ready().await;
    assert_eq!(receiver.post("{}").await.status, 202);
    for (id, sender) in [("http1", Sender::to(receiver.endpoint)), ("http2", Sender::http2(receiver.endpoint))] {
        let paused = Paused::broker(&cluster);
        let impatient = timeout(Duration::from_millis(500), sender.signed(SECRET, id, "{}")).await;
        assert!(impatient.is_err(), "{id}: answered without the broker");
        drop(paused);
        until(async || sender.signed(SECRET, id, "{}").await.unwrap().status, |status| *status == 202).await;
    }
    let written: Vec<_> = records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(written[1..], ["http1", "http2"]);
}

/// A broker stands still for longer than senders wait, than librdkafka waits for an answer, and than Kafka itself takes it for alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_whose_senders_do_not_wait_for_a_broker_that_stands_still_are_written_once() {
    const EVENTS: usize = 50;
    const STILL: Duration = Duration::from_secs(12);
    let cluster = patient_cluster("receiver-still");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let mut setup = Setup::new(kafka.clone(), &topic);
    setup.config.patience = SHORT;
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    until(async || sender.signed(SECRET, "before", "{}").await.unwrap().status, |status| *status == 202).await;

    let before = receiver.status().await;
    let (paused, start) = (Paused::broker(&cluster), Instant::now());
    let ids: Vec<String> = (0..EVENTS).map(|_| fresh_id()).collect();
    let mut took = Vec::new();
    for ids in ids.chunks(EVENTS / 2) {
        let start = Instant::now();
        let first = join_all(ids.iter().map(|id| sender.signed(SECRET, id, "{}"))).await;
        let first: BTreeSet<_> = first.into_iter().map(|answer| answer.unwrap().status).collect();
        assert_eq!(first, [503].into(), "nobody is told that an event is safe");
        took.push(start.elapsed());
    }
    assert!(took.iter().any(|took| *took < SOON), "patience is {SHORT}; it took {took:?}");
    // Meanwhile nobody writes an event again that is on its way, and nobody calls it a duplicate.
    let still = async || {
        assert_eq!(sender.signed(SECRET, &ids[0], "{}").await.unwrap().status, 503);
        (start.elapsed(), receiver.status().await.deferred)
    };
    let is_enough =
        |deferred: &BTreeMap<DeferredBecause, u64>| *deferred.get(&DeferredBecause::InProgress).unwrap_or(&0) > 10;
    let (_, deferred) = until(still, |(still, deferred)| *still > STILL && is_enough(deferred)).await;
    let events = u64::try_from(EVENTS).unwrap();
    let unconfirmed = before.deferred.get(&DeferredBecause::Unconfirmed).copied().unwrap_or_default() + events;
    assert_eq!(deferred[&DeferredBecause::Unconfirmed], unconfirmed, "{deferred:?}");
    drop(paused);
    let retries = ids.iter().map(|id| {
        let sender = &sender;
        until(async move || sender.signed(SECRET, id, "{}").await.unwrap().status, |status| *status == 202)
    });
    join_all(retries).await;

    let mut written: Vec<_> =
        records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    written.sort_unstable();
    let mut expected: Vec<_> = ids.into_iter().chain(["before".to_owned()]).collect();
    expected.sort_unstable();
    assert_eq!(written, expected);
    // What was written late is counted, and what was asked for again is a duplicate.
    let status = receiver.status().await;
    assert_eq!((status.accepted, status.duplicates), (events + 1, before.duplicates + events));
}

/// All that are sent at once are twice what a receiver holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_kafka_that_does_not_answer_costs_no_memory_and_no_event_that_was_acknowledged() {
    let cluster = patient_cluster("receiver-pressure");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let mut setup = Setup::new(kafka.clone(), &topic);
    setup.config.patience = SHORT;
    let receiver = setup.ready().await;
    let is_over = AtomicBool::new(false);
    let sender = |number| {
        let endpoint = receiver.endpoint;
        if number % 2 == 0 { Sender::to(endpoint) } else { Sender::http2(endpoint) }
    };
    let senders = join_all((0..256).map(|number| send_until(&is_over, sender(number))));
    let outage = async {
        let accepted = async || receiver.status().await.accepted;
        until(accepted, |accepted| *accepted > 50).await;
        let paused = Paused::broker(&cluster);
        let deferred = async || receiver.status().await.deferred;
        until(deferred, is_under_pressure).await;
        assert!(receiver.is_ready().await, "it goes on answering for itself");
        drop(paused);
        let before = receiver.status().await.accepted;
        until(accepted, |accepted| *accepted > before + 50).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = futures::join!(senders, outage);
    let memory = receiver.peak_memory();
    assert!(memory < CONTAINER, "{memory} bytes");
    let deferred: usize = sent.iter().map(|sent| sent.deferred).sum();
    let acknowledged: BTreeSet<String> = sent.into_iter().flat_map(|sent| sent.acknowledged).collect();
    let written: BTreeSet<_> =
        records(&kafka, &topic).await.into_iter().map(|record| record.headers["ce_id"].clone()).collect();
    let lost: Vec<_> = acknowledged.difference(&written).collect();
    assert!(acknowledged.len() > 100 && deferred > 100, "{} and {deferred}", acknowledged.len());
    assert!(lost.is_empty(), "{lost:?}");
}

/// Whether many events were sent back because others fill the memory, and many because Kafka did not take them.
fn is_under_pressure(deferred: &BTreeMap<DeferredBecause, u64>) -> bool {
    let count = |because| deferred.get(&because).copied().unwrap_or_default();
    let unwritten = count(DeferredBecause::NotWritten) + count(DeferredBecause::Unconfirmed);
    // As many as fit in memory: they stay there until Kafka answers.
    unwritten > 60 && count(DeferredBecause::Busy) > 100
}

/// What became of one sender's events.
#[derive(Default)]
struct Sent {
    /// The ids of those that were acknowledged.
    acknowledged: Vec<String>,
    /// How many are to be sent again later.
    deferred: usize,
}

/// Sends large events until it is over.
async fn send_until(is_over: &AtomicBool, sender: Sender) -> Sent {
    const BODY: usize = 128 * 1024;
    let (body, mut sent) = (Bytes::from(vec![b'x'; BODY]), Sent::default());
    // Nobody comes again at once.
    let mut pace = interval(Duration::from_millis(100));
    while !is_over.load(Ordering::Relaxed) {
        pace.tick().await;
        let id = fresh_id();
        // Over HTTP/1 an answer that comes before the body is sent may be lost with the connection: then nothing is acknowledged.
        let answer = timeout(Duration::from_secs(30), sender.signed(SECRET, &id, body.clone())).await;
        let Ok(Ok(answer)) = answer else { continue };
        if answer.status == 202 {
            sent.acknowledged.push(id);
        } else {
            assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
            sent.deferred += 1;
        }
    }
    sent
}

/// A cluster whose broker may stand still for a while. It is its own controller, which would take it for dead when both go on, and for alive again
/// a moment later; where there are several, another broker leads by then.
pub(crate) fn patient_cluster(purpose: &str) -> OwnCluster {
    let cluster = OwnCluster::up(purpose, &[Part::Kafka]).unwrap();
    let broker = cluster.component(Component::Kafka);
    broker.stop().unwrap();
    broker.add_settings("broker.session.timeout.ms=120000").unwrap();
    broker.start().unwrap();
    cluster
}

/// A broker that does nothing until this is dropped, and does not know it.
pub(crate) struct Paused(Pid);

impl Paused {
    pub(crate) fn broker(cluster: &Cluster) -> Self {
        let State::Running { pid, .. } = cluster.component(Component::Kafka).state() else { panic!("no broker") };
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let paused = Self(pid);
        // Until one of its threads has taken the signal and stopped the others, they go on.
        let begin = Instant::now();
        while let Some(going) = threads(pid).find(|stat| !stat.contains(") T ")) {
            assert!(begin.elapsed() < Duration::from_secs(30), "it goes on: {going}");
            thread::sleep(Duration::from_millis(1));
        }
        paused
    }
}

/// What the kernel tells of each thread of a process.
fn threads(pid: Pid) -> impl Iterator<Item = String> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default())
}

impl Drop for Paused {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}
