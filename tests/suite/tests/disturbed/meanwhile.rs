//! What others write between a look at an object and the write that follows from it.

use http::{Method, StatusCode};
use sluice_crds::{TOPIC_FINALIZER, Topic};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    proxy::{Asked, Delay, Fate, Proxy},
    world::judge_topic,
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
    let is_of_topic = |asked: &Asked| asked.method == Method::PATCH && asked.path.ends_with("/topics/orders");
    proxy.judge(move |asked| if is_of_topic(asked) { Fate::Delay(held.clone()) } else { Fate::Forward });
    delay
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
