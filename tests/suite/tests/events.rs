//! What a person hears of: Events once per transition, and none for a new Topic that becomes ready.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fmt::Debug;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use sluice_crds::{Integration, Topic};
use sluice_suite::{
    World, until,
    world::{PATIENCE, condition, judge_topic},
};

async fn apply(world: &World, spec: &str) {
    world.apply_topic("orders", spec).await.unwrap();
}

async fn says(world: &World, what: &str) {
    let judge = |topic: &Topic| judge_topic(topic, what).map(drop);
    world.until("orders", what, judge).await.unwrap();
}

/// Type, reason and count of the Events about the Topic, in their order.
async fn events(world: &World) -> Vec<String> {
    let mut events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    events.sort_by_key(|event| event.event_time.clone());
    let text = |event: Event| {
        let count = event.series.map_or(1, |series| series.count);
        format!("{} {} x{count}", event.type_.unwrap_or_default(), event.reason.unwrap_or_default())
    };
    events.into_iter().map(text).collect()
}

async fn events_are(world: &World, wanted: &[&str]) {
    are("the Events are there", async || events(world).await, wanted).await;
}

/// Events come after the status that they tell of.
async fn are<T: PartialEq<W> + Debug, W: Debug + ?Sized>(what: &str, look: impl AsyncFn() -> T, wanted: &W) {
    until(what, PATIENCE, || async {
        let found = look().await;
        if found == *wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn trouble_and_its_end_are_told_once_and_a_new_topic_is_not() {
    let world = World::begin("events").await.unwrap();
    apply(&world, "partitions: 3").await;
    says(&world, "True InSync").await;
    apply(&world, "partitions: 2").await;
    says(&world, "False Withheld").await;
    events_are(&world, &["Warning Withheld x1"]).await;

    // Looked at again, it is no transition.
    apply(&world, "partitions: 1").await;
    says(&world, "False Withheld").await;
    apply(&world, "partitions: 3").await;
    says(&world, "True InSync").await;
    events_are(&world, &["Warning Withheld x1", "Normal InSync x1"]).await;
}

/// An Integration without workers.
async fn integrate(world: &World, steps: &str) {
    let spec = format!(
        "{{source: {{topic: {{name: orders}}}}, sink: {{http: {{url: 'http://api.example/'}}}}, replicas: 0, steps: [{steps}]}}"
    );
    let metadata = "{name: to-api}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    world.apply::<Integration>(&yaml).await.unwrap();
}

async fn integration_says(world: &World, what: &str) {
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let ready = condition(&status.conditions, "Ready");
        let is_current = status.observed_generation == integration.metadata.generation;
        if is_current && ready.starts_with(what) { Ok(()) } else { Err(ready) }
    };
    world.until("to-api", what, judge).await.unwrap();
}

/// How often the Integration's trouble and its end were told.
async fn told(world: &World) -> [i32; 2] {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    let is_ours =
        |event: &&Event| event.regarding.as_ref().is_some_and(|about| about.kind.as_deref() == Some("Integration"));
    ["Invalid", "Running"].map(|reason| {
        let are_so = events.iter().filter(is_ours).filter(|event| event.reason.as_deref() == Some(reason));
        are_so.map(|event| event.series.as_ref().map_or(1, |series| series.count)).sum()
    })
}

async fn told_are(world: &World, wanted: [i32; 2]) {
    are("trouble and its end were told so often", async || told(world).await, &wanted).await;
}

#[tokio::test]
async fn an_integration_that_is_not_ready_and_is_again_is_told_of_once_each_time() {
    const GOOD: &str = "{name: all, filter: 'true'}";
    const BROKEN: &str = "{name: broken, map: '.a = upcase('}";
    let world = World::begin("events-integration").await.unwrap();
    apply(&world, "").await;
    integrate(&world, GOOD).await;
    integration_says(&world, "True Running").await;
    integrate(&world, BROKEN).await;
    integration_says(&world, "False Invalid").await;
    let before = until("the trouble is told", PATIENCE, || async {
        let [troubles, ends] = told(&world).await;
        // What was told of its beginning was told before; it may have had to wait for Kubernetes, or not.
        if troubles == 1 && ends <= 1 { Ok(ends) } else { Err(format!("{troubles} and {ends} times")) }
    })
    .await
    .unwrap();

    // Looked at again, it is no transition.
    world.look_again::<Integration>("to-api").await.unwrap();
    integrate(&world, GOOD).await;
    integration_says(&world, "True Running").await;
    told_are(&world, [1, before + 1]).await;
    world.look_again::<Integration>("to-api").await.unwrap();
    integrate(&world, BROKEN).await;
    integration_says(&world, "False Invalid").await;
    told_are(&world, [2, before + 1]).await;
    integrate(&world, GOOD).await;
    integration_says(&world, "True Running").await;
    told_are(&world, [2, before + 2]).await;
}
