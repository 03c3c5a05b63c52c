//! Kafka is gone for half a minute behind gateway and receivers: senders are asked to come again, and no acknowledged event is lost.
//! Alone in its process, because it stops the broker of the node.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test ends where something is not as it must be")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::future::join_all;
use kube::Api;
use reqwest::StatusCode;
use sluice_cluster::{Component, ComponentHandle, Target};
use sluice_crds::Webhook;
use sluice_suite::{Shop, install::ROLLOUT, meter::pause, sender::Sender, shop::payment, until, world::condition};
use tokio::task;

const OUTAGE: Duration = Duration::from_secs(30);
const SENDERS: usize = 4;
/// How long each of them pauses after an answer: a receiver that cannot answer its probe is taken from the gateway, which then answers itself.
const PACE: Duration = Duration::from_millis(20);

/// An event, and what its sender was told.
struct Sent {
    number: usize,
    status: StatusCode,
    retry_after: Option<String>,
}

/// A broker that is stopped until this is dropped, also where the test fails: others use it.
struct Stopped(ComponentHandle);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.start().unwrap();
    }
}

/// Sends one event after the other until it is over.
async fn send(sender: &Sender, next: &AtomicUsize, is_over: &AtomicBool) -> Vec<Sent> {
    let mut all = Vec::new();
    while !is_over.load(Relaxed) {
        let number = next.fetch_add(1, Relaxed);
        let answer = sender.ask(&format!("evt-{number}"), &payment(number)).await.unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        all.push(Sent { number, status: answer.status(), retry_after });
        pause(PACE).await;
    }
    all
}

/// Waits until the Webhook's condition `TopicReady` has this status, and so much time has passed.
async fn topic_ready(shop: &Shop, wanted: &str, since: Instant, time: Duration) {
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    until(&format!("the Webhook says {wanted}"), 2 * ROLLOUT, || async {
        let webhook = webhooks.get("payments").await.map_err(|error| error.to_string())?;
        let told = condition(&webhook.status.unwrap_or_default().conditions, "TopicReady");
        if told.starts_with(wanted) && since.elapsed() >= time { Ok(()) } else { Err(told) }
    })
    .await
    .unwrap();
}

/// Waits until the status counts requests that Kafka did not confirm. They are no rejections: their senders come again.
async fn unconfirmed_are_counted(shop: &Shop) {
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    until("requests are counted that Kafka did not confirm", 2 * ROLLOUT, || async {
        let webhook = webhooks.get("payments").await.map_err(|error| error.to_string())?;
        let status = webhook.status.unwrap_or_default();
        let (unconfirmed, rejected) = (status.unconfirmed.as_deref(), status.rejected.as_deref());
        let told = unconfirmed.is_some_and(|count| count != "0") && rejected == Some("0");
        if told { Ok(()) } else { Err(format!("{unconfirmed:?} and rejected {rejected:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_kafka_is_gone_senders_are_asked_to_come_again_and_nothing_acknowledged_is_lost() {
    let shop = Shop::open_with("blackout", |_| (), |_| ()).await.unwrap();
    let Target::Local(cluster) = shop.target else {
        println!("a Kafka that is not ours is not stopped");
        return;
    };
    let broker = cluster.component(Component::Kafka);
    let (sender, next, is_over) = (shop.sender().unwrap(), AtomicUsize::new(0), AtomicBool::new(false));
    let outage = async {
        until("events are sent", ROLLOUT, || async {
            let sent = next.load(Relaxed);
            if sent > 100 { Ok(()) } else { Err(format!("{sent} events")) }
        })
        .await
        .unwrap();
        let halt = move || {
            broker.stop().unwrap();
            Stopped(broker)
        };
        let stopped = task::spawn_blocking(halt).await.unwrap();
        topic_ready(&shop, "False", Instant::now(), OUTAGE).await;
        is_over.store(true, Relaxed);
        stopped
    };
    let (sent, stopped) = futures::join!(join_all((0..SENDERS).map(|_| send(&sender, &next, &is_over))), outage);
    task::spawn_blocking(|| drop(stopped)).await.unwrap();

    let sent: Vec<Sent> = sent.into_iter().flatten().collect();
    let (mut acknowledged, mut deferred) = (BTreeSet::new(), Vec::new());
    for Sent { number, status, retry_after } in sent {
        if status == StatusCode::ACCEPTED {
            acknowledged.insert(number);
        } else {
            assert_eq!(
                (status, retry_after.as_deref()),
                (StatusCode::SERVICE_UNAVAILABLE, Some("5")),
                "event {number}"
            );
            deferred.push(number);
        }
    }
    assert!(acknowledged.len() > 50 && deferred.len() > SENDERS, "{} and {}", acknowledged.len(), deferred.len());
    for number in deferred {
        until("an event that was deferred is taken", ROLLOUT, || async {
            let told = sender.send(&format!("evt-{number}"), &payment(number)).await;
            let status = told.map_err(|error| error.to_string())?;
            if status == StatusCode::ACCEPTED { Ok(()) } else { Err(status.to_string()) }
        })
        .await
        .unwrap();
        acknowledged.insert(number);
    }
    shop.ledger_has_all(&acknowledged).await.unwrap();
    topic_ready(&shop, "True", Instant::now(), Duration::ZERO).await;
    unconfirmed_are_counted(&shop).await;
}
