//! Clusters that change under the operator: a CRD that was looser once, and a Gateway API that is installed later. On a cluster
//! of its own, because what it does to the cluster concerns everybody.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::time::Duration;

use k8s_openapi::{
    api::events::v1::Event, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, Target, testing::OwnCluster};
use sluice_crds::{Topic, Webhook};
use sluice_suite::{
    Stage, until,
    world::{PATIENCE, condition},
};

/// A kind that is missing is looked for every 30 s.
const LOOKED_FOR: Duration = Duration::from_secs(90);
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, \
                       spec: {route: {parentRefs: [{name: edge}]}, verify: {none: {}}}}";

fn topic(name: &str) -> String {
    format!("{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {{name: {name}}}, spec: {{partitions: 2}}}}")
}

async fn topic_is_ready(stage: &Stage, name: &str) -> anyhow::Result<()> {
    let judge = |topic: &Topic| {
        let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("True") { Ok(()) } else { Err(ready) }
    };
    stage.until(name, "it is ready", judge).await
}

/// Writes a Topic that is none, while its CRD takes anything.
async fn write_something_else(stage: &Stage, name: &str) {
    let definitions = Api::<CustomResourceDefinition>::all(stage.client.clone());
    let strict = definitions.get("topics.sluice.dev").await.unwrap().spec.versions;
    // Whatever the API server writes into its status meanwhile.
    let becomes = async |versions: Value| {
        let patch = Patch::Merge(json!({"spec": {"versions": versions}}));
        definitions.patch("topics.sluice.dev", &PatchParams::default(), &patch).await.unwrap();
    };
    let mut loose = strict.clone();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    loose[0].schema = Some(serde_json::from_value(schema).unwrap());
    becomes(json!(loose)).await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("sluice.dev", "v1alpha1", "Topic"));
    let topics = Api::<DynamicObject>::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let something = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Topic", "metadata": {"name": name},
                           "spec": {"partitions": "many"}});
    until("the API server takes anything", PATIENCE, || async {
        let parameters = PatchParams::apply("kubectl").force();
        topics.patch(name, &parameters, &Patch::Apply(&something)).await.map(drop).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    becomes(json!(strict)).await;
}

#[tokio::test]
async fn the_operator_lives_with_what_the_cluster_was_and_notices_what_it_becomes() {
    let cluster = OwnCluster::up("upgrade", &[Part::ControlPlane, Part::Kafka]).unwrap();
    let name = format!("upgrade-{}", std::process::id());
    let stage = Stage::on(Target::Local(Cluster::attach(&name).unwrap()), "upgrade").await.unwrap();
    write_something_else(&stage, "something").await;
    let operator = stage.start(&stage.launch("upgrade")).await.unwrap();

    // What cannot be decoded is told of, and holds up nobody.
    stage.apply::<Topic>(&topic("good")).await.unwrap();
    topic_is_ready(&stage, "good").await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    let undecodable = "sluice_operator_resources_undecodable{kind=\"Topic\"}";
    assert!((operator.metric(undecodable).await.unwrap() - 1.0).abs() < 0.1);
    let events = || async {
        let events = stage.api::<Event>().list(&ListParams::default()).await.unwrap();
        events.items.into_iter().filter(|event| event.reason.as_deref() == Some("Undecodable")).collect::<Vec<_>>()
    };
    until("an Event tells of it", PATIENCE, || async {
        let found = events().await;
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
    let event = events().await.remove(0);
    assert_eq!(event.regarding.unwrap().name.as_deref(), Some("something"));
    assert!(event.note.unwrap().contains("many"), "the Event says what is wrong");

    // As soon as there is a Topic in its place, that is treated as one.
    cluster.kubectl(&["delete", "topics.sluice.dev", "something", "--namespace", &stage.namespace]).unwrap();
    stage.apply::<Topic>(&topic("something")).await.unwrap();
    topic_is_ready(&stage, "something").await.unwrap();
    assert!(operator.metric(undecodable).await.unwrap() < 0.1);

    // Without the Gateway API everything but the route is made, and nobody is told so again and again.
    stage.apply::<Webhook>(WEBHOOK).await.unwrap();
    let judge = |webhook: &Webhook| {
        let accepted = condition(&webhook.status.clone().unwrap_or_default().conditions, "RouteAccepted");
        if accepted.contains("GatewayApiMissing") { Ok(()) } else { Err(accepted) }
    };
    stage.until("stripe", "its route waits", judge).await.unwrap();
    topic_is_ready(&stage, "stripe").await.unwrap();
    let complaints = operator.log().lines().filter(|line| line.contains("HTTPRoute") && line.contains("WARN")).count();
    assert_eq!(complaints, 1, "{}", operator.log());

    // Installed later, it is noticed.
    tokio::task::spawn_blocking(move || Cluster::up(&name, &[Part::GatewayCrds])).await.unwrap().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    let routes = Api::<DynamicObject>::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    until("the route is made", LOOKED_FOR, || async {
        let found = routes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if found.items.is_empty() { Err("no route".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    drop(operator);
    drop(cluster);
}
