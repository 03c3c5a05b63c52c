//! Exactly once on a real broker: readers of committed records see each record once. `conserving` kills workers and broker meanwhile.

use std::collections::BTreeMap;

use sluice_crds::{
    Delivery, Guarantee,
    wire::{WorkerConfig, WorkerStatus},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    into_kafka::{into, number},
    kafka::{Place, Seen},
    running::{Worker, filter, numbered},
};

pub(crate) fn exactly_once(place: &Place, target: &str) -> WorkerConfig {
    let (_, usual) = into(place, target);
    let delivery = Delivery { guarantee: Guarantee::ExactlyOnce, ..usual.delivery.clone() };
    WorkerConfig { delivery, ..usual }
}

/// Every number once, and those of each key in order.
pub(crate) fn assert_once(written: &[Seen], expected: impl IntoIterator<Item = i64>) {
    let mut last = BTreeMap::new();
    for one in written {
        let n = number(one);
        assert!(last.insert(one.key.clone(), n).unwrap_or(-1) < n, "{n} twice or too late");
    }
    let mut numbers: Vec<_> = written.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(expected), "{} records", written.len());
}

#[tokio::test]
async fn records_dead_letters_and_offsets_are_written_together() {
    let place = Place::new("once", 3).await;
    let target = place.another("entries", 1, &[]).await;
    let steps = vec![filter("no-multiples-of-ten", "mod!(.n, 10) != 0")];
    let worker = Worker::start_as("one", &WorkerConfig { steps, ..exactly_once(&place, &target) });
    place.write(numbered(0..500)).await;
    place
        .write_records([OutgoingRecord {
            key: Some("x".into()),
            ..OutgoingRecord::new(place.topic.as_str(), "no json")
        }])
        .await;
    place.until_no_lag().await;
    assert_once(&place.read_all(&target, "last-of-once").await, (0..500).filter(|n| n % 10 != 0));
    assert_eq!(place.dead_letters(1).await[0].value.as_deref(), Some(&b"no json"[..]));
    let is_well = |status: &WorkerStatus| status.received == 501 && status.unsettled == 0 && status.trouble.is_none();
    let told = worker.until_status("all settled", is_well).await;
    assert_eq!((told.delivered, told.skipped, told.dead_lettered), (450, 50, 1));
}

#[tokio::test]
async fn a_record_that_the_topic_does_not_take_is_a_dead_letter_of_the_same_transaction() {
    let place = Place::new("once-large", 1).await;
    let target = place.another("small", 1, &[("max.message.bytes", "2000")]).await;
    let worker = Worker::start_as("one", &exactly_once(&place, &target));
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(5_000).collect();
    let records = numbered(0..40).map(|(key, value)| match value.as_str() {
        r#"{"n": 10}"# | r#"{"n": 30}"# => (key, value.replace('}', &format!(r#", "noise": "{noise}"}}"#))),
        _ => (key, value),
    });
    place.write(records).await;
    place.until_no_lag().await;
    assert_once(&place.read_all(&target, "last-of-large").await, (0..40).filter(|n| ![10, 30].contains(n)));
    let mut letters: Vec<_> = place.dead_letters(2).await.iter().map(number).collect();
    letters.sort_unstable();
    assert_eq!(letters, [10, 30]);
    // Kafka takes the transaction before the worker hears of it.
    worker.until_status("both are told", |status| status.dead_lettered == 2).await;
}

#[tokio::test]
async fn a_lag_of_other_peoples_markers_does_not_stay() {
    let place = Place::new("once-markers", 1).await;
    let (first, second) = (place.another("first", 1, &[]).await, place.another("second", 1, &[]).await);
    let _first = Worker::start_as("one", &exactly_once(&place, &first));
    let next = place.following(&first);
    crate::until("a leader", async || next.leads().await, |leads| *leads).await;
    let _second = Worker::start_as("one", &exactly_once(&next, &second));
    place.write(numbered(0..20)).await;
    place.until_no_lag().await;
    next.until_no_lag().await;
    assert_once(&place.read_all(&second, "last-of-markers").await, 0..20);
}

#[tokio::test]
async fn a_group_that_went_on_without_a_worker_takes_nothing_from_it() {
    let place = Place::new("once-stopped", 2).await;
    let target = place.another("entries", 1, &[]).await;
    let config = exactly_once(&place, &target);
    let stopped = Worker::start_as("stopped", &config);
    place.write(numbered(0..2_000)).await;
    crate::until("progress", async || place.written(&target).await, |written| *written > 0).await;
    stopped.signal("STOP");
    let other = Worker::start_as("other", &config);
    place.write(numbered(2_000..4_000)).await;
    // It is missed after its session of 10 s.
    place.until_no_lag().await;
    stopped.signal("CONT");
    place.write(numbered(4_000..6_000)).await;
    place.until_no_lag().await;
    let both = async || (stopped.status().await.partitions, other.status().await.partitions);
    crate::until("one partition for each", both, |seen| *seen == (1, 1)).await;
    place.write(numbered(6_000..7_000)).await;
    place.until_no_lag().await;
    assert_once(&place.read_all(&target, "last-of-stopped").await, 0..7_000);
}
