//! Some namespaces only, with Roles and no ClusterRole: `manifests/namespaced` as it stands. On a cluster of its own, where nothing
//! gives the operator more.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, Target, testing::OwnCluster};
use sluice_crds::{
    Topic,
    metrics::operator::{QUEUE_DEPTH, RECONCILES_IN_PROGRESS},
};
use sluice_suite::{
    Stage, checkout,
    operator::{Launch, SERVICE_ACCOUNT},
    until,
    world::{PATIENCE, are_served, condition},
};

const TOPIC: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {partitions: 2}}";
const WEBHOOK: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, \
                       spec: {route: {parentRefs: [{name: edge, namespace: gateways}]}, verify: {none: {}}}}";
const INTEGRATION: &str = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, \
                           spec: {source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}}}";

fn ready(topic: &Topic) -> String {
    condition(&topic.status.clone().unwrap_or_default().conditions, "Ready")
}

/// Of the first document that is of that kind.
fn rules(file: &str, kind: &str) -> Value {
    let text = std::fs::read_to_string(checkout("manifests").unwrap().join(file)).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().find(|document| document["kind"] == kind).unwrap()["rules"].take()
}

#[test]
fn a_namespace_gives_the_rights_that_a_cluster_does_but_for_the_watch_on_namespaces() {
    let mut expected = rules("operator/access.yaml", "ClusterRole");
    let watch = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]});
    assert_eq!(expected.as_array_mut().unwrap().pop(), Some(watch));
    assert_eq!(rules("namespaced/access/role.yaml", "Role"), expected);
}

/// That it changes nothing of an Integration but its finalizers is seen in the API server's log: `--test topic groups`.
#[test]
fn an_operator_has_no_right_to_make_delete_or_scale_webhooks_and_integrations_nor_to_write_a_webhook() {
    let rules = rules("operator/access.yaml", "ClusterRole");
    // Others have Integrations too.
    let may = |resource: &str| -> Vec<Value> {
        let of = |rule: &&Value| {
            rule["apiGroups"] == json!(["sluice.dev"])
                && rule["resources"].as_array().unwrap().contains(&resource.into())
        };
        rules.as_array().unwrap().iter().filter(of).flat_map(|rule| rule["verbs"].as_array().unwrap().clone()).collect()
    };
    assert_eq!(may("webhooks"), ["get", "list", "watch"]);
    assert_eq!(may("integrations"), ["get", "list", "watch", "patch"]);
    for kind in ["webhooks", "integrations"] {
        assert_eq!(may(&format!("{kind}/status")), ["patch"], "{kind}");
        assert!(may(&format!("{kind}/scale")).is_empty(), "{kind}");
    }
}

/// Waits until the operator may do what its Roles say: the API server knows of them a moment after it has taken them.
async fn has_its_rights(cluster: &OwnCluster) {
    let account = format!("--as=system:serviceaccount:{}:{}", SERVICE_ACCOUNT.0, SERVICE_ACCOUNT.1);
    let rights = [("leases.coordination.k8s.io", SERVICE_ACCOUNT.0), ("topics.sluice.dev", "shop")];
    until("the operator has its rights", PATIENCE, || async {
        for (resource, namespace) in rights {
            let may = cluster.kubectl(&["auth", "can-i", "create", resource, "--namespace", namespace, &account]);
            may.map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_operator_with_roles_only_looks_after_its_namespaces_and_no_other() {
    let cluster = OwnCluster::up("namespaced", &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka]).unwrap();
    let name = format!("namespaced-{}", std::process::id());
    let target = || Target::Local(Cluster::attach(&name).unwrap());
    let shop = Stage::bare(target(), "shop".to_owned()).await.unwrap();
    let bank = Stage::bare(target(), "bank".to_owned()).await.unwrap();
    let gateways = Namespace {
        metadata: ObjectMeta { name: Some("gateways".to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    Api::all(shop.client.clone()).create(&PostParams::default(), &gateways).await.unwrap();
    let folder = checkout("manifests/namespaced").unwrap().display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-k", &folder]).unwrap();
    let roles = cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]).unwrap();
    assert!(!roles.contains("sluice"), "{roles}");

    are_served(&shop.client).await.unwrap();
    has_its_rights(&cluster).await;

    let arguments = vec!["--namespaces".to_owned(), "shop".to_owned()];
    let operator = shop.start(&Launch { arguments, ..shop.launch("namespaced") }).await.unwrap();
    bank.apply::<Topic>(TOPIC).await.unwrap();
    shop.apply::<Topic>(TOPIC).await.unwrap();
    shop.apply::<sluice_crds::Webhook>(WEBHOOK).await.unwrap();
    shop.apply::<sluice_crds::Integration>(INTEGRATION).await.unwrap();
    let is_ready = |topic: &Topic| if ready(topic).starts_with("True") { Ok(()) } else { Err(ready(topic)) };
    for topic in ["orders", "stripe", "to-api-dead-letters"] {
        let done = shop.until(topic, "it is ready", is_ready).await;
        done.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    }
    for deployment in ["stripe-receiver", "to-api-worker"] {
        shop.until(deployment, "it is made", |_: &Deployment| Ok(())).await.unwrap();
    }
    until("all passes succeed", PATIENCE, || async {
        let waiting = operator.metric(QUEUE_DEPTH.name).await.map_err(|error| error.to_string())?;
        let running = operator.metric(RECONCILES_IN_PROGRESS.name).await.map_err(|error| error.to_string())?;
        if waiting + running < 0.1 { Ok(()) } else { Err(format!("{waiting} waiting, {running} running")) }
    })
    .await
    .unwrap();
    let log = operator.log();
    assert!(!log.contains("forbidden"), "{log}");
    assert!(ready(&bank.api::<Topic>().get("orders").await.unwrap()).starts_with("Unknown"));
}
