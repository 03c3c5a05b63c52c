//! Kills, orderly ends and rebalances: nothing is lost, and what is repeated is bounded.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sluice_crds::{Backoff, Delivery, Duration as Text, Retry, wire::WorkerConfig};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Answer, Api, status},
    kafka::Place,
    running::{Worker, config, numbered},
};

#[tokio::test]
async fn every_record_arrives_though_the_worker_is_killed_again_and_again() {
    const RECORDS: usize = 8_000;
    let (place, api) = (Place::new("killed", 4).await, Api::willing().await);
    place.write(numbered(0..RECORDS)).await;
    for killed_at in [500, 2_000, 4_000] {
        let worker = Worker::start(&config(&place, &api.url));
        api.until_numbers(killed_at).await;
        worker.kill();
    }
    let _worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(RECORDS).await;
    place.until_no_lag().await;

    assert_eq!(api.numbers().len(), RECORDS, "nothing is lost");
    let mut last = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in api.taken().iter().map(|body| body["n"].as_i64().unwrap()).filter(|n| seen.insert(*n)) {
        let before = last.insert(n % 10, n).unwrap_or(-1);
        assert!(before < n, "{n} came for the first time after {before}");
    }
}

#[tokio::test]
async fn a_kill_repeats_nothing_that_was_settled_above_a_blocked_record() {
    let place = Place::new("above", 1).await;
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let is_blocked = |n: i64| n % 10 == 3;
    let api = Api::scripted(move |request| {
        let blocked = is_blocked(request.body["n"].as_i64().unwrap()) && !gate.load(Relaxed);
        status(if blocked { 503 } else { 200 })
    })
    .await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1_000)).await;
    api.until_numbers(900).await;
    place.until_noted().await;
    assert_eq!(place.committed().await, [(0, 3)].into());
    worker.kill();

    open.store(true, Relaxed);
    let worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(1_000).await;
    place.until_no_lag().await;
    let repeated: Vec<_> = api.numbers().into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    assert_eq!(worker.status().await.received, 100, "what was settled before is not received again");
    let order: Vec<_> = api.taken().iter().map(|body| body["n"].as_i64().unwrap()).filter(|n| is_blocked(*n)).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn kills_during_retries_leave_the_retry_budget_as_it_was() {
    // Far more than the three lives can use up, however short their waits happen to be.
    const ATTEMPTS: u32 = 20;
    let place = Place::new("budget", 1).await;
    // An attempt that begins while a life is about to end has no end in it.
    let is_dying = Arc::new(AtomicBool::new(false));
    let dies = Arc::clone(&is_dying);
    let after = move || if dies.load(Relaxed) { Duration::from_hours(1) } else { Duration::ZERO };
    let api = Api::scripted(move |_| Answer { after: after(), ..status(503) }).await;
    let usual = config(&place, &api.url);
    let backoff = Backoff { initial: Text::from_millis(1_500), factor: 1, max: Text::from_millis(1_500) };
    let retry = Retry { max_attempts: ATTEMPTS, backoff, ..Retry::default() };
    let config = WorkerConfig { delivery: Delivery { retry, ..usual.delivery.clone() }, ..usual };
    place.write(numbered(0..1)).await;
    let mut first_killed_at = None;
    for lives in 1..=3 {
        let worker = Worker::start(&config);
        crate::until("attempts", async || api.requests().len(), |seen| *seen >= 2 * lives).await;
        is_dying.store(true, Relaxed);
        place.until_noted().await;
        worker.kill();
        is_dying.store(false, Relaxed);
        first_killed_at.get_or_insert_with(chrono::Utc::now);
    }
    let _worker = Worker::start(&config);
    let letter = place.dead_letters(1).await.remove(0);
    place.until_no_lag().await;
    let header = |name: &str| letter.headers.iter().find(|header| header.0 == name).unwrap().1.clone().unwrap();
    assert_eq!(header("sluice-attempts"), ATTEMPTS.to_string().into_bytes());
    let first_failed_at = String::from_utf8(header("sluice-first-failed-at")).unwrap();
    assert!(first_failed_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap() < first_killed_at.unwrap());
    // An attempt that has no end is not counted; each of the three kills can cost one.
    let made = api.requests().len();
    assert!((ATTEMPTS as usize..=ATTEMPTS as usize + 3).contains(&made), "{made} attempts");
}

