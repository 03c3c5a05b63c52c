//! Receivers that run and are not ready. There is no node: what a kubelet would say of their pod is written here.

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::Webhook;
use sluice_suite::{
    Stage,
    operator::Operator,
    until,
    world::{PATIENCE, condition},
};

use crate::apply_webhook;

/// Waits until the Webhook has a receiver's pod; gives its name.
async fn pod(stage: &Stage) -> String {
    let receivers = ListParams::default().labels("sluice.dev/webhook=stripe");
    until("a receiver is made", PATIENCE, || async {
        let pods = stage.api::<Pod>().list(&receivers).await.map_err(|error| error.to_string())?;
        pods.items.first().map(ResourceExt::name_any).ok_or_else(|| "none is".to_owned())
    })
    .await
    .unwrap()
}

/// The pod has run for ten minutes, and has been as ready as now for all that time.
async fn kubelet_says(stage: &Stage, pod: &str, is_ready: bool) {
    let long_ago = (Timestamp::now() - SignedDuration::from_mins(10)).to_string();
    let container = json!({"name": "receiver", "image": "sluice/receiver:dev", "imageID": "", "restartCount": 0,
                           "ready": is_ready, "started": true, "state": {"running": {"startedAt": long_ago}}});
    let status = if is_ready { "True" } else { "False" };
    let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": long_ago});
    let status = json!({"status": {"phase": "Running", "conditions": [ready], "containerStatuses": [container]}});
    stage.api::<Pod>().patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// Waits until `ReceiverAvailable` and `Ready` are as `judge` wants them.
async fn says(stage: &Stage, what: &str, judge: impl Fn(&str, &str) -> bool) {
    let told = |webhook: &Webhook| {
        let conditions = webhook.status.clone().unwrap_or_default().conditions;
        let [available, ready] = ["ReceiverAvailable", "Ready"].map(|kind| condition(&conditions, kind));
        if judge(&available, &ready) { Ok(()) } else { Err(format!("{available}; {ready}")) }
    };
    stage.until("stripe", what, told).await.unwrap();
}

/// Waits until the operator tells so many ready receivers, which the alerts go by.
async fn ready_receivers_are(stage: &Stage, operator: &Operator, expected: &str) {
    let sample = format!("sluice_webhook_receivers_ready{{namespace=\"{}\",webhook=\"stripe\"}} ", stage.namespace);
    until(&format!("{expected} receivers are ready"), PATIENCE, || async {
        let answer = reqwest::get(format!("http://{}/metrics", operator.status)).await;
        let text = answer.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let told = text.lines().find_map(|line| line.strip_prefix(&sample));
        if told == Some(expected) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn receivers_that_run_and_are_not_ready_for_long_are_told_in_plain_words() {
    let stage = Stage::begin("unready").await.unwrap();
    let operator = stage.start(&stage.launch_apart("unready").await.unwrap()).await.unwrap();
    apply_webhook(&stage, "replicas: 1").await;
    let pod = pod(&stage).await;
    kubelet_says(&stage, &pod, false).await;
    let words = "receiver runs, but has not been ready for more than a minute";
    says(&stage, "it says what is the matter", |available, ready| {
        [available, ready].iter().all(|told| told.starts_with("False Unavailable") && told.contains(words))
    })
    .await;
    ready_receivers_are(&stage, &operator, "0").await;

    kubelet_says(&stage, &pod, true).await;
    says(&stage, "its receiver is ready", |available, ready| available.starts_with("True") && !ready.contains(words))
        .await;
    ready_receivers_are(&stage, &operator, "1").await;
}
