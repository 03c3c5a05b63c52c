//! Who uses a Topic, as its status shows.

use kube::api::DeleteParams;
use sluice_crds::{Integration, Topic, Webhook};

use crate::stage::Stage;

/// Waits until the Topic's status names just these, as `<kind>/<name>`.
pub(crate) async fn used_by(stage: &Stage, name: &str, expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|user| user.replacen('/', &format!("/{}/", stage.namespace), 1)).collect();
    let judge = |topic: &Topic| {
        let used_by = topic.status.clone().unwrap_or_default().used_by;
        if used_by == expected { Ok(()) } else { Err(format!("{used_by:?}")) }
    };
    stage.until(name, &format!("it is used by {expected:?}"), judge).await.unwrap();
}

#[tokio::test]
async fn the_status_names_who_uses_the_topic_as_long_as_they_do() {
    let stage = Stage::begin("usage").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", "").await;
    stage.says("orders", "True InSync").await;
    stage.reader("by-name", "orders", "").await;
    used_by(&stage, "orders", &["Integration/by-name"]).await;
    let webhook = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, spec: {route: {parentRefs: \
                   [{name: edge}]}, verify: {none: {}}, topicRef: {name: orders}}}";
    stage.apply::<Webhook>(webhook).await.unwrap();
    for (name, source) in [
        ("through-webhook", "{webhook: {name: stripe}}".to_owned()),
        ("by-kafka-name", format!("{{kafka: {{topics: ['{kafka_name}']}}}}")),
    ] {
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: {name}}}, spec: {{source: {source}, \
             sink: {{http: {{url: 'http://api.example/'}}}}, deadLetters: {{topicRef: {{name: dead}}}}}}}}"
        );
        stage.apply::<Integration>(&yaml).await.unwrap();
    }
    stage.writer("into-kafka-name", "dead", &kafka_name).await;
    let all = [
        "Integration/by-kafka-name",
        "Integration/by-name",
        "Integration/into-kafka-name",
        "Integration/through-webhook",
        "Webhook/stripe",
    ];
    used_by(&stage, "orders", &all).await;
    stage.delete::<Integration>("into-kafka-name").await;
    stage.topic("dead", "").await;
    used_by(&stage, "dead", &["Integration/by-kafka-name", "Integration/through-webhook"]).await;
    used_by(&stage, "by-name-dead-letters", &["Integration/by-name"]).await;

    // Seen from the other side.
    let names = |all: &[&str]| -> Vec<String> {
        all.iter().map(|one| one.replacen('/', &format!("/{}/", stage.namespace), 1)).collect()
    };
    let of_webhook = |webhook: &Webhook| {
        let status = webhook.status.clone().unwrap_or_default();
        let said = (status.depends_on, status.used_by);
        let readers = ["Integration/by-name", "Integration/through-webhook"];
        if said == (names(&["Gateway/edge", "Topic/orders"]), names(&readers)) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    };
    stage.until("stripe", "it says what it depends on and who reads it", of_webhook).await.unwrap();
    let of_integration = |integration: &Integration| {
        let said = integration.status.clone().unwrap_or_default().depends_on;
        if said == names(&["Topic/dead", "Webhook/stripe"]) { Ok(()) } else { Err(format!("{said:?}")) }
    };
    stage.until("through-webhook", "it says what it depends on", of_integration).await.unwrap();

    no_longer_used(&stage).await;
}

/// The users go, one after the other.
async fn no_longer_used(stage: &Stage) {
    // Its workers read the topic also without the Webhook.
    let runs = |integration: &Integration| match integration.status.clone().unwrap_or_default().last_good {
        Some(_) => Ok(()),
        None => Err("it was not carried out yet".to_owned()),
    };
    stage.until("through-webhook", "it is carried out", runs).await.unwrap();
    stage.api::<Webhook>().delete("stripe", &DeleteParams::default()).await.unwrap();
    let left = ["Integration/by-kafka-name", "Integration/by-name", "Integration/through-webhook"];
    used_by(stage, "orders", &left).await;
    for name in ["by-kafka-name", "by-name", "through-webhook"] {
        stage.delete::<Integration>(name).await;
    }
    used_by(stage, "orders", &[]).await;
}
