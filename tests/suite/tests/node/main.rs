//! The whole path on a real node: gateway, receiver, Kafka, worker, API. What the demo shows, and what must hold when things
//! go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::default_trait_access,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it must be"
)]

mod delivery;
mod monitors;
mod reception;
mod redis;
mod refused;
mod rollout;
mod runbooks;
mod scaling;
mod shared;
mod silent;
mod trouble;
mod versions;
mod witness;

use std::{cell::Cell, collections::BTreeSet, fs, process::Command};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use reqwest::StatusCode;
use serde_json::json;
use sluice_cluster::Target;
use sluice_crds::{Integration, IntegrationStatus};
use sluice_kafka::OutgoingRecord;
use sluice_suite::{
    Shop,
    install::ROLLOUT,
    letters,
    shop::{payment, ready},
    until,
};
use tokio::sync::oneshot;

use self::silent::{number, shows};

fn lag(integration: &Integration) -> String {
    integration.status.as_ref().and_then(|status| status.lag.clone()).unwrap_or_else(|| "unknown".to_owned())
}

#[tokio::test]
async fn a_signed_webhook_travels_to_the_api_once_and_a_forged_one_does_not() {
    let shop = Shop::open("story", |_| ()).await.unwrap();
    let sender = shop.sender().unwrap();
    for number in 0..20 {
        assert_eq!(sender.send(&format!("evt-{number}"), &payment(number)).await.unwrap(), StatusCode::ACCEPTED);
    }
    let mut failed = payment(20);
    failed["type"] = json!("payment.failed");
    assert_eq!(sender.send("evt-20", &failed).await.unwrap(), StatusCode::ACCEPTED);
    assert_eq!(sender.send("evt-7", &payment(7)).await.unwrap(), StatusCode::ACCEPTED, "a duplicate is acknowledged");
    assert_eq!(sender.forge("evt-21", &payment(21)).await.unwrap(), StatusCode::UNAUTHORIZED);

    shop.integration_until(
        "lag is 0",
        |integration| if lag(integration) == "0" { Ok(()) } else { Err(lag(integration)) },
    )
    .await
    .unwrap();
    let entries = shop.ledger_has(20).await.unwrap();
    assert!(entries.contains(&json!({"payment": "pay-7", "customer": "customer-7", "amount": 7, "currency": "EUR"})));
    let payments: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["payment"].as_str()).collect();
    assert_eq!(payments.len(), 20);
}

/// Writes payments straight into the topic, many at a time.
async fn write(shop: &Shop, numbers: std::ops::Range<usize>) {
    let producer = shop.producer().unwrap();
    let topic = shop.topic();
    stream::iter(numbers)
        .map(|number| {
            let mut record = OutgoingRecord::new(topic.as_str(), payment(number).to_string());
            record.key = Some(format!("customer-{}", number % 10).into());
            producer.send(record)
        })
        .buffer_unordered(500)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
}

/// The worker's pod.
async fn worker(shop: &Shop) -> String {
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let workers = pods.list(&ListParams::default().labels("app.kubernetes.io/name=sluice-worker")).await.unwrap();
    workers.items[0].name_any()
}

/// Ends the worker as a crash would. On a local node the container's process is killed without a word to anybody; on an
/// external one the pod is taken away without grace, the nearest to it that the API offers.
async fn kill_worker(shop: &Shop, pod: &str) {
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    match shop.target {
        Target::Local(_) => kill_process_of(pod),
        Target::External(_) => drop(pods.delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap()),
    }
}

fn kill_process_of(pod: &str) {
    assert!(signal_process_of(pod, "-KILL"), "the process runs");
}

/// Sends a signal to the container's process; says whether there is one.
fn signal_process_of(pod: &str, signal: &str) -> bool {
    let host = format!("HOSTNAME={pod}");
    let is_worker = |process: &fs::DirEntry| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == host.as_bytes())
    };
    let Some(process) = fs::read_dir("/proc").unwrap().filter_map(Result::ok).find(is_worker) else { return false };
    let pid = process.file_name().into_string().unwrap();
    Command::new("kill").args([signal, &pid]).status().unwrap().success()
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_loses_nothing() {
    const FIRST: usize = 1_000;
    const CHUNK: usize = 500;
    let unhurried = |integration: &mut serde_json::Value| {
        integration["spec"]["delivery"]["maxInFlight"] = json!(2);
    };
    let shop = Shop::open("killed", unhurried).await.unwrap();
    write(&shop, 0..FIRST).await;
    until("the worker works", ROLLOUT, || async {
        let count = shop.ledger.entries().await.map_err(|error| error.to_string())?.len();
        if count > FIRST / 2 { Ok(()) } else { Err(format!("{count} entries")) }
    })
    .await
    .unwrap();
    // Records come faster than it delivers them, and until it is killed: so it is in the middle, however fast it is.
    let (pod, is_killed) = (worker(&shop).await, Cell::new(false));
    let (has_work, works) = oneshot::channel();
    let writing = async {
        let (mut written, mut has_work) = (FIRST, Some(has_work));
        while !is_killed.get() {
            write(&shop, written..written + CHUNK).await;
            written += CHUNK;
            if let Some(has_work) = has_work.take_if(|_| written >= FIRST + 4 * CHUNK) {
                has_work.send(()).unwrap();
            }
        }
        written
    };
    let killing = async {
        works.await.unwrap();
        kill_worker(&shop, &pod).await;
        is_killed.set(true);
    };
    let (written, ()) = futures::join!(writing, killing);

    let entries = shop.ledger_has(written).await.unwrap();
    let payments: BTreeSet<String> = entries.iter().map(|entry| entry["payment"].to_string()).collect();
    assert_eq!(payments.len(), written);
}

