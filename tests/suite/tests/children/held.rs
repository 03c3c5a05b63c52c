//! A spec that cannot be carried out holds back only what it breaks.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::{
    Stage,
    world::{condition, judge_topic},
};

use crate::{apply_integration, apply_webhook, template};

const BROKEN: &str = "steps: [{name: broken, map: '.a = upcase('}]";

/// Waits until the condition of that type begins like that.
async fn says(stage: &Stage, kind: &str, what: &str) {
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let said = condition(&status.conditions, kind);
        let is_current = status.observed_generation == integration.meta().generation;
        if is_current && said.starts_with(what) { Ok(()) } else { Err(said) }
    };
    stage.until("to-api", what, judge).await.unwrap();
}

#[tokio::test]
async fn an_integration_with_a_broken_step_is_scaled_repaired_and_paused_also_after_a_restart() {
    let stage = Stage::begin("held").await.unwrap();
    let launch = stage.launch_apart("held").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    stage.until("orders", "in sync", |topic: &Topic| judge_topic(topic, "True").map(drop)).await.unwrap();
    apply_integration(&stage, "replicas: 2").await;
    let good = template(&stage, "to-api-worker", 2).await;
    let noted = |integration: &Integration| match &integration.status.clone().unwrap_or_default().last_good {
        Some(_) => Ok(()),
        None => Err("nothing is noted".to_owned()),
    };
    stage.until("to-api", "its objects are noted", noted).await.unwrap();

    apply_integration(&stage, &format!("replicas: 5, {BROKEN}")).await;
    assert_eq!(template(&stage, "to-api-worker", 5).await, good);
    says(&stage, "Ready", "False Invalid").await;
    says(&stage, "WorkersAvailable", "False").await;

    // What is deleted while no operator looks comes back, as it was, with the operator.
    drop(operator);
    stage.api::<Deployment>().delete("to-api-worker", &DeleteParams::default()).await.unwrap();
    stage.api::<Topic>().delete("to-api-dead-letters", &DeleteParams::default()).await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    assert_eq!(template(&stage, "to-api-worker", 5).await, good);
    stage.until("to-api-dead-letters", "it comes back", |_: &Topic| Ok(())).await.unwrap();

    // What somebody changes is put back.
    let drift = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}, "replicas": 9}});
    stage.api::<Deployment>().patch("to-api-worker", &PatchParams::default(), &Patch::Merge(drift)).await.unwrap();
    assert_eq!(template(&stage, "to-api-worker", 5).await, good);

    apply_integration(&stage, &format!("paused: true, {BROKEN}")).await;
    assert_eq!(template(&stage, "to-api-worker", 0).await, good);
    says(&stage, "Paused", "True").await;

    apply_integration(&stage, "steps: [{name: all, filter: 'true'}]").await;
    let judge = |worker: &Deployment| {
        let template = json!(worker.spec.as_ref().unwrap().template);
        if template == good { Err("the old template".to_owned()) } else { Ok(()) }
    };
    stage.until("to-api-worker", "a new template", judge).await.unwrap();
    says(&stage, "ConfigValid", "True").await;
    let log = operator.log();
    assert!(!log.contains("The pass failed"), "{log}");
}

#[tokio::test]
async fn a_note_that_somebody_else_wrote_makes_no_objects() {
    let stage = Stage::begin("forged").await.unwrap();
    let launch = stage.launch_apart("forged").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    apply_integration(&stage, "replicas: 1").await;
    let noted = |integration: &Integration| {
        let last_good = integration.status.clone().unwrap_or_default().last_good;
        last_good.map(|noted| noted.config_map).ok_or_else(|| "nothing is noted".to_owned())
    };
    let name = stage.until("to-api", "its objects are noted", noted).await.unwrap();
    says(&stage, "DependenciesReady", "True").await;
    drop(operator);

    let config_map = stage.api::<ConfigMap>().get(&name).await.unwrap();
    let forged = config_map.annotations()["sluice.dev/objects"].replace("sluice/worker:dev", "evil:dev");
    let patch = json!({"metadata": {"annotations": {"sluice.dev/objects": forged}}});
    stage.api::<ConfigMap>().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    stage.api::<Deployment>().delete("to-api-worker", &DeleteParams::default()).await.unwrap();
    apply_integration(&stage, BROKEN).await;
    let operator = stage.start(&launch).await.unwrap();
    says(&stage, "Ready", "False Invalid").await;
    operator.looks_again::<Integration>(&stage, "to-api").await.unwrap();
    assert!(stage.api::<Deployment>().get_opt("to-api-worker").await.unwrap().is_none());
}

#[tokio::test]
async fn a_webhook_that_cannot_be_carried_out_is_paused_and_keeps_its_service() {
    let stage = Stage::begin("held-webhook").await.unwrap();
    let launch = stage.launch_apart("held-webhook").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    apply_webhook(&stage, "replicas: 1").await;
    let good = template(&stage, "stripe-receiver", 1).await;
    let noted = |webhook: &Webhook| match &webhook.status.clone().unwrap_or_default().last_good {
        Some(_) => Ok(()),
        None => Err("nothing is noted".to_owned()),
    };
    stage.until("stripe", "its objects are noted", noted).await.unwrap();

    apply_webhook(&stage, "respond: {status: 203}, replicas: 3, paused: true").await;
    assert_eq!(template(&stage, "stripe-receiver", 3).await, good);
    let obeys = |controls: &ConfigMap| {
        let data = controls.data.clone().unwrap_or_default();
        let says = data.get("controls.json").cloned().unwrap_or_default();
        if says == r#"{"paused":true,"replicas":3}"# { Ok(()) } else { Err(says) }
    };
    stage.until("stripe-receiver-controls", "receivers are told", obeys).await.unwrap();
    stage.api::<Service>().delete("stripe-receiver", &DeleteParams::default()).await.unwrap();
    stage.until("stripe-receiver", "the Service comes back", |_: &Service| Ok(())).await.unwrap();
    let judge = |webhook: &Webhook| {
        let ready = condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("False Invalid") { Ok(()) } else { Err(ready) }
    };
    stage.until("stripe", "it says what is wrong", judge).await.unwrap();
    let log = operator.log();
    assert!(!log.contains("The pass failed"), "{log}");
}
