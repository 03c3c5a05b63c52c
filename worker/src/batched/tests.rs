//! How long partitions that go are waited for, and what is told of what cannot be written. Time is virtual.

use std::{collections::BTreeMap, future::pending};

use sluice_crds::{
    Decode, Delivery, Guarantee,
    wire::{KafkaSinkConfig, SinkConfig},
};
use sluice_kafka::{Compression, KafkaConnection};
use sluice_telemetry::traces::Tracer;
use tokio::time::timeout;

use super::*;
use crate::{
    engine::tests::{job, plain_record},
    source::{Batch, SourceEnd, Start, channels},
};

/// An engine that is writing three records of the only partition.
struct Story {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    source: SourceEnd,
    /// Ends the writing.
    end: oneshot::Sender<End>,
}

fn id() -> PartitionId {
    PartitionId { topic: "t".into(), partition: 0 }
}

fn commit(offset: i64) -> Commit {
    Commit { partition: id(), offset, note: String::new() }
}

fn start() -> Start {
    Start { partition: id(), committed: Some(commit(0)) }
}

/// What nobody listens to: the test has its own ends of what is written.
fn writer(guarantee: Guarantee, connection: &KafkaConnection) -> Writer {
    match guarantee {
        Guarantee::AtLeastOnce => {
            let connect = |connection: &KafkaConnection| BatchProducer::connect(connection, Compression::Lz4);
            Writer::AtLeastOnce(Renewed::connect(connection, connect).unwrap())
        }
        Guarantee::ExactlyOnce => {
            let connect =
                |connection: &KafkaConnection| TransactionalProducer::connect(connection, "id", Compression::Lz4);
            Writer::ExactlyOnce(Renewed::connect(connection, connect).unwrap())
        }
    }
}

fn story(guarantee: Guarantee) -> Story {
    let connection =
        KafkaConnection { bootstrap_servers: vec!["127.0.0.1:1".to_owned()], ..KafkaConnection::default() };
    let sink = KafkaSinkConfig {
        connection: connection.clone(),
        topic: "entries".to_owned(),
        key: None,
        partition: None,
        headers: BTreeMap::new(),
    };
    let job = job(Delivery { guarantee, ..Delivery::default() });
    let delivering = Delivering {
        pipeline: Pipeline::compile(&Decode::default(), &[], Some(&SinkConfig::Kafka(sink))).unwrap(),
        topic: "entries".into(),
        letters: Letters::new(&job),
        writer: writer(guarantee, &connection),
        status: Arc::new(Status::new(&job)),
        spans: Spans::new(&job, Tracer::default()),
    };
    let (Source { events, commands }, source) = channels();
    let mut engine = Engine::new(&job, delivering, commands);
    engine.batches.assign(start());
    engine.batches.receive(Batch { partition: id(), records: (0..3).map(|offset| plain_record(0, offset)).collect() });
    engine.prepare();
    assert!(engine.batches.next());
    let (end, ended) = oneshot::channel();
    let ended = Box::pin(async move { ended.await.unwrap() });
    engine.writing = Some(Writing { begin: Instant::now(), end: ended, traced: vec![] });
    Story { engine, events, source, end }
}

/// What the engine says is written, and how long it took to say so.
async fn revoke(source: &SourceEnd) -> (Vec<Commit>, Duration) {
    let (settled, settlement) = oneshot::channel();
    let begin = Instant::now();
    source.events.send(Event::Revoked(vec![id()], settled)).await.unwrap();
    (settlement.await.unwrap(), begin.elapsed())
}

/// What is said of one record, by its place.
fn not_written(guarantee: Guarantee, place: usize, code: ErrorCode) -> End {
    let error = KafkaError { code, message: "on purpose".to_owned() };
    match (guarantee, code == ErrorCode::MESSAGE_TOO_LARGE) {
        (Guarantee::AtLeastOnce, true) => End::Batch(Unwritten { refused: vec![(place, error)], failed: vec![] }),
        (Guarantee::AtLeastOnce, false) => End::Batch(Unwritten { refused: vec![], failed: vec![(place, error)] }),
        (Guarantee::ExactlyOnce, true) => End::Transaction(Err(TransactionError::Refused { record: place, error })),
        (Guarantee::ExactlyOnce, false) => {
            End::Transaction(Err(TransactionError::Aborted { record: Some(place), error }))
        }
    }
}

fn all_written(guarantee: Guarantee) -> End {
    match guarantee {
        Guarantee::AtLeastOnce => End::Batch(Unwritten::default()),
        Guarantee::ExactlyOnce => End::Transaction(Ok(())),
    }
}

