//! What goes with the Deployments of receivers and workers.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use sluice_suite::{Stage, until, world::PATIENCE};

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
