//! How it stands with deliveries is seen in the Integration's status: what workers tell of them, and what the sink fails with.

use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{Integration, IntegrationStatus};
use sluice_kafka::Admin;
use sluice_suite::{
    Shop, until,
    world::{PATIENCE, condition},
};

use crate::write;

/// Waits until the status is as `judge` wants it.
async fn status_says(shop: &Shop, what: &str, judge: impl Fn(&IntegrationStatus) -> bool) {
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        if judge(&status) { Ok(()) } else { Err(format!("{status:?}")) }
    };
    shop.integration_until(what, judge).await.unwrap();
}

/// Waits as a script of a user would.
fn wait_for(shop: &Shop, condition: &str) {
    let condition = format!("--for=condition={condition}");
    let integration = "integrations.sluice.dev/payments-to-ledger";
    shop.target.kubectl(&["wait", &condition, "--timeout=1m", "-n", &shop.namespace, integration]).unwrap();
}

fn is_positive(rate: Option<&String>) -> bool {
    rate.is_some_and(|rate| rate.ends_with("/s") && rate != "0/s")
}

#[tokio::test]
async fn an_open_circuit_is_told_with_what_the_api_answers_and_the_integration_stays_ready() {
    let breaking = |integration: &mut serde_json::Value| {
        integration["spec"]["delivery"]["circuitBreaker"] = json!({"failures": 3, "openFor": "2s"});
    };
    let shop = Shop::open("circuit", breaking).await.unwrap();
    status_says(&shop, "its worker is asked", |status| {
        status.circuit.as_deref() == Some("Closed")
            && condition(&status.conditions, "SinkHealthy").starts_with("True Satisfied")
    })
    .await;

    shop.ledger.behave(&json!({"unavailable": true})).await.unwrap();
    write(&shop, 0..20).await;
    status_says(&shop, "its circuit is open", |status| {
        let sink = condition(&status.conditions, "SinkHealthy");
        status.circuit.as_deref().is_some_and(|circuit| circuit != "Closed")
            && sink.starts_with("False CircuitOpen: ")
            && sink.contains("the API answered 503")
    })
    .await;
    wait_for(&shop, "SinkHealthy=false");
    wait_for(&shop, "Ready");

    shop.ledger.behave(&json!({})).await.unwrap();
    shop.ledger_has(20).await.unwrap();
    status_says(&shop, "it tells of failures and deliveries", |status| {
        status.circuit.as_deref() == Some("Closed")
            && condition(&status.conditions, "SinkHealthy").starts_with("True Satisfied")
            && is_positive(status.rate.as_ref())
            && status.error_rate.as_deref().is_some_and(|rate| rate != "0%" && rate.ends_with('%'))
            && status.p95.is_some()
            && status.last_delivery_time.is_some()
    })
    .await;
    wait_for(&shop, "SinkHealthy");
    let events = Api::<Event>::namespaced(shop.client.clone(), &shop.namespace);
    let told = events.list(&ListParams::default().fields("reason=CircuitOpen")).await.unwrap().items;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_bad_spec_is_held_back_and_the_last_good_one_goes_on() {
    let shop = Shop::open("held-back", |_| ()).await.unwrap();
    let api = Api::<Integration>::namespaced(shop.client.clone(), &shop.namespace);
    let good = api.get("payments-to-ledger").await.unwrap();
    let steps = async |steps: &serde_json::Value| {
        let patch = Patch::Merge(json!({"spec": {"steps": steps}}));
        api.patch("payments-to-ledger", &PatchParams::default(), &patch).await.unwrap().metadata.generation
    };
    let bad = steps(&json!([{"name": "broken", "map": ".a = upcase("}])).await;
    status_says(&shop, "it says which generation runs", |status| {
        status.observed_generation == bad
            && status.active_generation == good.metadata.generation
            && condition(&status.conditions, "ConfigValid").starts_with("False Invalid: spec.steps[0].map")
            && condition(&status.conditions, "WorkersAvailable").starts_with("True")
    })
    .await;
    wait_for(&shop, "Ready=false");
    wait_for(&shop, "Stalled");
    write(&shop, 0..10).await;
    shop.ledger_has(10).await.unwrap();

    let again = steps(&serde_json::to_value(&good.spec.steps).unwrap()).await;
    status_says(&shop, "the newest generation runs", |status| {
        status.observed_generation == again && status.active_generation == again
    })
    .await;
    wait_for(&shop, "Ready");
}

#[tokio::test]
async fn a_partition_that_halts_is_told_with_the_record_and_what_the_api_answers() {
    let halting = |integration: &mut serde_json::Value| {
        integration["spec"]["delivery"]["onDeliveryError"] = json!("Halt");
    };
    let shop = Shop::open("halted", halting).await.unwrap();
    shop.ledger.behave(&json!({"refuse": "customer-3"})).await.unwrap();
    write(&shop, 0..10).await;
    let topic = shop.topic();
    status_says(&shop, "it names the record", |status| {
        let sink = condition(&status.conditions, "SinkHealthy");
        let place = sink.split_once(&format!("{topic}[")).map_or("", |(_, place)| place);
        sink.starts_with("False Halted: ") && place.contains("]@") && place.contains("the API answered 422")
    })
    .await;
    wait_for(&shop, "SinkHealthy=false");
    wait_for(&shop, "Ready");

    // What the API refuses no longer occurs in what it gets.
    let api = Api::<Integration>::namespaced(shop.client.clone(), &shop.namespace);
    let mut steps = api.get("payments-to-ledger").await.unwrap().spec.steps;
    let program = steps.last_mut().unwrap().map.as_mut().unwrap();
    *program = program.replace(".customer", "upcase(string!(.customer))");
    let patch = Patch::Merge(json!({"spec": {"steps": steps}}));
    let changed = api.patch("payments-to-ledger", &PatchParams::default(), &patch).await.unwrap().metadata.generation;
    status_says(&shop, "the partition goes on with the changed Integration", |status| {
        let sink = condition(&status.conditions, "SinkHealthy");
        status.active_generation == changed && sink.starts_with("True Satisfied")
    })
    .await;
    wait_for(&shop, "SinkHealthy");
    let entries = shop.ledger_has(10).await.unwrap();
    assert!(entries.iter().any(|entry| entry["customer"] == "CUSTOMER-3"), "{entries:?}");
}

#[tokio::test]
async fn a_group_is_deleted_with_its_integration_after_its_workers_have_ended() {
    let deleting = |integration: &mut serde_json::Value| integration["spec"]["deletionPolicy"] = json!("Delete");
    let shop = Shop::open("group-deleted", deleting).await.unwrap();
    write(&shop, 0..10).await;
    shop.ledger_has(10).await.unwrap();
    let kafka = Admin::connect(&shop.kafka().unwrap()).unwrap();
    let group = format!("{}.payments-to-ledger", shop.namespace);
    until("an offset is committed", PATIENCE, || async {
        let offsets = kafka.group_offsets(&group).await.map_err(|error| error.to_string())?;
        if offsets.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap();
    let integration = "integrations.sluice.dev/payments-to-ledger";
    shop.target.kubectl(&["delete", "--timeout=3m", "-n", &shop.namespace, integration]).unwrap();
    assert_eq!(kafka.group_offsets(&group).await.unwrap(), [].into());
}