#[tokio::test]
async fn while_the_api_is_unavailable_lag_grows_and_then_drains() {
    let patient = |integration: &mut serde_json::Value| {
        integration["spec"]["delivery"]["retry"] = json!({"maxAttempts": 1000, "backoff": {"max": "2s"}});
    };
    let shop = Shop::open("unavailable", patient).await.unwrap();
    shop.ledger.behave(&json!({"unavailable": true})).await.unwrap();
    write(&shop, 0..300).await;
    shop.integration_until(
        "lag is 300",
        |integration| {
            if lag(integration) == "300" { Ok(()) } else { Err(lag(integration)) }
        },
    )
    .await
    .unwrap();
    assert_eq!(shop.ledger.entries().await.unwrap().len(), 0);

    shop.ledger.behave(&json!({})).await.unwrap();
    shop.ledger_has(300).await.unwrap();
    shop.integration_until(
        "lag is 0",
        |integration| if lag(integration) == "0" { Ok(()) } else { Err(lag(integration)) },
    )
    .await
    .unwrap();
    shop.integration_until("it is ready", |integration| ready(&integration.status.clone().unwrap().conditions))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_api_refuses_becomes_a_dead_letter_and_is_counted() {
    let shop = Shop::open("refused", |_| ()).await.unwrap();
    shop.ledger.behave(&json!({"refuse": "customer-3"})).await.unwrap();
    write(&shop, 0..50).await;
    shop.ledger_has(45).await.unwrap();
    let (connection, topic) = (shop.kafka().unwrap(), shop.dead_letters());
    let letters = tokio::task::spawn_blocking(move || letters::read(&connection, &topic, 5, ROLLOUT));
    for letter in letters.await.unwrap().unwrap() {
        let number: usize =
            serde_json::from_str::<serde_json::Value>(&letter.value).unwrap()["amount"].as_u64().unwrap() as usize;
        assert_eq!(letter.value, payment(number).to_string(), "the value is what came in, byte for byte");
        assert_eq!(letter.key.as_deref(), Some("customer-3"));
        let header = |name: &str| letter.headers.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!(header("sluice-error-class"), "DeliveryError");
        assert_eq!(header("sluice-error-code"), "422");
        assert_eq!(header("sluice-attempts"), "1");
        assert_eq!(header("sluice-original-topic"), shop.topic());
        assert_eq!(header("sluice-integration"), format!("{}/payments-to-ledger", shop.namespace));
        for name in [
            "sluice-error-stage",
            "sluice-error-message",
            "sluice-first-failed-at",
            "sluice-original-partition",
            "sluice-original-offset",
            "sluice-original-timestamp",
            "sluice-generation",
            "sluice-replay-count",
        ] {
            assert!(!header(name).is_empty(), "{name} is missing: {:?}", letter.headers);
        }
    }
    shop.integration_until("it counts 5 dead letters", |integration| {
        let count = integration.status.as_ref().and_then(|status| status.dead_letters.clone()).unwrap_or_default();
        if count == "5" { Ok(()) } else { Err(format!("{count} dead letters")) }
    })
    .await
    .unwrap();

    // They come at a rate for as long as some came within the last minute.
    let rate = |status: &IntegrationStatus| number(status.dead_letter_rate.as_ref());
    let says = |status: &IntegrationStatus| Err(format!("{status:?}"));
    let is_known = |status: &IntegrationStatus| rate(status).ok_or_else(|| format!("{status:?}"));
    // What came before the workers were asked for the first time is no growth: then it takes another burst.
    if shows(&shop, "the rate of dead letters is known", is_known).await <= 0.0 {
        write(&shop, 50..100).await;
    }
    shows(&shop, "dead letters become more", |status| match rate(status) {
        Some(rate) if rate > 0.0 => Ok(()),
        _ => says(status),
    })
    .await;
    shows(&shop, "dead letters become no more", |status| {
        if status.dead_letter_rate.as_deref() == Some("0/s") { Ok(()) } else { says(status) }
    })
    .await;
}
