//! The three kinds against a real API server and a real Kafka: what is made, what is repaired, and what is left alone.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::default_trait_access,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it must be"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Namespace, Service},
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_crds::{Integration, Topic, Webhook};
use sluice_kafka::{ConfigChange, ConfigSource};
use sluice_suite::{
    World, until,
    world::{PATIENCE, condition, judge_topic},
};
use tokio::time::MissedTickBehavior;

const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {SPEC}}";
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: NAME}, \
                           spec: {source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}, SPEC}}";
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, \
                       spec: {route: {parentRefs: [{name: edge}]}, verify: {none: {}}}}";
/// Objects of others are not watched, and looked at every 30 s.
const IN_THE_WAY: Duration = Duration::from_secs(90);

async fn apply_topic(world: &World, spec: &str) -> Topic {
    world.apply(&TOPIC.replace("SPEC", spec)).await.unwrap()
}

async fn apply_integration(world: &World, name: &str, spec: &str) -> Integration {
    world.apply(&INTEGRATION.replace("NAME", name).replace("SPEC", spec)).await.unwrap()
}

async fn topic_says(world: &World, name: &str, what: &str) -> Topic {
    let judge = |topic: &Topic| judge_topic(topic, what).map(|_| topic.clone());
    world.until(name, what, judge).await.unwrap()
}

async fn integration_says(world: &World, name: &str, what: &str) -> Integration {
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let ready = condition(&status.conditions, "Ready");
        let current = status.observed_generation == integration.metadata.generation;
        if current && ready.starts_with(what) { Ok(integration.clone()) } else { Err(ready) }
    };
    world.until(name, what, judge).await.unwrap()
}

/// The settings that were made for the topic itself.
async fn own_settings(world: &World, topic: &str) -> BTreeMap<String, String> {
    let mut configs = world.kafka.describe_configs(&[topic]).await.unwrap();
    let entries = configs.remove(topic).unwrap().unwrap().into_iter();
    entries
        .filter(|(_, entry)| entry.source == ConfigSource::Topic)
        .map(|(key, entry)| (key, entry.value.unwrap()))
        .collect()
}

