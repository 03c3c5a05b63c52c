//! What other tools change is found by one look at all topics of a cluster in each interval: what that costs does not grow with the Topics.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sluice_crds::Topic;
use sluice_kafka::ConfigChange;
use sluice_suite::{
    Stage,
    meter::{Meter, during, pause},
    operator::{Launch, Operator},
    until,
    world::{PATIENCE, judge_topic},
};

use crate::ALONE;

const TOPICS: usize = 20;
/// How often the operator looks.
const INTERVAL: Duration = Duration::from_secs(5);
const INTERVALS: u32 = 3;
/// A look asks for the topics, and for their settings.
const LOOK: f64 = 2.0;
const KEY: &str = "retention.ms";
const WANTED: &str = "7200000";

/// Requests to Kafka, and writes to the API server, between two moments.
fn spent([before, after]: [Meter; 2]) -> (f64, f64) {
    (after.kafka - before.kafka, after.writes - before.writes)
}

/// Waits until the operator has looked so many times from now on.
async fn has_looked(operator: &Operator) {
    let begin = Meter::read(operator).await.unwrap().kafka;
    until("it looks in each interval", INTERVAL * INTERVALS + PATIENCE, || async {
        let requests = Meter::read(operator).await.map_err(|error| error.to_string())?.kafka - begin;
        if requests >= LOOK * f64::from(INTERVALS) { Ok(()) } else { Err(format!("{requests} requests")) }
    })
    .await
    .unwrap();
}

/// Waits until all topics have their setting.
async fn are_repaired(stage: &Stage, names: &[&str]) {
    let asked: Vec<_> = names.iter().map(|name| (*name, vec![KEY.to_owned()])).collect();
    until("all topics are as their Topics want them", 2 * PATIENCE, || async {
        let told = stage.kafka.describe_own_configs(&asked).await.map_err(|error| error.to_string())?;
        let is_wrong = |name: &&&str| match told.get(**name) {
            Some(Ok(settings)) => settings.get(KEY).is_none_or(|value| value != WANTED),
            Some(Err(_)) | None => true,
        };
        let wrong: Vec<_> = names.iter().filter(is_wrong).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn changes_by_others_are_found_by_one_look_per_cluster_and_interval() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("drift").await.unwrap();
    let launch = stage.launch_apart("drift").await.unwrap();
    let operator = stage.start(&Launch { drift_interval: "5s", ..launch }).await.unwrap();
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("t-{number}")).collect();
    let spec = format!("config: {{{KEY}: '{WANTED}'}}");
    for applied in join_all(topics.iter().map(|name| stage.apply_topic(name, &spec))).await {
        applied.unwrap();
    }
    for name in &topics {
        let ready = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
        stage.until(name, "it is in sync", ready).await.unwrap();
    }
    pause(INTERVAL).await;
    until("it is at rest", PATIENCE, || operator.is_idle()).await.unwrap();

    let begin = Instant::now();
    let (meters, lost) = stage.losing(during(&operator, has_looked(&operator))).await;
    let took = begin.elapsed();
    let (requests, writes) = spent(meters.unwrap());
    println!("{TOPICS} Topics, {INTERVALS} intervals: {requests} requests to Kafka in {took:?}; {lost:?} were lost");
    assert!(took < INTERVAL * (INTERVALS + 1) + lost, "{INTERVALS} looks in {took:?}, of which {lost:?} were lost");
    let most = LOOK * (took.as_secs_f64() / INTERVAL.as_secs_f64() + 1.0);
    assert!(requests <= most, "{requests} requests to Kafka in {took:?}, of at most {most}");
    assert!(writes < 1.0, "{writes} writes at rest");

    let names: Vec<String> = topics.iter().map(|name| format!("{}.{name}", stage.namespace)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let another = || vec![ConfigChange::Set { key: KEY.to_owned(), value: "3600000".to_owned() }];
    let changes: Vec<_> = names.iter().map(|name| (*name, another())).collect();
    let repair = async {
        for (name, changed) in stage.kafka.alter_configs_incrementally(&changes).await.unwrap() {
            changed.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        are_repaired(&stage, &names).await;
    };
    let (requests, _) = spent(during(&operator, repair).await.unwrap());
    println!("{TOPICS} Topics are repaired with {requests} requests to Kafka");
    // Each by itself would take five: for the topic and for its settings, the change, and for both once more.
    let most = f64::from(u32::try_from(2 * TOPICS).unwrap());
    assert!(requests <= most, "{requests} requests for the repair, of at most {most}");
}