/// What is committed outside of transactions.
fn committed(guarantee: Guarantee, offset: i64) -> Vec<Commit> {
    match guarantee {
        Guarantee::AtLeastOnce => vec![commit(offset)],
        Guarantee::ExactlyOnce => vec![],
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_ends_in_time_is_waited_for() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let Story { engine, events, source, end } = story(guarantee);
        let ending = async {
            drop(timeout(DRAIN / 2, pending::<()>()).await);
            assert!(end.send(all_written(guarantee)).is_ok());
        };
        let told = async {
            let ((commits, took), ()) = tokio::join!(revoke(&source), ending);
            assert_eq!(commits, committed(guarantee, 3), "{guarantee:?}");
            assert!(took >= DRAIN / 2 && took < DRAIN, "{guarantee:?}: {took:?}");
            drop(source);
        };
        let (ended, ()) = tokio::join!(engine.run(events, CancellationToken::new()), told);
        assert!(ended.is_err(), "nobody has asked it to end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_too_long_is_not_waited_for_and_its_end_is_nobody_elses() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let Story { engine, events, source, end } = story(guarantee);
        let status = Arc::clone(&engine.delivering.status);
        let told = async {
            let (commits, took) = revoke(&source).await;
            assert_eq!(commits, committed(guarantee, 0), "{guarantee:?}");
            assert!(took >= DRAIN && took < DRAIN + Duration::from_millis(10), "{guarantee:?}: {took:?}");

            // It comes back, from what is committed, before the end of what is still being written is known.
            source.events.send(Event::Assigned(vec![start()])).await.unwrap();
            assert!(end.send(all_written(guarantee)).is_ok());
            let (commits, took) = revoke(&source).await;
            assert_eq!(commits, committed(guarantee, 0), "{guarantee:?}");
            assert!(took < DRAIN, "{guarantee:?}: {took:?}");
            drop(source);
        };
        let (ended, ()) = tokio::join!(engine.run(events, CancellationToken::new()), told);
        assert!(ended.is_err(), "nobody has asked it to end");
        let told = status.report();
        assert_eq!((told.received, told.delivered, told.unsettled), (3, 3, 0), "{guarantee:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_committed_again_at_once_when_a_rebalance_is_over() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let Story { mut engine, source, .. } = story(guarantee);
        engine.commit();
        engine.commit();
        let told = || source.commands.try_iter().collect::<Vec<_>>();
        let expected = || match guarantee {
            Guarantee::AtLeastOnce => vec![Command::Commit(vec![commit(0)])],
            Guarantee::ExactlyOnce => vec![],
        };
        assert_eq!(told(), expected(), "{guarantee:?}: what is no news is told once");
        engine.handle(Event::Rebalanced(None));
        assert_eq!(told(), expected(), "{guarantee:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_told_of_the_topic_that_it_goes_to() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let Story { mut engine, .. } = story(guarantee);
        let status = Arc::clone(&engine.delivering.status);
        let mut end = |end: End| {
            engine.finish(&Attempt { took: Duration::ZERO, traced: vec![] }, end);
            assert!(engine.batches.next_stuck(usize::MAX));
            let letter = engine.batches.outputs().position(|output| matches!(output.fate, Fate::Bury(_)));
            (letter, status.report().trouble)
        };
        // It becomes a dead letter.
        let (letter, trouble) = end(not_written(guarantee, 1, ErrorCode::MESSAGE_TOO_LARGE));
        assert_eq!(trouble, None, "{guarantee:?}");
        let letter = letter.unwrap();
        for code in [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::MESSAGE_TOO_LARGE] {
            let (_, trouble) = end(not_written(guarantee, letter, code));
            let trouble = trouble.unwrap();
            assert!(trouble.starts_with("dead letters cannot be written to topic \"d\""), "{guarantee:?}: {trouble}");
            assert!(!trouble.contains("entries"), "{guarantee:?}: {trouble}");
        }
        assert_eq!(status.report().sink_failure, None, "{guarantee:?}: the sink takes what it is given");
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_written_are_told_of_the_topic_of_the_sink() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let Story { mut engine, .. } = story(guarantee);
        let attempt = Attempt { took: Duration::ZERO, traced: vec![] };
        engine.finish(&attempt, not_written(guarantee, 2, ErrorCode::REQUEST_TIMED_OUT));
        let report = engine.delivering.status.report();
        let trouble = report.trouble.unwrap();
        assert!(trouble.starts_with("records cannot be written to topic \"entries\""), "{guarantee:?}: {trouble}");
        assert!(report.sink_failure.is_some(), "{guarantee:?}");
    }
}
