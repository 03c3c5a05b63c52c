//! What a Kafka sink writes.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::{
    Delivery, Guarantee,
    wire::{KafkaSinkConfig, SinkConfig, WorkerConfig},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    kafka::{Place, Seen},
    running::{Worker, config, filter, map, numbered},
};

/// A worker that writes what it reads to this topic.
pub(crate) fn into(place: &Place, topic: &str) -> (KafkaSinkConfig, WorkerConfig) {
    let sink = KafkaSinkConfig {
        connection: place.connection.clone(),
        topic: topic.to_owned(),
        key: None,
        partition: None,
        headers: BTreeMap::new(),
    };
    (sink.clone(), WorkerConfig { sink: SinkConfig::Kafka(sink), ..config(place, "http://unused") })
}

pub(crate) fn number(seen: &Seen) -> i64 {
    serde_json::from_slice::<serde_json::Value>(seen.value.as_ref().unwrap()).unwrap()["n"].as_i64().unwrap()
}

#[tokio::test]
async fn records_are_written_in_order_per_key_as_the_steps_made_them() {
    let place = Place::new("into", 3).await;
    let target = place.another("entries", 1, &[]).await;
    let (sink, usual) = into(&place, &target);
    let headers = [("tenant".to_owned(), "{{ .tenant }}".to_owned())].into();
    let sink = SinkConfig::Kafka(KafkaSinkConfig { key: Some(".key".into()), headers, ..sink });
    let steps = vec![
        filter("no-multiples-of-ten", "mod!(.n, 10) != 0"),
        map("rename", ". = {\"n\": .n, \"key\": \"of-\" + string!(%key), \"tenant\": \"shop\"}"),
    ];
    let worker = Worker::start(&WorkerConfig { sink, steps, ..usual });
    place.write(numbered(0..500)).await;
    let written = place.read(&target, 450).await;
    place.until_no_lag().await;

    let mut last = BTreeMap::new();
    for one in &written {
        let n = number(one);
        assert_eq!(one.key.as_deref(), Some(format!("of-key-{}", n % 10).as_bytes()));
        assert_eq!(one.headers, [("tenant".to_owned(), Some(b"shop".to_vec()))]);
        assert!(last.insert(n % 10, n).unwrap_or(-1) < n, "{n}");
    }
    let told = worker.until_status("all settled", |status| status.unsettled == 0 && status.received == 500).await;
    assert_eq!((told.delivered, told.skipped, told.dead_lettered), (450, 50, 0));
}

