//! One replica leads, another one stands by: who writes when, proved by the API server's own audit log and by a proxy before Kafka. Alone in
//! its process, because the replicas here share the one lease.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test ends where something is not as it must be")]

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use http::StatusCode;
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease, events::v1::Event},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{
    Integration, KafkaConnection, Topic,
    metrics::{
        operator::{LEADER, RECONCILE_OLDEST},
        resource::OLDEST_WAITING,
    },
};
use sluice_kafka::OutgoingRecord;
use sluice_suite::{
    Stage,
    audit::{self, Request},
    kafka_proxy::{self, KafkaProxy, Write},
    operator::{Launch, Operator, SERVICE_ACCOUNT, Signal, forget_lease},
    proxy::{Asked, Deed, Delay, Fate, Proxy},
    until,
    world::{PATIENCE, judge_topic, producer},
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

/// The lease lasts 20 s.
const TAKEOVER: Duration = Duration::from_secs(25);
/// Until it is seen, a crowded machine may take longer than the takeover itself.
const SEEN: Duration = Duration::from_mins(1);
/// From SIGTERM to the other replica's lease, where no change is under way. Only a lease that was given back changes hands in that time: else it
/// lasts 16 s after the last renewal, at the least.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Topics that are changed all the time.
const BUSY: usize = 10;

/// The tests share the lease, so one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A stage with a replica `a` that leads and a replica `b` that stands by.
async fn two_replicas(stage: &Stage) -> (Operator, Operator) {
    two_replicas_by(stage, |launch| launch).await
}

/// The same with other ways to others for `a`.
async fn two_replicas_by(stage: &Stage, ways: impl FnOnce(Launch) -> Launch) -> (Operator, Operator) {
    forget_lease(&stage.client).await.unwrap();
    let launch = |replica| stage.launch(&format!("{}-{replica}", stage.namespace));
    let a = stage.start_once(&ways(launch("a"))).await.unwrap();
    a.leads(PATIENCE).await.unwrap();
    let b = stage.start_once(&launch("b")).await.unwrap();
    assert!(b.metric(LEADER.name).await.unwrap() < 0.5, "{}", b.log());
    (a, b)
}

/// A replica that reaches Kafka by that way only, and looks after nothing but the test's own namespace: whatever it writes there is about that.
fn by_way_of(kafka: &KafkaProxy, stage: &Stage, launch: Launch) -> Launch {
    let arguments = vec!["--namespaces".to_owned(), stage.namespace.clone()];
    Launch { bootstrap: kafka.address.clone(), clusters: String::new(), arguments, ..launch }
}

/// What was written to Kafka, and when it got there.
type Written = Arc<std::sync::Mutex<Vec<(Timestamp, Write)>>>;

/// Notes what is written to Kafka from now on.
fn note(kafka: &KafkaProxy, fate: impl Fn(Write) -> kafka_proxy::Fate + Send + Sync + 'static) -> Written {
    let written = Written::default();
    let noted = Arc::clone(&written);
    kafka.judge(move |write| {
        noted.lock().unwrap().push((Timestamp::now(), write));
        fate(write)
    });
    written
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
            for topic in 0..BUSY {
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
    // A pass that waits for a Kafka cluster that is away holds up nobody: it begins nothing any more.
    stage.apply_topic("waits", "cluster: away").await.unwrap();
    until("a pass waits", PATIENCE, || async {
        match a.metric(RECONCILE_OLDEST.name).await {
            Ok(age) if age > 0.5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();

    let asked = Timestamp::now();
    a.signal(Signal::TERM).unwrap();
    let (leads, lost) = stage.losing(b.leads(SEEN)).await;
    leads.with_context(|| a.log()).unwrap();
    let took: Duration = taken_by(&stage, &b).await.duration_since(asked).try_into().unwrap();
    println!("handed over in {took:?}; {lost:?} were lost");
    assert!(took < HAND_OVER + lost, "{took:?}, of which {lost:?} were lost: {}", a.log());
    assert!(a.ended_within(SEEN).unwrap().success(), "{}", a.log());
    // However much was lost: nobody waited for the lease to expire.
    assert!(a.log().contains("The lease was given back"), "{}", a.log());
    apply_topic(&stage, "after", 1_000_000).await;
    topic_is_ready(&stage, "after").await;
    assert_eq!(lease(&stage).await.spec.unwrap().lease_transitions, Some(1));
}

#[tokio::test]
async fn how_long_records_have_waited_is_handed_over_with_the_lease() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("waiting").await.unwrap();
    forget_lease(&stage.client).await.unwrap();
    let launch = |replica| stage.launch(&format!("{}-{replica}", stage.namespace));
    let a = stage.start(&launch("a")).await.unwrap();
    apply_topic(&stage, "orders", 1_000_000).await;
    topic_is_ready(&stage, "orders").await;
    let connection = KafkaConnection { bootstrap_servers: vec![stage.bootstrap.clone()], ..KafkaConnection::default() };
    let producer = producer(&connection).unwrap();
    let topic = format!("{}.orders", stage.namespace);
    producer.send(OutgoingRecord::new(topic.as_str(), "{}")).await.unwrap();
    apply_integration(&stage, 0).await;
    let integrations = stage.api::<Integration>();
    let is_told = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        status.oldest_waiting.map(drop).ok_or(format!("lag {:?}", status.lag))
    };
    stage.until("to-api", "it tells how long the record has waited", is_told).await.unwrap();
    drop(a);
    // As if it had waited since long before this test.
    let status = Patch::Merge(json!({"status": {"oldestWaiting": "2h"}}));
    integrations.patch_status("to-api", &PatchParams::default(), &status).await.unwrap();

    let b = stage.start(&launch("b")).await.unwrap();
    let metric = format!("{}{{namespace=\"{}\",integration=\"to-api\"}}", OLDEST_WAITING.name, stage.namespace);
    let first = until("the next one tells it too", TAKEOVER + PATIENCE, async || match b.metric(&metric).await {
        Ok(seconds) if seconds > 0.0 => Ok(seconds),
        other => Err(format!("{other:?}")),
    });
    let first = first.await.with_context(|| b.log()).unwrap();
    assert!(first >= 7_200.0, "{first}");
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_when_its_lease_is_over() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("takeover").await.unwrap();
    let (a, b) = two_replicas(&stage).await;
    let killed = Timestamp::now();
    a.signal(Signal::KILL).unwrap();
    apply_topic(&stage, "orphan", 1_000_000).await;
    let (leads, lost) = stage.losing(b.leads(SEEN)).await;
    leads.unwrap();
    let took: Duration = taken_by(&stage, &b).await.duration_since(killed).try_into().unwrap();
    println!("taken over in {took:?}; {lost:?} were lost");
    assert!(took < TAKEOVER + lost, "{took:?}, of which {lost:?} were lost");
    topic_is_ready(&stage, "orphan").await;
}

#[tokio::test]
async fn a_leader_that_stood_still_for_longer_than_its_lease_writes_nothing_more() {
    let _alone = ALONE.lock().await;
    let stage = Arc::new(Stage::begin("stopped").await.unwrap());
    let (a, b) = two_replicas(&stage).await;
    let changes = changes(Arc::clone(&stage));
    // From then on it always has something to write.
    until("the leader is busy", PATIENCE, || async {
        let count = writes_of(&stage, &a).len();
        if count >= BUSY { Ok(()) } else { Err(format!("{count} writes")) }
    })
    .await
    .unwrap();

    a.signal(Signal::STOP).unwrap();
    b.leads(SEEN).await.unwrap();
    let taken = taken_by(&stage, &b).await;
    a.signal(Signal::CONT).unwrap();
    let ended = a.ended_within(PATIENCE).expect("a replica that lost its lease ends");
    assert!(!ended.success(), "{}", a.log());
    assert!(a.log().contains("the lease could not be renewed in time"), "{}", a.log());

    let (before, after): (Vec<_>, Vec<_>) =
        writes_of(&stage, &a).into_iter().partition(|request| request.received < taken);
    assert!(before.len() >= BUSY, "{}", before.len());
    assert_eq!(after, [], "written by a replica whose lease is over");
    changes.abort();
    topic_is_ready(&stage, "busy-0").await;
    assert!(!writes_of(&stage, &b).is_empty());
}

/// It is stopped while it waits for Kafka's answer, so that nothing of it is on its way there: between the look at the lease and the
/// socket a write may outlive the lease, as ARCHITECTURE.md says, and where that is cannot be told from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_between_two_changes_of_a_topic_makes_only_the_first() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("halfway").await.unwrap();
    let kafka = KafkaProxy::before(&stage.bootstrap).await.unwrap();
    let (a, b) = two_replicas_by(&stage, |launch| by_way_of(&kafka, &stage, launch)).await;
    let a = Arc::new(a);
    apply_topic(&stage, "orders", 1_000_000).await;
    topic_is_ready(&stage, "orders").await;

    let stopped = Arc::clone(&a);
    let stop: Deed = Arc::new(move || stopped.signal(Signal::STOP).unwrap());
    let written = note(&kafka, move |write| match write {
        Write::CreatePartitions => kafka_proxy::Fate::LoseAnswer(Arc::clone(&stop)),
        _ => kafka_proxy::Fate::Forward,
    });
    stage.apply_topic("orders", "partitions: 2, config: {retention.ms: '2000000'}").await.unwrap();
    b.leads(SEEN).await.with_context(|| a.log()).unwrap();
    topic_is_ready(&stage, "orders").await;
    // What the stopped one still has in mind is older than what there is now.
    stage.apply_topic("orders", "partitions: 2, config: {retention.ms: '3000000'}").await.unwrap();
    topic_is_ready(&stage, "orders").await;
    a.signal(Signal::CONT).unwrap();
    let ended = a.ended_within(PATIENCE).expect("a replica that lost its lease ends");
    assert!(!ended.success(), "{}", a.log());

    let name = format!("{}.orders", stage.namespace);
    let mut settings = stage.kafka.describe_own_configs(&[(name.as_str(), Vec::new())]).await.unwrap();
    let retention = settings.remove(&name).unwrap().unwrap().remove("retention.ms");
    assert_eq!(retention.as_deref(), Some("3000000"));
    let written: Vec<Write> = written.lock().unwrap().iter().map(|(_, write)| *write).collect();
    assert_eq!(written, [Write::CreatePartitions], "written by a replica that was stopped: {}", a.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_its_lease_changes_nothing_in_kafka_once_another_one_leads() {
    let _alone = ALONE.lock().await;
    let stage = Arc::new(Stage::begin("unrenewed").await.unwrap());
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    let kafka = KafkaProxy::before(&stage.bootstrap).await.unwrap();
    let ways = |launch| Launch { server: Some(proxy.url.clone()), ..by_way_of(&kafka, &stage, launch) };
    let (a, b) = two_replicas_by(&stage, ways).await;
    let written = note(&kafka, |_| kafka_proxy::Fate::Forward);
    let changes = changes(Arc::clone(&stage));
    until("the leader is busy", PATIENCE, || async {
        let count = written.lock().unwrap().len();
        if count >= BUSY { Ok(()) } else { Err(format!("{count} writes")) }
    })
    .await
    .unwrap();

    let stalled = Timestamp::now();
    proxy.judge(|asked| if asked.is_about_a_lease() { Fate::Swallow } else { Fate::Forward });
    b.leads(SEEN).await.unwrap();
    let taken = taken_by(&stage, &b).await;
    let ended = a.ended_within(PATIENCE).expect("a replica that lost its lease ends");
    assert!(!ended.success(), "{}", a.log());
    changes.abort();
    topic_is_ready(&stage, "busy-0").await;

    let written = written.lock().unwrap().clone();
    assert!(written.iter().any(|(at, _)| *at > stalled), "it went on for as long as it could: {written:?}");
    let late: Vec<_> = written.iter().filter(|(at, _)| *at >= taken).collect();
    assert!(late.is_empty(), "written by a replica whose lease is over: {late:?}");
}

/// Makes an Integration, or gives it another number of replicas.
async fn apply_integration(stage: &Stage, replicas: i32) {
    let spec = format!(
        "{{source: {{topic: {{name: orders}}}}, sink: {{http: {{url: 'http://api.example/'}}}}, replicas: {replicas}}}"
    );
    let yaml =
        format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: to-api}}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
}

/// Waits until the Integration's workers are that many; gives the generation of their Deployment. Not its resourceVersion: that
/// changes with the status too, which the Deployment controller writes when it comes to it.
async fn workers_are(stage: &Stage, replicas: i32) -> Option<i64> {
    let judge = |deployment: &Deployment| {
        let seen = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        if seen == Some(replicas) { Ok(deployment.metadata.generation) } else { Err(format!("{seen:?}")) }
    };
    stage.until("to-api-worker", &format!("{replicas} workers"), judge).await.unwrap()
}

fn is_update_of_deployment(asked: &Asked) -> bool {
    // What is created is applied without force.
    asked.is_write() && asked.path.contains("/deployments/") && asked.query.contains("force=true")
}

/// Applies the Integration and its Topic, and waits for its worker.
async fn apply_with_a_worker(stage: &Stage) {
    apply_topic(stage, "orders", 1_000_000).await;
    apply_integration(stage, 1).await;
    workers_are(stage, 1).await;
}

/// Wants a second worker, and holds up the write of it.
async fn hold_up_an_update(stage: &Stage, proxy: &Proxy) -> Delay {
    let delay = Delay::default();
    let held = delay.clone();
    proxy.judge(move |asked| if is_update_of_deployment(asked) { Fate::Delay(held.clone()) } else { Fate::Forward });
    apply_integration(stage, 2).await;
    delay.holds_one().await;
    delay
}

#[tokio::test]
async fn an_update_that_arrives_after_the_takeover_is_refused() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("late").await.unwrap();
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    let (a, b) = two_replicas_by(&stage, |launch| Launch { server: Some(proxy.url.clone()), ..launch }).await;
    apply_with_a_worker(&stage).await;

    let delay = Delay::default();
    let held = delay.clone();
    proxy.judge(move |asked| match asked {
        asked if is_update_of_deployment(asked) => Fate::Delay(held.clone()),
        asked if asked.is_about_a_lease() => Fate::Swallow,
        _ => Fate::Forward,
    });
    apply_integration(&stage, 2).await;
    delay.holds_one().await;
    // It was sent by the leader, and is still under way when there is another one.
    b.leads(SEEN).await.unwrap();
    let taken = taken_by(&stage, &b).await;
    assert!(a.ended_within(PATIENCE).is_some(), "a replica that lost its lease ends: {}", a.log());
    apply_integration(&stage, 3).await;
    let generation = workers_are(&stage, 3).await;

    let answers = delay.end().await;
    assert!(answers.iter().all(|answer| *answer == StatusCode::CONFLICT), "{answers:?}");
    assert_eq!(workers_are(&stage, 3).await, generation, "nothing was written over it");
    let late = writes_of(&stage, &a).into_iter().filter(|request| request.received > taken);
    let late: Vec<_> = late.map(|request| (request.object_ref.resource, request.response_status.code)).collect();
    assert_eq!(late, vec![("deployments".to_owned(), 409); answers.len()]);
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_nothing_while_a_change_of_its_is_under_way() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("unanswered").await.unwrap();
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    let (a, b) = two_replicas_by(&stage, |launch| Launch { server: Some(proxy.url.clone()), ..launch }).await;
    apply_with_a_worker(&stage).await;

    let delay = hold_up_an_update(&stage, &proxy).await;
    a.signal(Signal::TERM).unwrap();
    timeout(PATIENCE, a.end()).await.with_context(|| a.log()).unwrap();
    assert!(a.log().contains("the lease is left to expire"), "{}", a.log());
    b.leads(SEEN).await.unwrap();
    workers_are(&stage, 2).await;
    delay.end().await;
}

#[tokio::test]
async fn an_update_over_what_changed_meanwhile_is_made_again_without_a_word() {
    let _alone = ALONE.lock().await;
    let stage = Stage::begin("overtaken").await.unwrap();
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    let launch = stage.launch_apart("overtaken").await.unwrap();
    let operator = stage.start(&Launch { server: Some(proxy.url.clone()), ..launch }).await.unwrap();
    apply_with_a_worker(&stage).await;

    let delay = hold_up_an_update(&stage, &proxy).await;
    stage.touch::<Deployment>("to-api-worker").await.unwrap();
    assert_eq!(delay.end().await, [StatusCode::CONFLICT]);
    workers_are(&stage, 2).await;
    assert!(!operator.log().contains("The pass failed"), "{}", operator.log());
    let told = stage.api::<Event>().list(&ListParams::default()).await.unwrap();
    let told: Vec<_> = told.into_iter().filter_map(|event| event.reason).collect();
    assert!(!told.contains(&"KubernetesError".to_owned()), "{told:?}");
}
