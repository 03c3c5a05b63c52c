//! At rest nothing is written: proved by resourceVersions and by the API server's own audit log. Alone in its process, so
//! that every pass that the operator counts is one over these objects.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::default_trait_access,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it must be"
)]

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
    },
};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_crds::{Integration, Topic, Webhook, metrics::operator::RECONCILES};
use sluice_suite::{
    World, settled, until,
    world::{PATIENCE, are_observed, condition},
};

const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {partitions: 2}}";
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, \
                           spec: {source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}}}";
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, \
                       spec: {route: {parentRefs: [{name: edge}]}, verify: {none: {}}}}";

async fn topic_is_ready(world: &World, name: &str) {
    let judge = |topic: &Topic| {
        let ready = condition(&topic.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("True") { Ok(()) } else { Err(ready) }
    };
    world.until(name, "it is ready", judge).await.unwrap();
}

/// What the operator asked of a namespace, from the API server's own log. An external cluster does not show it.
fn requests(world: &World) -> Vec<Value> {
    let log = world.audit_log.as_ref().map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_ours = |event: &Value| {
        let by_operator = event["user"]["username"] == "system:serviceaccount:sluice-system:sluice-operator";
        by_operator && event["objectRef"]["namespace"] == world.namespace.as_str()
    };
    events.filter(is_ours).collect()
}

fn is_write(event: &Value) -> bool {
    !["get", "list", "watch"].map(Value::from).contains(&event["verb"])
}

/// A look at an object that nobody wants and the watch has not told of.
fn is_needless(event: &Value) -> bool {
    event["verb"] == "get" && event["objectRef"]["resource"] == "networkpolicies"
}

/// The versions of all objects of a kind, by kind and name.
async fn versions<K>(world: &World) -> BTreeMap<String, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let objects = world.api::<K>().list(&ListParams::default()).await.unwrap();
    let version = |object: K| (format!("{} {}", K::kind(&()), object.name_any()), object.resource_version().unwrap());
    objects.into_iter().map(version).collect()
}

async fn all_versions(world: &World) -> BTreeMap<String, String> {
    let mut all = versions::<Topic>(world).await;
    all.extend(versions::<Integration>(world).await);
    all.extend(versions::<Webhook>(world).await);
    all.extend(versions::<Deployment>(world).await);
    all.extend(versions::<ConfigMap>(world).await);
    all.extend(versions::<Service>(world).await);
    all
}

/// The versions of all objects once none changes any more, and neither the operator nor Kubernetes has anything to do.
async fn at_rest(world: &World) -> BTreeMap<String, String> {
    settled("no object changes", 2 * PATIENCE, || async {
        let versions = all_versions(world).await;
        are_observed(&world.api::<Deployment>().list(&ListParams::default()).await.unwrap().items)?;
        world.operator.is_idle().await?;
        Ok(versions)
    })
    .await
    .unwrap()
}

/// Makes the operator look at everything again; the versions that this leads to, as long as it writes nothing itself.
async fn touched(world: &World, mut versions: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let topic = world.touch::<Topic>("orders").await.unwrap();
    let integration = world.touch::<Integration>("to-api").await.unwrap();
    let webhook = world.touch::<Webhook>("stripe").await.unwrap();
    versions.insert("Topic orders".into(), topic.resource_version().unwrap());
    versions.insert("Integration to-api".into(), integration.resource_version().unwrap());
    versions.insert("Webhook stripe".into(), webhook.resource_version().unwrap());
    versions
}

#[tokio::test]
async fn a_pass_over_an_unchanged_world_writes_nothing() {
    let world = World::begin("rest").await.unwrap();
    world.apply::<Topic>(TOPIC).await.unwrap();
    world.apply::<Integration>(INTEGRATION).await.unwrap();
    world.apply::<Webhook>(WEBHOOK).await.unwrap();
    topic_is_ready(&world, "orders").await;
    topic_is_ready(&world, "stripe").await;
    topic_is_ready(&world, "to-api-dead-letters").await;
    // Without pods this is where it comes to rest, with its first numbers.
    let measured =
        |integration: &Integration| match integration.status.as_ref().and_then(|status| status.dead_letters.clone()) {
            Some(_)
                if condition(&integration.status.as_ref().unwrap().conditions, "DependenciesReady")
                    .starts_with("True") =>
            {
                Ok(())
            }
            other => Err(format!("dead letters {other:?}")),
        };
    world.until("to-api", "it was measured", measured).await.unwrap();
    world.until("stripe-receiver", "the Deployment is made", |_: &Deployment| Ok(())).await.unwrap();

    let mut expected = at_rest(&world).await;
    let passes = passes_of(&world).await;
    let before = requests(&world).len();
    for _ in 0..3 {
        let so_far = passes_of(&world).await;
        expected = touched(&world, expected).await;
        until("the operator looked again", PATIENCE, || async {
            let now = passes_of(&world).await;
            if now >= so_far + 3 { Ok(()) } else { Err(format!("{now} passes")) }
        })
        .await
        .unwrap();
    }
    assert!(passes_of(&world).await >= passes + 9);
    let all = requests(&world);
    let written: Vec<&Value> = all[before..].iter().filter(|event| is_write(event)).collect();
    assert_eq!(written, Vec::<&Value>::new());
    let needless: Vec<&Value> = all.iter().filter(|event| is_needless(event)).collect();
    assert_eq!(needless, Vec::<&Value>::new());
    assert_eq!(all_versions(&world).await, expected);
}

/// Passes that the operator has finished, from its metrics.
async fn passes_of(world: &World) -> u64 {
    let url = format!("http://{}/metrics", world.operator.status);
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let counts = text.lines().filter(|line| line.starts_with(RECONCILES.name));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
