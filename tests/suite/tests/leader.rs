//! One replica leads, another one stands by: who writes when, proved by the API server's own audit log. Alone in its process,
//! because the replicas here share the one lease.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test ends where something is not as it must be")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::Api;
use sluice_crds::{Topic, metrics::operator::LEADER};
use sluice_suite::{
    Stage,
    audit::{self, Request},
    operator::{Operator, SERVICE_ACCOUNT, Signal, forget_lease},
    until,
    world::{PATIENCE, judge_topic},
};
use tokio::{sync::Mutex, task::JoinHandle};

/// The lease lasts 20 s.
const TAKEOVER: Duration = Duration::from_secs(25);
const HAND_OVER: Duration = Duration::from_secs(2);

/// The tests share the lease, so one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A stage with a replica `a` that leads and a replica `b` that stands by.
async fn two_replicas(stage: &Stage) -> (Operator, Operator) {
    forget_lease(&stage.client).await.unwrap();
    let a = stage.start(&stage.launch(&format!("{}-a", stage.namespace))).await.unwrap();
    a.leads(PATIENCE).await.unwrap();
    let b = stage.start(&stage.launch(&format!("{}-b", stage.namespace))).await.unwrap();
    assert!(b.metric(LEADER.name).await.unwrap() < 0.5, "{}", b.log());
    (a, b)
}

async fn apply_topic(stage: &Stage, name: &str, retention: usize) {
    stage.apply_topic(name, &format!("config: {{retention.ms: '{retention}'}}")).await.unwrap();
}

async fn topic_is_ready(stage: &Stage, name: &str) {
    let judge = |topic: &Topic| judge_topic(topic, "True").map(drop);
    stage.until(name, "it is ready", judge).await.unwrap();
}

/// Changes Topics without a pause, so that the leader always has something to write.
fn changes(stage: Arc<Stage>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for round in 1.. {
            for topic in 0..10 {
                apply_topic(&stage, &format!("busy-{topic}"), 1_000_000 + round).await;
            }
        }
    })
}

/// What that replica wrote beside the lease.
fn writes_of(stage: &Stage, operator: &Operator) -> Vec<Request> {
    let requests = audit::requests(stage.audit_log.as_ref().expect("a local cluster has a log")).unwrap();
    let is_its_write = |request: &Request| {
        request.is_by(&operator.identity) && request.is_write() && request.object_ref.resource != "leases"
    };
    requests.into_iter().filter(is_its_write).collect()
}

async fn lease(stage: &Stage) -> Lease {
    Api::<Lease>::namespaced(stage.client.clone(), SERVICE_ACCOUNT.0).get(SERVICE_ACCOUNT.1).await.unwrap()
}

/// When the replica took the lease, by its own clock, which is that of the API server here.
async fn taken_by(stage: &Stage, operator: &Operator) -> Timestamp {
    let spec = lease(stage).await.spec.unwrap();
    assert!(spec.holder_identity.unwrap().starts_with(&operator.identity));
    spec.acquire_time.unwrap().0
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_at_once() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("handover").await.unwrap();
    let (a, b) = two_replicas(&stage).await;
    apply_topic(&stage, "before", 1_000_000).await;
    topic_is_ready(&stage, "before").await;

    let asked = Instant::now();
    a.signal(Signal::TERM).unwrap();
    b.leads(HAND_OVER).await.unwrap();
    println!("handed over in {:?}", asked.elapsed());
    assert!(a.ended_within(HAND_OVER).unwrap().success(), "{}", a.log());
    apply_topic(&stage, "after", 1_000_000).await;
    topic_is_ready(&stage, "after").await;
    assert_eq!(lease(&stage).await.spec.unwrap().lease_transitions, Some(1));
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_when_its_lease_is_over() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("takeover").await.unwrap();
    let (a, b) = two_replicas(&stage).await;
    let killed = Instant::now();
    a.signal(Signal::KILL).unwrap();
    apply_topic(&stage, "orphan", 1_000_000).await;
    b.leads(TAKEOVER).await.unwrap();
    println!("taken over in {:?}", killed.elapsed());
    topic_is_ready(&stage, "orphan").await;
}

#[tokio::test]
async fn a_leader_that_stood_still_for_longer_than_its_lease_writes_nothing_more() {
    let _alone = ALONE.lock().await;
    let stage = Arc::new(Stage::begin("stopped").await.unwrap());
    let (a, b) = two_replicas(&stage).await;
    let changes = changes(Arc::clone(&stage));
    until("the leader is busy", PATIENCE, || async {
        let count = writes_of(&stage, &a).len();
        if count > 50 { Ok(()) } else { Err(format!("{count} writes")) }
    })
    .await
    .unwrap();

    a.signal(Signal::STOP).unwrap();
    b.leads(TAKEOVER).await.unwrap();
    let taken = taken_by(&stage, &b).await;
    a.signal(Signal::CONT).unwrap();
    let ended = a.ended_within(PATIENCE).expect("a replica that lost its lease ends");
    assert!(!ended.success(), "{}", a.log());
    assert!(a.log().contains("the lease could not be renewed in time"), "{}", a.log());

    let (before, after): (Vec<_>, Vec<_>) =
        writes_of(&stage, &a).into_iter().partition(|request| request.received < taken);
    assert!(before.len() > 50, "{}", before.len());
    assert_eq!(after, [], "written by a replica whose lease is over");
    changes.abort();
    topic_is_ready(&stage, "busy-0").await;
    assert!(!writes_of(&stage, &b).is_empty());
}
