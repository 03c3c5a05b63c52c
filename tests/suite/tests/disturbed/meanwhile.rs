//! What others write between a look at an object and the write that follows from it.

use http::{Method, StatusCode};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use sluice_crds::{TOPIC_FINALIZER, Topic};
use sluice_kafka::TopicDescription;
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    proxy::{Asked, Delay, Fate, Proxy},
    until,
    world::{PATIENCE, condition, judge_topic},
};

/// A stage, the way of its operator to the API server, and the operator.
async fn begin(name: &str) -> (Stage, Proxy, Operator) {
    let stage = Stage::begin(name).await.unwrap();
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    let launch = stage.launch_apart(name).await.unwrap();
    let operator = stage.start(&Launch { server: Some(proxy.url.clone()), ..launch }).await.unwrap();
    (stage, proxy, operator)
}

/// From now on what is written to the Topic itself is held up, and what is said in its status is not.
fn hold_up(proxy: &Proxy) -> Delay {
    let delay = Delay::default();
    let held = delay.clone();
    proxy.judge(move |asked| if is_of_topic(asked) { Fate::Delay(held.clone()) } else { Fate::Forward });
    delay
}

/// Whether something is written to the Topic itself.
fn is_of_topic(asked: &Asked) -> bool {
    asked.method == Method::PATCH && asked.path.ends_with("/topics/orders")
}

/// Whether something is said in its status.
fn is_said(asked: &Asked) -> bool {
    asked.method == Method::PATCH && asked.path.ends_with("/topics/orders/status")
}

/// The Topic's Kafka topic, where there is one.
async fn kafka_topic(stage: &Stage) -> Option<TopicDescription> {
    let name = format!("{}.orders", stage.namespace);
    stage.kafka.describe_topics(&[&name]).await.unwrap().remove(&name).unwrap().unwrap()
}

async fn is_ready(stage: &Stage, operator: &Operator) {
    let judge = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    let ready = stage.until("orders", "it is ready", judge).await;
    ready.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
}

async fn finalizers(stage: &Stage) -> Vec<String> {
    stage.api::<Topic>().get("orders").await.unwrap().metadata.finalizers.unwrap_or_default()
}

#[tokio::test]
async fn a_topic_gets_its_finalizer_whatever_others_note_meanwhile() {
    let (stage, proxy, operator) = begin("noted-meanwhile").await;
    let delay = hold_up(&proxy);
    stage.apply_topic("orders", "deletionPolicy: Delete").await.unwrap();
    delay.holds_one().await;
    stage.touch::<Topic>("orders").await.unwrap();
    assert_eq!(delay.end().await, [StatusCode::OK]);
    is_ready(&stage, &operator).await;
    assert_eq!(finalizers(&stage).await, [TOPIC_FINALIZER]);
}

#[tokio::test]
async fn a_topic_keeps_its_finalizer_where_it_is_wanted_again_meanwhile_and_nothing_is_said_of_it() {
    let (stage, proxy, operator) = begin("wanted-again").await;
    stage.apply_topic("orders", "deletionPolicy: Delete").await.unwrap();
    is_ready(&stage, &operator).await;
    let delay = hold_up(&proxy);
    stage.apply_topic("orders", "deletionPolicy: Retain").await.unwrap();
    delay.holds_one().await;
    stage.apply_topic("orders", "deletionPolicy: Delete").await.unwrap();
    assert_eq!(delay.end().await, [StatusCode::UNPROCESSABLE_ENTITY]);
    is_ready(&stage, &operator).await;
    assert_eq!(finalizers(&stage).await, [TOPIC_FINALIZER]);
    assert!(!operator.log().contains("The pass failed"), "{}", operator.log());
}

#[tokio::test]
async fn a_kafka_topic_goes_with_its_topic_also_where_its_id_is_noted_while_that_is_let_go_without_it() {
    let (stage, proxy, operator) = begin("noted-late").await;
    proxy.judge(|asked| if is_said(asked) { Fate::Answer(500) } else { Fate::Forward });
    stage.apply_topic("orders", "deletionPolicy: Delete").await.unwrap();
    let shown = until("Kafka has the topic", PATIENCE, || async { kafka_topic(&stage).await.ok_or("none".to_owned()) });
    let id = shown.await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log())).id;
    let delay = Delay::default();
    let held = delay.clone();
    proxy.judge(move |asked| match asked {
        asked if is_said(asked) => Fate::Answer(500),
        asked if is_of_topic(asked) => Fate::Delay(held.clone()),
        _ => Fate::Forward,
    });
    stage.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    delay.holds_one().await;
    // As by an operator before this one, whose last write arrives now.
    let noted = Patch::Merge(json!({"status": {"topicId": id}}));
    stage.api::<Topic>().patch_status("orders", &PatchParams::default(), &noted).await.unwrap();
    assert_eq!(delay.end().await, [StatusCode::UNPROCESSABLE_ENTITY]);
    let gone = until("the Topic is gone", PATIENCE, || async {
        match stage.api::<Topic>().get_opt("orders").await.unwrap() {
            None => Ok(()),
            Some(topic) => Err(condition(&topic.status.unwrap_or_default().conditions, "Ready")),
        }
    });
    gone.await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    let gone = until("its Kafka topic is gone", PATIENCE, || async {
        kafka_topic(&stage).await.map_or(Ok(()), |left| Err(format!("{left:?}")))
    });
    gone.await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
}
