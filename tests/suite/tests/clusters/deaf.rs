//! A Kafka cluster that takes connections and answers nothing, with more Topics than passes may wait for it: the other clusters' Topics do not
//! notice.

use std::net::SocketAddr;

use futures::future::join_all;
use kube::api::{DeleteParams, ListParams};
use sluice_crds::{Topic, metrics::operator::RECONCILES_IN_PROGRESS};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    until,
    world::{PATIENCE, judge_topic},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::ALONE;

/// Topics of the cluster, and the passes over them that may wait for it at the same time.
const TOPICS: usize = 600;
const ROOM: f64 = 512.0;
/// How often at most it is looked whether another cluster's Topic waits.
const ATTEMPTS: usize = 3;

/// Somebody who takes every connection and says nothing.
struct Deaf {
    address: SocketAddr,
    takes: JoinHandle<()>,
}

impl Deaf {
    async fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let takes = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.push(connection);
            }
        });
        Self { address, takes }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.takes.abort();
    }
}

/// Starts an operator, and makes a Topic of another cluster once there is no room left for those of the one that hangs. Says, once it is ready,
/// whether one of them gave up meanwhile.
async fn another_is_ready(stage: &Stage, launch: &Launch, name: &str) -> (Operator, anyhow::Result<bool>) {
    // All Topics have their passes from its first moment.
    let operator = stage.start(launch).await.unwrap();
    until("passes wait for the cluster that hangs", PATIENCE, || async {
        match operator.metric(RECONCILES_IN_PROGRESS.name).await {
            Ok(passes) if passes >= ROOM => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    stage.apply_topic(name, "").await.unwrap();
    let is_ready = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    let ready = stage.until(name, "it is ready", is_ready).await;
    // Had it needed one of their places, it would have waited until one of them gave up.
    let has_waited = ready.map(|()| operator.log().contains("The pass failed"));
    (operator, has_waited)
}

#[tokio::test]
async fn a_kafka_cluster_that_hangs_with_more_topics_than_there_is_room_for_holds_up_no_other() {
    let _alone = ALONE.lock().await;
    let (stage, deaf) = (Stage::begin("deaf").await.unwrap(), Deaf::begin().await);
    let names: Vec<String> = (0..TOPICS).map(|number| format!("deaf-{number}")).collect();
    for applied in join_all(names.iter().map(|name| stage.apply_topic(name, "cluster: deaf"))).await {
        applied.unwrap();
    }
    let launch = stage.launch_apart("deaf").await.unwrap();
    let clusters = format!("{}, deaf: {{bootstrapServers: ['{}']}}", launch.clusters, deaf.address);
    let launch = Launch { clusters, ..launch };
    let (mut operator, mut has_waited) = another_is_ready(&stage, &launch, "orders-0").await;
    // A machine that stood still for the eight seconds after which passes give up tells nothing: who waits for a place does so each time.
    for again in 1..ATTEMPTS {
        if matches!(has_waited, Ok(true)) {
            drop(operator);
            (operator, has_waited) = another_is_ready(&stage, &launch, &format!("orders-{again}")).await;
        }
    }
    let last = |topic: &Topic| judge_topic(topic, "False KafkaUnreachable").map(drop);
    let told = stage.until(&names[TOPICS - 1], "it says that its cluster does not answer", last).await;
    let replaced = until("its client is replaced", PATIENCE, || async {
        let log = operator.log();
        if log.contains("Kafka does not answer; connecting anew") { Ok(()) } else { Err(log) }
    });
    let replaced = replaced.await;
    stage.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    told.unwrap();
    replaced.unwrap();
    assert!(!has_waited.unwrap(), "it waited for the cluster that hangs");
}