#[tokio::test]
async fn a_topic_is_created_grown_and_kept_as_declared() {
    let world = World::begin("topic").await.unwrap();
    let kafka_name = format!("{}.orders", world.namespace);
    apply_topic(&world, "partitions: 1, config: {retention.ms: '1000000', segment.bytes: '1048576'}").await;
    let created = topic_says(&world, "orders", "True InSync").await.status.unwrap();
    let described =
        world.kafka.describe_topics(&[&kafka_name]).await.unwrap().remove(&kafka_name).unwrap().unwrap().unwrap();
    assert_eq!((created.topic_id, created.partitions), (Some(described.id), Some(1)));

    // A key that somebody else sets is left alone; one that leaves the spec returns to the default.
    let foreign = ConfigChange::Set { key: "max.message.bytes".into(), value: "2000000".into() };
    world.kafka.alter_configs_incrementally(&[(&kafka_name, vec![foreign])]).await.unwrap();
    apply_topic(&world, "partitions: 3, config: {retention.ms: '2000000'}").await;
    let grown = topic_says(&world, "orders", "True InSync").await.status.unwrap();
    assert_eq!(grown.partitions, Some(3));
    let expected = BTreeMap::from(
        [("max.message.bytes", "2000000"), ("retention.ms", "2000000")].map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    assert_eq!(own_settings(&world, &kafka_name).await, expected);

    // What is ours and was changed by somebody else is repaired, without anything that happens in Kubernetes.
    let drift = ConfigChange::Set { key: "retention.ms".into(), value: "5".into() };
    world.kafka.alter_configs_incrementally(&[(&kafka_name, vec![drift])]).await.unwrap();
    until("retention.ms is repaired", PATIENCE, || async {
        let settings = own_settings(&world, &kafka_name).await;
        if settings == expected { Ok(()) } else { Err(format!("{settings:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn of_changes_that_come_faster_than_passes_the_last_one_holds() {
    const CHANGES: usize = 50;
    let world = World::begin("fast").await.unwrap();
    let kafka_name = format!("{}.orders", world.namespace);
    for number in 1..=CHANGES {
        // A key that comes and goes, and one that is another one each time.
        let more = if number % 3 == 0 { ", segment.bytes: '1048576'" } else { "" };
        apply_topic(&world, &format!("config: {{retention.ms: '{number}00000'{more}}}")).await;
    }
    let topic = topic_says(&world, "orders", "True InSync").await;
    let status = topic.status.unwrap();
    assert_eq!((topic.metadata.generation, status.observed_generation), (Some(50), Some(50)));
    assert_eq!(status.config_keys, ["retention.ms"]);
    let settings = own_settings(&world, &kafka_name).await;
    assert_eq!(settings, [("retention.ms".to_owned(), format!("{CHANGES}00000"))].into());

    let touched = world.look_again::<Topic>("orders").await.unwrap();
    let after = world.api::<Topic>().get("orders").await.unwrap();
    assert_eq!(after.resource_version(), touched.resource_version(), "nothing is written any more");
    assert_eq!(own_settings(&world, &kafka_name).await, settings);
}

#[tokio::test]
async fn a_kafka_cluster_that_is_down_holds_up_no_other() {
    const TOPICS: usize = 100;
    let world = World::begin("silent").await.unwrap();
    let named = |number| TOPIC.replace("orders", &format!("silent-{number}")).replace("SPEC", "cluster: silent");
    let manifests: Vec<String> = (0..TOPICS).map(named).collect();
    for applied in join_all(manifests.iter().map(|manifest| world.apply::<Topic>(manifest))).await {
        applied.unwrap();
    }
    let start = Instant::now();
    let is_ready = async {
        apply_topic(&world, "").await;
        topic_says(&world, "orders", "True InSync").await;
    };
    let ((), lost) = world.losing(is_ready).await;
    let took = start.elapsed();
    println!("a Topic was ready in {took:?} beside {TOPICS} of a cluster that is down; {lost:?} were lost");
    assert!(took < Duration::from_secs(5) + lost, "{took:?}, of which {lost:?} were lost");
    let silent = topic_says(&world, &format!("silent-{}", TOPICS - 1), "False KafkaUnreachable").await.status.unwrap();
    assert!(condition(&silent.conditions, "Ready").contains("Connection refused"), "{silent:?}");
    world.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_change_of_replicas_is_withheld_with_the_commands_that_make_it() {
    let world = World::begin("replicas").await.unwrap();
    apply_topic(&world, "replicas: 1, partitions: 2").await;
    topic_says(&world, "orders", "True InSync").await;
    apply_topic(&world, "replicas: 3, partitions: 2").await;
    let withheld = topic_says(&world, "orders", "False Withheld").await.status.unwrap();
    let change = &withheld.pending.unwrap().changes[0];
    assert_eq!(change.field, "spec.replicas");
    assert!(change.reason.contains("kafka-reassign-partitions.sh --bootstrap-server"), "{}", change.reason);
}

#[tokio::test]
async fn what_kafka_cannot_do_is_withheld_and_what_it_refuses_is_said() {
    let world = World::begin("withheld").await.unwrap();
    apply_topic(&world, "partitions: 3").await;
    topic_says(&world, "orders", "True InSync").await;
    apply_topic(&world, "partitions: 2").await;
    let withheld = topic_says(&world, "orders", "False Withheld").await.status.unwrap();
    assert!(condition(&withheld.conditions, "Stalled").contains("Kafka cannot remove partitions"), "{withheld:?}");
    assert_eq!(withheld.pending.unwrap().changes[0].field, "spec.partitions");

    apply_topic(&world, "partitions: 3, config: {retention.ms: soon}").await;
    let refused = topic_says(&world, "orders", "False SettingRefused").await.status.unwrap();
    assert!(condition(&refused.conditions, "Ready").contains("retention.ms"), "{refused:?}");
    apply_topic(&world, "partitions: 3").await;
    topic_says(&world, "orders", "True InSync").await;
}

#[tokio::test]
async fn an_observed_topic_is_only_looked_at() {
    let world = World::begin("observed").await.unwrap();
    apply_topic(&world, "managementPolicy: Observe").await;
    topic_says(&world, "orders", "False NotFound").await;
    let kafka_name = format!("{}.orders", world.namespace);
    let described = world.kafka.describe_topics(&[&kafka_name]).await.unwrap().remove(&kafka_name).unwrap().unwrap();
    assert_eq!(described, None);
}

#[tokio::test]
async fn an_integration_gets_its_worker_as_soon_as_its_topic_is_ready() {
    let world = World::begin("waiting").await.unwrap();
    apply_integration(&world, "to-api", "").await;
    let waiting = integration_says(&world, "to-api", "False NotFound").await.status.unwrap();
    assert_eq!(condition(&waiting.conditions, "Stalled"), "none", "waiting is nothing that a person must act on");
    apply_topic(&world, "").await;
    topic_says(&world, "orders", "True InSync").await;
    let ready = Instant::now();
    let made = world.until("to-api-worker", "the worker is made", |_: &Deployment| Ok(()));
    let (made, lost) = world.losing(made).await;
    made.unwrap();
    let took = ready.elapsed();
    assert!(took < Duration::from_secs(1) + lost, "{took:?}, of which {lost:?} were lost");
    topic_says(&world, "to-api-dead-letters", "True InSync").await;
}

#[tokio::test]
async fn a_child_that_is_deleted_comes_back() {
    let world = World::begin("deleted").await.unwrap();
    world.apply::<Webhook>(WEBHOOK).await.unwrap();
    let service: Service =
        world.until("stripe-receiver", "the Service is made", |s: &Service| Ok(s.clone())).await.unwrap();
    world.until("stripe-receiver", "the Deployment is made", |_: &Deployment| Ok(())).await.unwrap();
    topic_says(&world, "stripe", "True InSync").await;
    world.api::<Service>().delete("stripe-receiver", &DeleteParams::default()).await.unwrap();
    let judge = |again: &Service| if again.uid() == service.uid() { Err("the old one".to_owned()) } else { Ok(()) };
    world.until("stripe-receiver", "the Service comes back", judge).await.unwrap();
}

#[tokio::test]
async fn what_is_ours_is_repaired_and_what_others_own_is_left_alone() {
    let world = World::begin("drift").await.unwrap();
    apply_topic(&world, "").await;
    apply_integration(&world, "to-api", "").await;
    world.until("to-api-worker", "the worker is made", |_: &Deployment| Ok(())).await.unwrap();
    let foreign = json!({
        "metadata": {"annotations": {"team": "payments"}},
        "spec": {"replicas": 7, "minReadySeconds": 3},
    });
    world.api::<Deployment>().patch("to-api-worker", &PatchParams::default(), &Patch::Merge(foreign)).await.unwrap();
    let judge = |worker: &Deployment| {
        let spec = worker.spec.as_ref().unwrap();
        if spec.replicas == Some(1) { Ok(worker.clone()) } else { Err(format!("{:?} replicas", spec.replicas)) }
    };
    let repaired = world.until("to-api-worker", "replicas are repaired", judge).await.unwrap();
    assert_eq!(repaired.annotations().get("team").map(String::as_str), Some("payments"));
    assert_eq!(repaired.spec.unwrap().min_ready_seconds, Some(3));
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken_over_and_its_name_is_once_it_is_gone() {
    let world = World::begin("conflict").await.unwrap();
    apply_topic(&world, "").await;
    let foreign = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: to-api-worker}, spec: {selector: {matchLabels: {a: b}}, \
                   template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}";
    let before: Deployment = world.apply(foreign).await.unwrap();
    apply_integration(&world, "to-api", "").await;
    let status = integration_says(&world, "to-api", "False NameConflict").await.status.unwrap();
    assert!(condition(&status.conditions, "Stalled").contains("to-api-worker"));
    let after = world.api::<Deployment>().get("to-api-worker").await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);

    world.api::<Deployment>().delete("to-api-worker", &DeleteParams::default()).await.unwrap();
    until("its own has the name", IN_THE_WAY, || async {
        let found = world.api::<Deployment>().get_opt("to-api-worker").await.map_err(|error| error.to_string())?;
        let owners = found.ok_or("there is none")?.metadata.owner_references.unwrap_or_default();
        if owners.iter().any(|owner| owner.name == "to-api") { Ok(()) } else { Err(format!("it is of {owners:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_bad_integration_says_where_and_disturbs_no_other() {
    let world = World::begin("bad").await.unwrap();
    apply_topic(&world, "").await;
    apply_integration(&world, "good", "").await;
    world.until("good-worker", "the worker is made", |_: &Deployment| Ok(())).await.unwrap();
    apply_integration(&world, "bad", "steps: [{name: broken, map: '.a = upcase('}]").await;
    let bad = integration_says(&world, "bad", "False Invalid").await.status.unwrap();
    let stalled = condition(&bad.conditions, "Stalled");
    assert!(stalled.contains("spec.steps[0].map"), "{stalled}");

    // A good one that becomes bad keeps its worker.
    let before = world.api::<Deployment>().get("good-worker").await.unwrap();
    apply_integration(&world, "good", "steps: [{name: broken, filter: '.a ='}]").await;
    integration_says(&world, "good", "False Invalid").await;
    let after = world.api::<Deployment>().get("good-worker").await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
    apply_integration(&world, "good", "steps: []").await;
    integration_says(&world, "good", "False Unavailable").await;
}

#[tokio::test]
async fn a_change_of_replicas_does_not_roll_the_workers_and_a_change_of_steps_does() {
    let world = World::begin("rollout").await.unwrap();
    apply_topic(&world, "").await;
    apply_integration(&world, "to-api", "").await;
    let template = |worker: &Deployment| serde_json::to_value(&worker.spec.as_ref().unwrap().template).unwrap();
    let first = world.until("to-api-worker", "the worker is made", |w: &Deployment| Ok(template(w))).await.unwrap();
    apply_integration(&world, "to-api", "replicas: 4").await;
    let scaled = |worker: &Deployment| match worker.spec.as_ref().unwrap().replicas {
        Some(4) => Ok(template(worker)),
        other => Err(format!("{other:?} replicas")),
    };
    assert_eq!(world.until("to-api-worker", "4 replicas", scaled).await.unwrap(), first);
    apply_integration(&world, "to-api", "steps: [{name: all, filter: 'true'}]").await;
    let changed =
        |worker: &Deployment| if template(worker) == first { Err("the old template".to_owned()) } else { Ok(()) };
    world.until("to-api-worker", "a new template", changed).await.unwrap();
    let configurations = world.api::<ConfigMap>().list(&Default::default()).await.unwrap();
    let ours = configurations.iter().filter(|map| map.name_any().starts_with("to-api-worker-")).count();
    assert_eq!(ours, 2, "the last configuration stays for a rollback");
}

#[tokio::test]
async fn a_pause_reaches_the_receivers_without_a_rollout() {
    let world = World::begin("paused").await.unwrap();
    world.apply::<Webhook>(WEBHOOK).await.unwrap();
    let template = |receiver: &Deployment| serde_json::to_value(&receiver.spec.as_ref().unwrap().template).unwrap();
    let made = |receiver: &Deployment| Ok(template(receiver));
    let first = world.until("stripe-receiver", "the receiver is made", made).await.unwrap();
    world.apply::<Webhook>(&WEBHOOK.replace("spec: {", "spec: {paused: true, ")).await.unwrap();
    let says = |what: &'static str| {
        move |controls: &ConfigMap| {
            let data = controls.data.clone().unwrap_or_default();
            if data["controls.json"].contains(what) { Ok(()) } else { Err(format!("{data:?}")) }
        }
    };
    let name = "stripe-receiver-controls";
    world.until(name, "receivers are told to pause", says(r#""paused":true"#)).await.unwrap();
    // What somebody else writes there is taken back.
    let drift = json!({"data": {"controls.json": "{}"}});
    world.api::<ConfigMap>().patch(name, &PatchParams::default(), &Patch::Merge(drift)).await.unwrap();
    world.until(name, "the pause is repaired", says(r#""paused":true"#)).await.unwrap();
    assert_eq!(template(&world.api::<Deployment>().get("stripe-receiver").await.unwrap()), first);
}

#[tokio::test]
async fn of_two_webhooks_with_one_address_the_oldest_has_it_and_the_other_waits_for_it() {
    let world = World::begin("claimed").await.unwrap();
    let route = format!("route: {{parentRefs: [{{name: edge}}], path: /{}}}", world.namespace);
    let named = |name: &str| {
        WEBHOOK.replace("name: stripe", &format!("name: {name}")).replace("route: {parentRefs: [{name: edge}]}", &route)
    };
    // Nobody serves routes here; but who has the address is told all the same.
    let has_it = |wanted: bool| {
        move |webhook: &Webhook| {
            let route = condition(&webhook.status.clone().unwrap_or_default().conditions, "RouteAccepted");
            let is_told = route.starts_with("False") && route.contains("RouteConflict") != wanted;
            if is_told { Ok(()) } else { Err(route) }
        }
    };
    let first = world.apply::<Webhook>(&named("z-first")).await.unwrap();
    world.until("z-first", "it has the address", has_it(true)).await.unwrap();
    // Ages are told to the second.
    until("another second", PATIENCE, async || {
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        if now > first.creation_timestamp().unwrap().0.as_second() { Ok(()) } else { Err(now.to_string()) }
    })
    .await
    .unwrap();
    world.apply::<Webhook>(&named("a-second")).await.unwrap();
    world.until("a-second", "the older one has it", has_it(false)).await.unwrap();
    world.until("z-first", "it keeps it", has_it(true)).await.unwrap();
    world.api::<Webhook>().delete("z-first", &DeleteParams::default()).await.unwrap();
    world.until("a-second", "it is its turn", has_it(true)).await.unwrap();
}

#[tokio::test]
async fn a_webhook_gets_its_dead_letters_and_its_schema_from_a_config_map() {
    let world = World::begin("contract").await.unwrap();
    let validate = "spec: {validate: {jsonSchema: {configMapRef: {name: schemas, key: event.json}}}, ";
    world.apply::<Webhook>(&WEBHOOK.replace("spec: {", validate)).await.unwrap();
    let waits = |webhook: &Webhook| {
        let message = condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready");
        if message.contains("there is no ConfigMap \"schemas\"") { Ok(()) } else { Err(message) }
    };
    world.until("stripe", "it waits for the ConfigMap", waits).await.unwrap();
    for schema in [r#"{"type":"object"}"#, r#"{"type":"array"}"#] {
        let data = format!("data: {{event.json: '{schema}'}}");
        let map = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: schemas}}, {data}}}");
        world.apply::<ConfigMap>(&map).await.unwrap();
        until("the schema and the dead letters in the receiver's configuration", PATIENCE, async || {
            let maps = world.api::<ConfigMap>().list(&Default::default()).await.unwrap();
            let configs: Vec<_> = maps.into_iter().filter_map(|map| map.data?.get("config.json").cloned()).collect();
            let letters = format!(r#""deadLetters":"{}.stripe-webhook-dead-letters""#, world.namespace);
            let is_wanted = |config: &String| config.contains(schema) && config.contains(&letters);
            if configs.iter().any(is_wanted) { Ok(()) } else { Err(format!("{configs:?}")) }
        })
        .await
        .unwrap();
    }
    let letters = topic_says(&world, "stripe-webhook-dead-letters", "True InSync").await;
    assert_eq!(letters.spec.config["retention.ms"], "1209600000");
}

#[tokio::test]
async fn a_schema_is_taken_from_its_config_map_as_soon_as_it_is_there_and_again_when_it_changes() {
    let world = World::begin("schema").await.unwrap();
    apply_topic(&world, "").await;
    topic_says(&world, "orders", "True").await;
    let step = "{name: contract, validate: {jsonSchema: {configMapRef: {name: schemas, key: order.json}}}}";
    apply_integration(&world, "contract", &format!("steps: [{step}]")).await;
    let config_map = |schema: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: schemas}}, data: {{order.json: '{schema}'}}}}")
    };
    let says = |what: &'static str| {
        let judge = move |integration: &Integration| {
            let message = condition(&integration.status.clone().unwrap_or_default().conditions, "Ready");
            if message.contains(what) { Ok(()) } else { Err(message) }
        };
        world.until("contract", what, judge)
    };
    says("there is no ConfigMap \"schemas\" in this namespace").await.unwrap();
    world.apply::<ConfigMap>(&config_map(r#"{"type": "objekt"}"#)).await.unwrap();
    says("configMapRef: step \"contract\": not a JSON Schema: /type").await.unwrap();
    world.apply::<ConfigMap>(&config_map(r#"{"type": "object"}"#)).await.unwrap();
    let configured = |what: &'static str, schema: &'static str| {
        let world = &world;
        async move {
            let look = async || {
                let maps = world.api::<ConfigMap>().list(&Default::default()).await.unwrap();
                let data: Vec<_> = maps.into_iter().filter_map(|map| map.data?.get("config.json").cloned()).collect();
                if data.iter().any(|config| config.contains(schema)) { Ok(()) } else { Err(format!("{data:?}")) }
            };
            until(what, PATIENCE, look).await.unwrap();
        }
    };
    configured("the schema in the worker's configuration", r#""validate":{"type":"object"}"#).await;
    world.apply::<ConfigMap>(&config_map(r#"{"type": "array"}"#)).await.unwrap();
    configured("the new schema there", r#""validate":{"type":"array"}"#).await;
}

/// Other tools annotate resources, some of them faster than a pass ends: the status comes all the same.
#[tokio::test]
async fn a_resource_that_others_annotate_all_the_time_gets_its_status() {
    let world = World::begin("annotated").await.unwrap();
    world.apply_topic("orders", "partitions: 3").await.unwrap();
    let annotate = async {
        let mut turns = tokio::time::interval(Duration::from_millis(20));
        loop {
            turns.tick().await;
            world.touch::<Topic>("orders").await.unwrap();
        }
    };
    let judge = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    tokio::select! {
        said = world.until("orders", "True InSync", judge) => said.unwrap(),
        () = annotate => {}
    }
}

/// Nor need a spec stand still for a pass: the status then tells of an older one, and says so.
#[tokio::test]
async fn a_topic_whose_spec_changes_all_the_time_gets_a_status_and_in_the_end_the_newest() {
    const CHANGES: usize = 60;
    let world = World::begin("restless").await.unwrap();
    let apply = async |round: usize| {
        let spec = format!("partitions: 1, config: {{retention.ms: '{}'}}", 1_000_000 + round);
        apply_topic(&world, &spec).await.metadata.generation.unwrap()
    };
    // The next change comes a tenth of a second after the last one, however late that was: there is none without a pause.
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut last) = (Vec::<i64>::new(), 0);
    // A slow machine gets as many changes as it needs: they go on until the status, from the middle on, has told of one generation, and then of a
    // later one.
    let of_two = |told: &[i64]| {
        let late: BTreeSet<_> = told[CHANGES / 2..].iter().filter(|generation| **generation > 0).collect();
        late.len() >= 2
    };
    let deadline = Instant::now() + PATIENCE;
    while told.len() < CHANGES || (!of_two(&told) && Instant::now() < deadline) {
        turns.tick().await;
        last = apply(told.len()).await;
        let status = world.api::<Topic>().get("orders").await.unwrap().status.unwrap_or_default();
        told.push(status.observed_generation.unwrap_or_default());
    }
    println!("while generations came up to {last} the status told of {told:?}");
    assert!(told.is_sorted(), "{told:?}");
    assert!(of_two(&told), "{told:?}");
    let topic = topic_says(&world, "orders", "True InSync").await;
    assert_eq!(topic.status.unwrap().observed_generation, Some(last));
    let settings = own_settings(&world, &format!("{}.orders", world.namespace)).await;
    assert_eq!(settings["retention.ms"], (1_000_000 + told.len() - 1).to_string());
}

/// What `kubectl scale`, a HorizontalPodAutoscaler and KEDA use.
#[tokio::test]
async fn the_scale_of_an_integration_is_read_and_set_as_that_of_a_deployment() {
    let world = World::begin("scale").await.unwrap();
    apply_topic(&world, "").await;
    apply_integration(&world, "to-api", "replicas: 2").await;
    world.until("to-api-worker", "the worker is made", |_: &Deployment| Ok(())).await.unwrap();
    let api = world.api::<Integration>();
    let selector = |integration: &Integration| {
        integration.status.as_ref().and_then(|status| status.selector.clone()).ok_or_else(|| "none".to_owned())
    };
    let selector = world.until("to-api", "it has a selector", selector).await.unwrap();
    let scale = api.get_scale("to-api").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_ref(), Some(&selector));
    // It finds the workers' pods, and none else's.
    let labels = |worker: &Deployment| {
        let labels = worker.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.clone();
        Ok(labels.unwrap_or_default())
    };
    let labels = world.until("to-api-worker", "it has labels", labels).await.unwrap();
    for (key, value) in selector.split(',').map(|label| label.split_once('=').unwrap()) {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{selector}");
    }
    assert!(selector.contains("sluice.dev/integration=to-api"), "{selector}");

    let namespace = world.namespace.as_str();
    // Down to none as KEDA does, and back.
    for replicas in [0, 3] {
        let to = format!("--replicas={replicas}");
        world.kubectl(&["scale", "integrations.sluice.dev/to-api", &to, "-n", namespace]).unwrap();
        let scaled = |worker: &Deployment| match worker.spec.as_ref().unwrap().replicas {
            Some(found) if found == replicas => Ok(()),
            other => Err(format!("{other:?} replicas")),
        };
        world.until("to-api-worker", &format!("{replicas} replicas"), scaled).await.unwrap();
        // Those that are there, of which an autoscaler makes more or fewer.
        until("its scale tells of them", PATIENCE, || async {
            let scale = api.get_scale("to-api").await.map_err(|error| error.to_string())?;
            let told = scale.status.map(|status| status.replicas);
            if told == Some(replicas) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await
        .unwrap();
    }
    let autoscaler = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: to-api}, spec: {\
                      scaleTargetRef: {apiVersion: sluice.dev/v1alpha1, kind: Integration, name: to-api}, minReplicas: 5, \
                      maxReplicas: 9, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, \
                      averageUtilization: 80}}}]}}";
    world.apply::<HorizontalPodAutoscaler>(autoscaler).await.unwrap();
    let scaled = |worker: &Deployment| match worker.spec.as_ref().unwrap().replicas {
        Some(5) => Ok(()),
        other => Err(format!("{other:?} replicas")),
    };
    world.until("to-api-worker", "as many as the autoscaler wants at least", scaled).await.unwrap();
}

/// Two that scale would be one that does and one that believes it.
#[tokio::test]
async fn an_autoscaler_beside_scaling_is_refused_and_says_so() {
    const REFUSAL: &str = "Sluice makes as many workers as spec.scaling says";
    let world = World::begin("scaled-twice").await.unwrap();
    apply_topic(&world, "").await;
    apply_integration(&world, "to-api", "replicas: 2, scaling: {minReplicas: 1, maxReplicas: 4}").await;
    let scale = ["scale", "integrations.sluice.dev/to-api", "--replicas=3", "-n", world.namespace.as_str()];
    let refused = format!("{:#}", world.kubectl(&scale).unwrap_err());
    assert!(refused.contains(REFUSAL), "{refused}");

    let autoscaler = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: to-api}, spec: {\
                      scaleTargetRef: {apiVersion: sluice.dev/v1alpha1, kind: Integration, name: to-api}, minReplicas: 5, \
                      maxReplicas: 9, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, \
                      averageUtilization: 80}}}]}}";
    world.apply::<HorizontalPodAutoscaler>(autoscaler).await.unwrap();
    let is_refused = |autoscaler: &HorizontalPodAutoscaler| {
        let told = json!(autoscaler.status.as_ref().and_then(|status| status.conditions.clone())).to_string();
        if told.contains("FailedUpdateScale") && told.contains(REFUSAL) { Ok(()) } else { Err(told) }
    };
    world.until("to-api", "the autoscaler says that it may not", is_refused).await.unwrap();
    let spec = world.api::<Integration>().get("to-api").await.unwrap().spec;
    assert_eq!((spec.replicas, spec.scaling.map(|scaling| scaling.max_replicas)), (2, Some(4)));

    // What says nothing of replicas any more is taken, and so is whoever goes over to the autoscaler.
    apply_integration(&world, "to-api", "scaling: {minReplicas: 1, maxReplicas: 3}").await;
    apply_integration(&world, "to-api", "paused: false").await;
    let scaled = |worker: &Deployment| match worker.spec.as_ref().unwrap().replicas {
        Some(5) => Ok(()),
        other => Err(format!("{other:?} replicas")),
    };
    world.until("to-api-worker", "as many as the autoscaler wants at least", scaled).await.unwrap();
}

const INGRESS: &str = "ingress: {className: edge}, hostnames: [hooks.example]";

/// The objects of the Webhook `stripe` that bring requests to it.
async fn routes(world: &World) -> Vec<String> {
    let routes = [
        ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        ("networking.k8s.io", "v1", "Ingress"),
        ("configuration.konghq.com", "v1", "KongPlugin"),
    ];
    let mut found = Vec::new();
    for (group, version, kind) in routes {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
        // A kind that is not installed has none.
        let objects = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        found.extend(objects.into_iter().map(|object| format!("{kind} {}", object.name_any())));
    }
    found
}

#[tokio::test]
async fn an_ingress_takes_the_place_of_a_route_and_makes_room_for_it_again() {
    let world = World::begin("ingress").await.unwrap();
    let ingress = WEBHOOK.replace("parentRefs: [{name: edge}]", INGRESS);
    let (route, ingress) = ((WEBHOOK, "HTTPRoute"), (ingress.as_str(), "Ingress"));
    for (manifest, expected) in [route, ingress, route, ingress] {
        world.apply::<Webhook>(manifest).await.unwrap();
        until(&format!("its route is one {expected}"), PATIENCE, || async {
            let found = routes(&world).await;
            if found == [format!("{expected} stripe-receiver")] { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await
        .unwrap();
    }

    // A controller says by its address that it serves it.
    let accepted =
        |webhook: &Webhook| condition(&webhook.status.clone().unwrap_or_default().conditions, "RouteAccepted");
    let waits = |webhook: &Webhook| match accepted(webhook) {
        told if told.contains(r#"no controller of the class "edge""#) => Ok(()),
        told => Err(told),
    };
    world.until("stripe", "its Ingress waits", waits).await.unwrap();
    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let api = world.api::<Ingress>();
    api.patch_status("stripe-receiver", &PatchParams::default(), &Patch::Merge(address)).await.unwrap();
    let serves = |webhook: &Webhook| {
        let url = webhook.status.clone().unwrap_or_default().url;
        let told = (accepted(webhook), url);
        let expected = Some(format!("http://hooks.example/{}/stripe", webhook.namespace().unwrap()));
        if told.0.starts_with("True") && told.1 == expected { Ok(()) } else { Err(format!("{told:?}")) }
    };
    world.until("stripe", "its Ingress is served", serves).await.unwrap();
}

#[tokio::test]
async fn the_address_of_an_endpoint_follows_its_gateway() {
    let world = World::begin("gateway").await.unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway"));
    let gateways = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let apply = async |more: Value| {
        let mut listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
        listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let manifest = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "edge"},
            "spec": {"gatewayClassName": "nobody", "listeners": [listener]},
        });
        gateways.patch("edge", &PatchParams::apply("kubectl").force(), &Patch::Apply(manifest)).await.unwrap();
    };
    let says = async |what: &str| {
        let judge = |webhook: &Webhook| {
            let status = webhook.status.clone().unwrap_or_default();
            let told = format!("{} {}", status.url.unwrap_or_default(), condition(&status.conditions, "RouteAccepted"));
            if told.contains(what) { Ok(()) } else { Err(told) }
        };
        world.until("stripe", what, judge).await.unwrap();
    };
    world.apply::<Webhook>(WEBHOOK).await.unwrap();
    says("there is no Gateway").await;
    for host in ["a.example", "b.example"] {
        apply(json!({"hostname": host})).await;
        says(&format!("http://{host}/{}/stripe ", world.namespace)).await;
    }
    apply(json!({})).await;
    let address = json!({"status": {"addresses": [{"type": "IPAddress", "value": "2001:db8::1"}]}});
    gateways.patch_status("edge", &PatchParams::default(), &Patch::Merge(address)).await.unwrap();
    says(&format!("http://[2001:db8::1]/{}/stripe ", world.namespace)).await;
    let bank = json!({"from": "Selector", "selector": {"matchLabels": {"team": "bank"}}});
    apply(json!({"allowedRoutes": {"namespaces": bank}})).await;
    says("it does not have the labels").await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "bank"}}}));
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.patch(&world.namespace, &PatchParams::default(), &label).await.unwrap();
    says("has not answered").await;
}

#[tokio::test]
async fn without_kong_there_is_no_route_past_its_plugins() {
    let world = World::begin("kong").await.unwrap();
    world.apply::<Webhook>(WEBHOOK).await.unwrap();
    until("it has a route", PATIENCE, || async {
        let found = routes(&world).await;
        if found.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap();
    let restricted = WEBHOOK.replace("[{name: edge}]", "[{name: edge}], kong: {allow: [192.0.2.0/24]}");
    world.apply::<Webhook>(&restricted).await.unwrap();
    let judge = |webhook: &Webhook| {
        let accepted = condition(&webhook.status.clone().unwrap_or_default().conditions, "RouteAccepted");
        if accepted.contains("KongMissing") { Ok(()) } else { Err(accepted) }
    };
    world.until("stripe", "it waits for Kong", judge).await.unwrap();
    until("the route is gone", PATIENCE, || async {
        let found = routes(&world).await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
}
