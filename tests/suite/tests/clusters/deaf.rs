//! A Kafka cluster that takes connections and answers nothing, with more Topics than passes may wait for it: the other clusters' Topics do not
//! notice.

use std::net::SocketAddr;

use futures::future::join_all;
use kube::api::{DeleteParams, ListParams};
use sluice_crds::{Topic, metrics::operator::RECONCILES_IN_PROGRESS};
use sluice_suite::{
    Stage,
    operator::Launch,
    until,
    world::{PATIENCE, judge_topic},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::ALONE;

/// Topics of the cluster, and the passes over them that may wait for it at the same time.
const TOPICS: usize = 600;
const ROOM: f64 = 512.0;

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

#[tokio::test]
async fn a_kafka_cluster_that_hangs_with_more_topics_than_there_is_room_for_holds_up_no_other() {
    let _alone = ALONE.lock().await;
    let (stage, deaf) = (Stage::begin("deaf").await.unwrap(), Deaf::begin().await);
    let names: Vec<String> = (0..TOPICS).map(|number| format!("deaf-{number}")).collect();
    for applied in join_all(names.iter().map(|name| stage.apply_topic(name, "cluster: deaf"))).await {
        applied.unwrap();
    }
    // All of them have their passes from its first moment.
    let launch = stage.launch_apart("deaf").await.unwrap();
    let clusters = format!("deaf: {{bootstrapServers: ['{}']}}", deaf.address);
    let operator = stage.start(&Launch { clusters, ..launch }).await.unwrap();
    until("passes wait for the cluster that hangs", PATIENCE, || async {
        match operator.metric(RECONCILES_IN_PROGRESS.name).await {
            Ok(passes) if passes >= ROOM => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();

    stage.apply_topic("orders", "").await.unwrap();
    let is_ready = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    let ready = stage.until("orders", "it is ready", is_ready).await;
    // Had it needed one of their places, it would have waited until one of them gave up.
    let has_waited = operator.log().contains("The pass failed");
    let last = |topic: &Topic| judge_topic(topic, "False KafkaUnreachable").map(drop);
    let told = stage.until(&names[TOPICS - 1], "it says that its cluster does not answer", last).await;
    let replaced = until("its client is replaced", PATIENCE, || async {
        let log = operator.log();
        if log.contains("Kafka does not answer; connecting anew") { Ok(()) } else { Err(log) }
    });
    let replaced = replaced.await;
    stage.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    ready.unwrap();
    told.unwrap();
    replaced.unwrap();
    assert!(!has_waited, "it waited for the cluster that hangs");
}
