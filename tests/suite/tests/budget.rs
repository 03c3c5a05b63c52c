//! What the numbers of many Integrations cost the API server and the broker while all of them move: bounds that `make bench-status`
//! measures for thousands; and what a person sees of it who watches them. Alone in its process, because no other operator may look after
//! these Integrations.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use sluice_crds::{Integration, KafkaConnection, Measuring, Topic};
use sluice_kafka::{OutgoingRecord, TopicPartition};
use sluice_suite::{
    Stage,
    lines::{Line, printed_during},
    meter::{during, pause},
    operator::Launch,
    until,
    world::{PATIENCE, judge_topic, producer},
};

const INTEGRATIONS: usize = 30;
/// Numbers are written that often, at most. By default it is half a minute.
const EVERY: Duration = Duration::from_secs(5);
const MEASURING: &str = "{interval: 1s, writeEvery: 5s, groups: 10}";
/// How long records come.
const TIME: Duration = Duration::from_secs(20);

async fn integration(stage: &Stage, number: usize) {
    let spec = "{source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}, replicas: 0, \
                deadLetters: {topicRef: {name: dead}}}";
    let yaml =
        format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: i-{number}}}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
}

/// Its group has read everything so far. Kafka may have to find out first who keeps the offsets of that group.
async fn commit(stage: &Stage, number: usize) {
    let group = format!("{}.i-{number}", stage.namespace);
    let offsets = [(TopicPartition { topic: format!("{}.orders", stage.namespace), partition: 0 }, 0)].into();
    until("an offset is committed", PATIENCE, || async {
        let answers = stage.kafka.commit_group_offsets(&group, &offsets).await.map_err(|error| error.to_string())?;
        if answers.values().all(Result::is_ok) { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await
    .unwrap();
}

/// Of each Integration there are no more lines than the pauses between them allow, and each tells another thing than the one before.
fn are_pleasant(lines: &[Line], time: f64) {
    let mut of_each = BTreeMap::<&str, Vec<&Line>>::new();
    for line in lines {
        of_each.entry(&line.name).or_default().push(line);
    }
    assert_eq!(of_each.len(), INTEGRATIONS);
    let most = time / EVERY.as_secs_f64() + 1.0;
    for lines in of_each.into_values() {
        // The first one tells what there was before.
        let changes = u32::try_from(lines.len() - 1).unwrap();
        assert!(changes > 0 && f64::from(changes) <= most, "{changes} of at most {most}: {lines:?}");
        let repeated = lines.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(repeated, None, "of {lines:?}");
    }
    assert_eq!(Measuring::default().write_every.get(), Duration::from_secs(30), "by default");
}

#[tokio::test]
async fn numbers_that_move_all_the_time_stay_within_the_budget_and_are_pleasant_to_watch() {
    let stage = Stage::begin("budget").await.unwrap();
    let launch = stage.launch_apart("budget").await.unwrap();
    let operator = stage.start(&Launch { measuring: MEASURING, ..launch }).await.unwrap();
    let connection = KafkaConnection { bootstrap_servers: vec![stage.bootstrap.clone()], ..KafkaConnection::default() };
    for topic in ["orders", "dead"] {
        stage.apply_topic(topic, "partitions: 1").await.unwrap();
        let ready = |topic: &Topic| judge_topic(topic, "True").map(drop);
        stage.until(topic, "it is ready", ready).await.unwrap();
    }
    join_all((0..INTEGRATIONS).map(|number| commit(&stage, number))).await;
    join_all((0..INTEGRATIONS).map(|number| integration(&stage, number))).await;
    let lags = async || {
        let all = stage.api::<Integration>().list(&kube::api::ListParams::default()).await.unwrap();
        all.into_iter().filter_map(|one| one.status?.lag).collect::<Vec<_>>()
    };
    until("all are measured", PATIENCE, async || {
        let lags = lags().await;
        if lags == ["0"; INTEGRATIONS] { Ok(()) } else { Err(format!("{lags:?}")) }
    })
    .await
    .unwrap();
    pause(EVERY * 2).await;

    let producer = producer(&connection).unwrap();
    let topic = format!("{}.orders", stage.namespace);
    let begin = Instant::now();
    let moving = during(&operator, async {
        while begin.elapsed() < TIME {
            // So many that two digits always show another number.
            let records = (0..50).map(|_| producer.send(OutgoingRecord::new(topic.as_str(), "{}")));
            join_all(records).await;
            pause(Duration::from_millis(500)).await;
        }
    });
    let (meters, lines) = printed_during(&stage, moving).await.unwrap();
    let [before, after] = meters.unwrap();
    let time = begin.elapsed().as_secs_f64();
    let (writes, reads) = (after.writes - before.writes, after.reads - before.reads);
    let (kafka, groups) = (after.kafka - before.kafka, after.groups - before.groups);
    // Each group once, whenever that is: it has no worker.
    let visits = after.visits - before.visits;
    println!(
        "{INTEGRATIONS} moving Integrations in {time:.0} s: {writes} writes, {reads} reads, {kafka} requests to Kafka"
    );
    let integrations: u32 = INTEGRATIONS.try_into().unwrap();
    let most = f64::from(integrations) * (time / EVERY.as_secs_f64() + 1.0);
    assert!(writes <= most, "{writes} writes of at most {most}");
    assert!(writes >= most / 4.0, "{writes} writes: nothing moved");
    assert!(reads < 1.0, "{reads} reads: numbers need none");
    are_pleasant(&lines, time);
    // A look every second: ten groups, the ends, now and then the beginnings and the partitions.
    assert!(groups <= 10.0 * (time + 1.0), "{groups} groups were asked for");
    let others = kafka - groups - visits;
    assert!(others <= 2.0 * (time + 1.0), "{others} other requests");
    assert!(visits <= f64::from(integrations), "{visits} visits");
    assert!(!lags().await.contains(&"0".to_owned()), "every group was asked");
}
