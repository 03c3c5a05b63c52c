//! What goes with the Deployments of receivers and workers.

use k8s_openapi::api::{networking::v1::NetworkPolicy, policy::v1::PodDisruptionBudget};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use sluice_suite::{Stage, operator::Launch, until, world::PATIENCE};

use crate::{apply_integration, apply_webhook};

/// Waits until exactly these budgets are there.
async fn budgets_are(stage: &Stage, expected: &[&str]) {
    until("the budgets are as wanted", PATIENCE, || async {
        let found = stage.api::<PodDisruptionBudget>().list(&ListParams::default()).await;
        let found = found.map_err(|error| error.to_string())?;
        let names: Vec<_> = found.iter().filter_map(|budget| budget.metadata.name.as_deref()).collect();
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn pods_are_put_out_one_at_a_time_where_there_are_several() {
    let stage = Stage::begin("budgets").await.unwrap();
    let _operator = stage.start(&stage.launch_apart("budgets").await.unwrap()).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    apply_integration(&stage, "replicas: 3").await;
    apply_webhook(&stage, "replicas: 2").await;
    budgets_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    let spec = stage.api::<PodDisruptionBudget>().get("to-api-worker").await.unwrap().spec.unwrap();
    let labels = json!({"app.kubernetes.io/name": "sluice-worker", "sluice.dev/integration": "to-api"});
    assert_eq!(json!(spec.selector), json!({"matchLabels": labels}));
    assert_eq!(json!(spec.max_unavailable), json!(1));

    stage.api::<PodDisruptionBudget>().delete("to-api-worker", &DeleteParams::default()).await.unwrap();
    budgets_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    apply_integration(&stage, "replicas: 1").await;
    budgets_are(&stage, &["stripe-receiver"]).await;
}

/// Waits until exactly these policies are there.
async fn policies_are(stage: &Stage, expected: &[&str]) {
    until("the policies are as wanted", PATIENCE, || async {
        let found = stage.api::<NetworkPolicy>().list(&ListParams::default()).await;
        let names: Vec<_> = found.map_err(|error| error.to_string())?.iter().map(ResourceExt::name_any).collect();
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn policies_come_and_go_with_the_configuration() {
    let stage = Stage::begin("policies").await.unwrap();
    let launch = stage.launch_apart("policies").await.unwrap();
    let policies = "networkPolicies: {operatorNamespace: sluice-system, monitoringNamespaces: [monitoring]}";
    let settings = format!("{}{policies}\n", launch.settings);
    let operator = stage.start(&Launch { settings, ..launch.clone() }).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    apply_integration(&stage, "replicas: 1").await;
    apply_webhook(&stage, "replicas: 1").await;
    policies_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    let spec = stage.api::<NetworkPolicy>().get("to-api-worker").await.unwrap().spec.unwrap();
    let from = ["sluice-system", "monitoring"]
        .map(|name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}));
    let status = json!({"ports": [{"port": 9090, "protocol": "TCP"}], "from": from});
    assert_eq!(json!(spec.ingress), json!([status]));
    stage.api::<NetworkPolicy>().delete("stripe-receiver", &DeleteParams::default()).await.unwrap();
    policies_are(&stage, &["stripe-receiver", "to-api-worker"]).await;

    drop(operator);
    let _operator = stage.start(&launch).await.unwrap();
    policies_are(&stage, &[]).await;
}