#[tokio::test]
async fn rebalances_during_retries_leave_the_retry_budget_exactly_as_it_was() {
    // Far more than are made until then, however long the group takes for its rebalances.
    const ATTEMPTS: u32 = 60;
    let place = Place::new("budget-handed-over", 2).await;
    // Slow until the second worker has all partitions, so that there is something left of both budgets then.
    let is_handed_over = Arc::new(AtomicBool::new(false));
    let hands_over = Arc::clone(&is_handed_over);
    let after = move || Duration::from_millis(if hands_over.load(Relaxed) { 0 } else { 1_500 });
    let api = Api::scripted(move |_| Answer { after: after(), ..status(503) }).await;
    let usual = config(&place, &api.url);
    let backoff = Backoff { initial: Text::from_millis(100), factor: 1, max: Text::from_millis(100) };
    let retry = Retry { max_attempts: ATTEMPTS, backoff, ..Retry::default() };
    let config = WorkerConfig { delivery: Delivery { retry, ..usual.delivery.clone() }, ..usual };
    let one_in_each = (0..2).map(|partition| OutgoingRecord {
        partition: Some(partition),
        ..OutgoingRecord::new(place.topic.as_str(), format!(r#"{{"n": {partition}}}"#))
    });
    place.write_records(one_in_each).await;
    let attempts = async || {
        let requests = api.requests();
        [0, 1].map(|n| requests.iter().filter(|request| request.body["n"] == n).count())
    };
    let first = Worker::start(&config);
    crate::until("attempts of both", attempts, |seen| seen.iter().all(|attempts| *attempts >= 2)).await;
    let second = Worker::start(&config);
    second.until_status("one of both", |status| status.partitions == 1).await;
    let before = api.requests().len();
    crate::until("attempts of two workers", async || api.requests().len(), |seen| *seen >= before + 6).await;
    first.terminate();
    assert!(first.ended().await.success());
    let handed_over = (attempts().await, chrono::Utc::now());
    let told = second.until_status("both", |status| status.partitions == 2).await;
    assert_eq!(told.dead_lettered, 0, "there is something left of both budgets: {handed_over:?}");
    is_handed_over.store(true, Relaxed);

    let letters = place.dead_letters(2).await;
    place.until_no_lag().await;
    for letter in letters {
        let header = |name: &str| letter.headers.iter().find(|header| header.0 == name).unwrap().1.clone().unwrap();
        assert_eq!(header("sluice-attempts"), ATTEMPTS.to_string().into_bytes());
        let first_failed_at = String::from_utf8(header("sluice-first-failed-at")).unwrap();
        assert!(first_failed_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap() < handed_over.1);
    }
    let exactly = usize::try_from(ATTEMPTS).unwrap();
    assert_eq!(attempts().await, [exactly, exactly], "handed over after {handed_over:?}");
}

#[tokio::test]
async fn sigterm_lets_what_is_under_way_end_and_repeats_nothing() {
    let place = Place::new("terminated", 2).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_millis(100), ..status(200) }).await;
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..400)).await;
    api.until_numbers(100).await;
    worker.terminate();
    assert!(worker.ended().await.success());
    let taken = api.numbers().len();
    assert!(taken < 400, "it ended in the middle");
    let committed: i64 = place.committed().await.values().sum();
    assert!(committed > 0);

    let worker = Worker::start(&config(&place, &api.url));
    api.until_numbers(400).await;
    place.until_no_lag().await;
    worker.terminate();
    assert!(worker.ended().await.success());
    assert_eq!(place.committed().await, place.ends().await);
    let repeated: Vec<_> = api.numbers().into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

#[tokio::test]
async fn sigterm_does_not_wait_for_an_api_that_never_answers_and_loses_nothing() {
    let place = Place::new("never", 2).await;
    let answers = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&answers);
    let never = || Answer { after: Duration::from_hours(1), ..status(503) };
    let api = Api::scripted(move |_| if gate.load(Relaxed) { status(200) } else { never() }).await;
    let usual = config(&place, &api.url);
    let delivery = Delivery { timeout: Text::from_secs(600), ..usual.delivery.clone() };
    let config = WorkerConfig { delivery, ..usual };
    let worker = Worker::start(&config);
    place.write(numbered(0..200)).await;
    crate::until("requests of all keys", async || api.requests().len(), |seen| *seen >= 10).await;
    worker.terminate();
    let (begin, ended) = (Instant::now(), worker.ended().await);
    // Kubernetes kills after 30 s.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert!(ended.success());
    assert!(place.committed().await.values().all(|offset| *offset == 0), "nothing was settled");

    answers.store(true, Relaxed);
    let worker = Worker::start(&config);
    api.until_numbers(200).await;
    place.until_no_lag().await;
    assert!(api.numbers().values().all(|times| *times == 1));
    assert_eq!(worker.status().await.dead_lettered, 0);
}

