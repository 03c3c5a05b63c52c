//! Copies of partitions, on three brokers: what is made with three has three, and what is to get more gets them by the commands that its Topic
//! shows.

use std::{fs, time::Duration};

use sluice_cluster::testing;
use sluice_crds::{KafkaConnection, Topic, TopicStatus};
use sluice_kafka::{Admin, ConfigSource, TopicDescription};
use sluice_suite::{
    Stage,
    operator::Launch,
    until,
    world::{PATIENCE, judge_topic},
};
use tempfile::TempDir;
use tokio::task;

use crate::ALONE;

/// Each look at it starts a virtual machine.
const MOVED: Duration = Duration::from_mins(3);

async fn says(stage: &Stage, name: &str, what: &str) -> TopicStatus {
    let judge = |topic: &Topic| judge_topic(topic, what).map(|(status, _)| status);
    stage.until(name, what, judge).await.unwrap()
}

/// Waits until each partition has so many copies that are up to date.
async fn has_copies(kafka: &Admin, topic: &str, count: usize) {
    let counts = |topic: &TopicDescription| -> Vec<_> {
        topic.partitions.iter().map(|partition| (partition.replicas.len(), partition.in_sync.len())).collect()
    };
    until(&format!("{topic} has {count} copies"), PATIENCE, || async {
        let mut described = kafka.describe_topics(&[topic]).await.map_err(|error| error.to_string())?;
        let found = described.remove(topic).unwrap().unwrap().map(|topic| counts(&topic)).unwrap_or_default();
        if found == [(count, count)] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
}

/// What stands between backticks in a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Runs a command as it stands; gives what it prints.
async fn run(command: &str, folder: &TempDir) -> String {
    let (command, folder) = (command.to_owned(), folder.path().to_owned());
    let run = move || {
        let mut words = command.split_whitespace();
        let mut tool = testing::kafka_tool(words.next().unwrap()).unwrap();
        let output = tool.args(words).current_dir(folder).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    };
    task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_topic_gets_more_copies_by_the_commands_that_it_shows_and_sees_by_itself_that_it_has_them() {
    let _alone = ALONE.lock().await;
    let brokers = task::spawn_blocking(testing::shared_replicated_kafka).await.unwrap();
    let bootstrap_servers: Vec<String> = brokers.split(',').map(str::to_owned).collect();
    let stage = Stage::begin("copies").await.unwrap();
    let launch = stage.launch_apart("copies").await.unwrap();
    let clusters =
        format!("{}, replicated: {{bootstrapServers: ['{}']}}", launch.clusters, bootstrap_servers.join("', '"));
    let _operator = stage.start(&Launch { clusters, ..launch }).await.unwrap();
    let kafka = Admin::connect(&KafkaConnection { bootstrap_servers, ..KafkaConnection::default() }).unwrap();

    stage.apply_topic("three", "cluster: replicated, replicas: 3").await.unwrap();
    assert_eq!(says(&stage, "three", "True InSync").await.replicas, Some(3));
    has_copies(&kafka, &format!("{}.three", stage.namespace), 3).await;

    let orders = format!("{}.orders", stage.namespace);
    stage.apply_topic("orders", "cluster: replicated, replicas: 1").await.unwrap();
    assert_eq!(says(&stage, "orders", "True InSync").await.replicas, Some(1));
    stage.apply_topic("orders", "cluster: replicated, replicas: 3").await.unwrap();
    let withheld = says(&stage, "orders", "False Withheld").await.pending.unwrap();
    has_copies(&kafka, &orders, 1).await;

    let reason = &withheld.changes[0].reason;
    let [describe, assignment, execute, verify] = quoted(reason)[..] else { panic!("{reason}") };
    let folder = tempfile::tempdir().unwrap();
    let described = run(describe, &folder).await;
    assert!(described.contains(&orders) && described.contains("ReplicationFactor: 1"), "{described}");
    fs::write(folder.path().join("reassign.json"), assignment).unwrap();
    let executed = run(execute, &folder).await;
    assert!(executed.contains("Successfully started"), "{executed}");
    until("the copies are made", MOVED, || async {
        let verified = run(verify, &folder).await;
        if verified.contains("is completed") { Ok(()) } else { Err(verified) }
    })
    .await
    .unwrap();

    // Nobody touches the Topic.
    assert_eq!(says(&stage, "orders", "True InSync").await.replicas, Some(3));
    has_copies(&kafka, &orders, 3).await;
    let settings = kafka.describe_configs(&[&orders]).await.unwrap().remove(&orders).unwrap().unwrap();
    let left: Vec<_> = settings.iter().filter(|(_, entry)| entry.source == ConfigSource::Topic).collect();
    assert!(left.is_empty(), "the throttle is taken away: {left:?}");
}
