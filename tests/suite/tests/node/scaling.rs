//! Workers that follow the lag down to none, and come back with the next records.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::json;
use sluice_crds::Integration;
use sluice_suite::{Shop, install::ROLLOUT, shop::ready, until};

use crate::{lag, write};

/// Waits until there are as many pods of workers as it takes, those that end included.
async fn workers_are(shop: &Shop, what: &str, is_it: impl Fn(usize) -> bool) {
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let workers = ListParams::default().labels("app.kubernetes.io/name=sluice-worker");
    until(what, ROLLOUT, || async {
        let count = pods.list(&workers).await.map_err(|error| error.to_string())?.items.len();
        if is_it(count) { Ok(()) } else { Err(format!("{count} pods")) }
    })
    .await
    .unwrap();
}

/// Waits until no worker is left, and the Integration says that it wants none and is ready.
async fn workers_go(shop: &Shop) {
    workers_are(shop, "no worker is left", |count| count == 0).await;
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let numbers = (status.wanted_replicas, status.replicas, status.ready_replicas);
        if numbers == (Some(0), Some(0), Some(0)) { ready(&status.conditions) } else { Err(format!("{numbers:?}")) }
    };
    shop.integration_until("no worker is wanted", judge).await.unwrap();
}

#[tokio::test]
async fn workers_go_while_nothing_waits_and_come_back_with_the_next_records() {
    const FIRST: usize = 30;
    const ALL: usize = 60;
    let scaled = |integration: &mut serde_json::Value| {
        integration["spec"]["scaling"] = json!({"minReplicas": 0, "maxReplicas": 2, "cooldown": "5s"});
    };
    let shop = Shop::open("zero", scaled).await.unwrap();
    let integrations = Api::<Integration>::namespaced(shop.client.clone(), &shop.namespace);
    let spec = integrations.get("payments-to-ledger").await.unwrap().spec;

    write(&shop, 0..FIRST).await;
    shop.ledger_has(FIRST).await.unwrap();
    workers_go(&shop).await;
    shop.integration_until(
        "lag is 0",
        |integration| if lag(integration) == "0" { Ok(()) } else { Err(lag(integration)) },
    )
    .await
    .unwrap();

    write(&shop, FIRST..ALL).await;
    workers_are(&shop, "a worker comes", |count| count > 0).await;
    shop.ledger_has(ALL).await.unwrap();
    workers_go(&shop).await;
    let now = integrations.get("payments-to-ledger").await.unwrap();
    assert_eq!((now.spec, now.metadata.generation), (spec, Some(1)), "the spec is the user's");
}