#[tokio::test]
async fn sigterm_after_everything_is_settled_leaves_no_lag_and_no_duplicate() {
    let (place, api) = (Place::new("settled", 2).await, Api::willing().await);
    let worker = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1_000)).await;
    api.until_numbers(1_000).await;
    worker.terminate();
    assert!(worker.ended().await.success());
    assert_eq!(place.committed().await, place.ends().await);
    assert!(api.numbers().values().all(|times| *times == 1));
}

/// A group takes no commits while it waits for a member that was killed, for 10 s.
#[tokio::test]
async fn sigterm_while_the_group_waits_for_another_member_repeats_nothing() {
    const RECORDS: usize = 1_000;
    let place = Place::new("amidst", 2).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_millis(20), ..status(200) }).await;
    let config = config(&place, &api.url);
    let (first, second) = (Worker::start(&config), Worker::start(&config));
    for worker in [&first, &second] {
        worker.until_status("its share", |status| status.partitions == 1).await;
    }
    second.kill();
    let _third = Worker::start(&config);
    crate::until("a rebalance", async || place.state().await, |state| state == "PreparingRebalance").await;
    let records = numbered(0..RECORDS).zip((0..2).cycle()).map(|((key, value), partition)| OutgoingRecord {
        key: Some(key.into()),
        partition: Some(partition),
        ..OutgoingRecord::new(place.topic.as_str(), value)
    });
    place.write_records(records).await;
    // Five at a time: it takes longer than until it hears of the rebalance, and than until it commits.
    api.until_numbers(RECORDS * 2 / 5).await;
    first.terminate();
    assert!(first.ended().await.success());

    api.until_numbers(RECORDS).await;
    place.until_no_lag().await;
    let repeated: Vec<_> = api.numbers().into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

#[tokio::test]
async fn a_thread_that_reads_no_more_is_told_to_kubernetes_until_it_reads_again() {
    let place = Place::new("hanging", 2).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_hours(1), ..status(503) }).await;
    let usual = config(&place, &api.url);
    let delivery = Delivery { timeout: Text::from_secs(600), ..usual.delivery.clone() };
    let config = WorkerConfig { delivery, ..usual };
    let first = Worker::start_watched(4, &config);
    let health = async || first.get("/healthz").await;
    place.write(numbered(0..200)).await;
    crate::until("requests of all keys", async || api.requests().len(), |seen| *seen >= 10).await;
    crate::until("it reads", health, |(code, _)| *code == 200).await;
    // Before it gives a partition back it waits for 10 s for what is under way there.
    let _second = Worker::start(&config);
    crate::until("it hangs", health, |(code, _)| *code == 503).await;
    crate::until("it reads again", health, |(code, _)| *code == 200).await;
    assert_eq!(first.status().await.partitions, 1);
}

#[tokio::test]
async fn two_workers_share_the_partitions_and_lose_nothing_when_one_leaves() {
    let place = Place::new("shared", 4).await;
    let api = Api::scripted(|_| Answer { after: Duration::from_millis(5), ..status(200) }).await;
    let first = Worker::start(&config(&place, &api.url));
    place.write(numbered(0..1_000)).await;
    api.until_numbers(200).await;
    let second = Worker::start(&config(&place, &api.url));
    second.until_status("its share", |status| status.partitions == 2).await;
    first.until_status("its share", |status| status.partitions == 2).await;
    place.write(numbered(1_000..2_000)).await;
    api.until_numbers(1_200).await;
    first.terminate();
    assert!(first.ended().await.success());
    second.until_status("all partitions", |status| status.partitions == 4).await;
    place.write(numbered(2_000..3_000)).await;
    api.until_numbers(3_000).await;
    place.until_no_lag().await;

    assert!(api.numbers().values().all(|times| *times == 1), "orderly ends and rebalances repeat nothing");
    let told = second.status().await;
    assert_eq!(told.received, told.delivered + told.skipped + told.dead_lettered + told.unsettled, "{told:?}");
    let mut last = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in api.taken().iter().map(|body| body["n"].as_i64().unwrap()).filter(|n| seen.insert(*n)) {
        let before = last.insert(n % 10, n).unwrap_or(-1);
        assert!(before < n, "{n} came for the first time after {before}");
    }
}
