//! What a person hears of: Events once per transition, and none for a new Topic that becomes ready.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use sluice_crds::Topic;
use sluice_suite::{
    World, until,
    world::{PATIENCE, judge_topic},
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

/// Events come after the status that they tell of.
async fn events_are(world: &World, wanted: &[&str]) {
    until("the Events are there", PATIENCE, || async {
        let found = events(world).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
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