#[tokio::test]
async fn a_record_is_copied_with_all_that_it_has() {
    let place = Place::new("copied", 1).await;
    let target = place.another("copy", 1, &[]).await;
    let _worker = Worker::start(&into(&place, &target).1);
    let record = |key: Option<&'static str>, value: Option<&'static str>| OutgoingRecord {
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: vec![Place::header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
        timestamp: Some(1_795_478_400_000),
        ..OutgoingRecord::new(place.topic.as_str(), "")
    };
    let delivery = [record(Some("a"), Some("no { json")), record(Some("a"), None), record(None, Some(""))];
    place.write_records(delivery.clone()).await;
    let mut written = place.read(&target, 3).await;
    let expected = |record: &OutgoingRecord| Seen {
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        timestamp: record.timestamp,
        headers: record
            .headers
            .iter()
            .map(|h| (h.name.to_string(), h.value.as_ref().map(|value| value.to_vec())))
            .collect(),
    };
    let mut expected: Vec<_> = delivery.iter().map(expected).collect();
    // Those without a key have no order.
    let by_key = |seen: &Seen| (seen.key.clone(), seen.value.is_none());
    written.sort_by_key(by_key);
    expected.sort_by_key(by_key);
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_record_that_the_topic_does_not_take_is_a_dead_letter_and_its_neighbours_are_written() {
    let place = Place::new("too-large", 1).await;
    let target = place.another("small", 1, &[("max.message.bytes", "2000")]).await;
    let worker = Worker::start(&into(&place, &target).1);
    // lz4 makes nothing of noise.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(5_000).collect();
    let large = format!(r#"{{"n": 30, "noise": "{noise}"}}"#);
    let records =
        numbered(0..60).map(|(key, value)| (key, if value == r#"{"n": 30}"# { large.clone() } else { value }));
    place.write(records).await;
    let letters = place.dead_letters(1).await;
    let mut written: Vec<_> = place.read(&target, 59).await.iter().map(number).collect();
    written.sort_unstable();
    assert_eq!(written, (0..60).filter(|n| *n != 30).collect::<Vec<_>>());
    let header = |name: &str| {
        let found = letters[0].headers.iter().find(|(found, _)| found == name).unwrap();
        String::from_utf8(found.1.clone().unwrap()).unwrap()
    };
    assert_eq!(number(&letters[0]), 30);
    assert_eq!(header("sluice-error-class"), "DeliveryError");
    assert_eq!(
        (header("sluice-error-stage"), header("sluice-error-code")),
        ("kafka".into(), "MESSAGE_TOO_LARGE".into())
    );
    place.until_no_lag().await;
    worker.until_status("all are told", |status| status.delivered == 59).await;
    assert_eq!(place.dead_letter_count().await, 1);
}

#[tokio::test]
async fn records_that_are_too_large_together_end_in_order_per_key() {
    const RECORDS: usize = 1_100;
    let place = Place::new("together", 1).await;
    let target = place.another("small", 1, &[("max.message.bytes", "200000")]).await;
    // lz4 makes nothing of noise.
    let noise = || std::iter::repeat_with(fastrand::alphanumeric).take(1_024).collect::<String>();
    let record = |n: usize| (format!("key-{}", n % 10), format!(r#"{{"n": {n}, "noise": "{}"}}"#, noise()));
    // Before the worker is there, so that it has many of them at once.
    place.write((0..RECORDS).map(record)).await;
    let worker = Worker::start(&into(&place, &target).1);
    place.until_no_lag().await;
    let written = place.read_all(&target, "last-of-together").await;
    let all: BTreeSet<_> = written.iter().map(number).collect();
    assert_eq!(all.len(), RECORDS);
    let last: BTreeMap<_, _> = written.iter().map(|one| (one.key.clone(), number(one))).collect();
    let expected: BTreeSet<_> = (RECORDS - 10..RECORDS).map(|n| i64::try_from(n).unwrap()).collect();
    assert_eq!(last.into_values().collect::<BTreeSet<_>>(), expected);
    let told = worker.until_status("all settled", |told| told.received == 1_100 && told.unsettled == 0).await;
    assert_eq!((told.delivered, told.dead_lettered), (1_100, 0));
}

#[tokio::test]
async fn a_record_says_its_partition_and_one_that_there_is_not_makes_it_a_dead_letter() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let place = Place::new("partitioned", 2).await;
        let target = place.another("thirds", 3, &[]).await;
        let (sink, usual) = into(&place, &target);
        let partition = "if .n == 7 { 9 } else if .n == 8 { -1 } else { mod(int!(.n), 3) }";
        let sink = SinkConfig::Kafka(KafkaSinkConfig { partition: Some(partition.into()), ..sink });
        let delivery = Delivery { guarantee, ..usual.delivery.clone() };
        let worker = Worker::start(&WorkerConfig { sink, delivery, ..usual });
        place.write(numbered(0..60)).await;
        place.until_no_lag().await;
        for partition in 0..3 {
            let expected: Vec<_> = (0..60).filter(|n| n % 3 == i64::from(partition) && ![7, 8].contains(n)).collect();
            let written = place.read_partition(&target, partition, expected.len()).await;
            let mut written: Vec<_> = written.iter().map(number).collect();
            written.sort_unstable();
            assert_eq!(written, expected, "{guarantee:?}, partition {partition}");
        }
        let mut letters = place.dead_letters(2).await;
        letters.sort_by_key(number);
        let reasons = letters.iter().map(|letter| {
            ["class", "stage", "code"].map(|reason| {
                let name = format!("sluice-error-{reason}");
                let (_, value) = letter.headers.iter().find(|(found, _)| *found == name).unwrap();
                String::from_utf8(value.clone().unwrap()).unwrap()
            })
        });
        let expected = [["DeliveryError", "kafka", "_UNKNOWN_PARTITION"], ["DataError", "kafka", "InvalidAddress"]];
        assert_eq!(reasons.collect::<Vec<_>>(), expected, "{guarantee:?}");
        assert_eq!(letters.iter().map(number).collect::<Vec<_>>(), [7, 8]);
        let told = worker.until_status("all settled", |told| told.received == 60 && told.unsettled == 0).await;
        assert_eq!((told.delivered, told.dead_lettered), (58, 2), "{told:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_holds_up_no_other_partition() {
    let place = Place::new("stuck", 2).await;
    let small = [("max.message.bytes", "2000")];
    let (target, letters) = (place.another("small", 1, &small).await, place.another("letters", 1, &small).await);
    let worker = Worker::start(&WorkerConfig { dead_letters: letters, ..into(&place, &target).1 });
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(5_000).collect();
    let record = |partition, n: usize, noise: &str| OutgoingRecord {
        partition: Some(partition),
        ..OutgoingRecord::new(place.topic.as_str(), format!(r#"{{"n": {n}, "noise": "{noise}"}}"#))
    };
    place.write_records([record(0, 0, &noise)]).await;
    worker.until_status("its dead letter is refused", |status| status.trouble.is_some()).await;
    place.write_records((1..50).map(|n| record(1, n, ""))).await;
    assert_eq!(place.read(&target, 49).await.len(), 49);
    let committed = async || place.committed().await;
    let committed = crate::until("the other one is committed", committed, |seen| seen.get(&1) == Some(&49)).await;
    assert_eq!(committed[&0], 0);
    assert!(worker.status().await.trouble.is_some());
}

#[tokio::test]
async fn a_topic_that_is_missing_is_waited_for() {
    let place = Place::new("missing", 1).await;
    let target = format!("{}-later", place.topic);
    let worker = Worker::start(&into(&place, &target).1);
    place.write(numbered(0..3)).await;
    worker
        .until_status("the topic is missed", |status| {
            status.trouble.as_ref().is_some_and(|trouble| trouble.contains(&target))
        })
        .await;
    place.create(&target).await;
    assert_eq!(place.read(&target, 3).await.len(), 3);
    place.until_no_lag().await;
    assert_eq!(place.dead_letter_count().await, 0);
}

/// SIGKILLs and members that come and go: nothing is lost, and the last of each key is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_rebalances_lose_nothing_and_end_in_order() {
    const RECORDS: usize = 20_000;
    let place = Place::new("into-killed", 4).await;
    let target = place.another("entries", 1, &[]).await;
    let config = into(&place, &target).1;
    let mut workers = vec![Worker::start(&config), Worker::start(&config)];
    for step in 0..4 {
        let part = RECORDS / 4;
        place.write(numbered(step * part..(step + 1) * part)).await;
        let look = async || place.written(&target).await;
        crate::until("progress", look, |written| *written > step * part + part / 4).await;
        workers.remove(0).kill();
        workers.push(Worker::start(&config));
    }
    place.until_no_lag().await;
    let written = place.read_all(&target, "last-of-into-killed").await;
    let all: BTreeSet<_> = written.iter().map(number).collect();
    assert_eq!(all.len(), RECORDS);
    let last: BTreeMap<_, _> = written.iter().map(|one| (one.key.clone(), number(one))).collect();
    let expected: BTreeSet<_> = (RECORDS - 10..RECORDS).map(|n| i64::try_from(n).unwrap()).collect();
    assert_eq!(last.into_values().collect::<BTreeSet<_>>(), expected);
}
