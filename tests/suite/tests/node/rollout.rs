//! What senders notice of receivers that come and go behind the gateway: of a rollout nothing, and of a crash no event that was
//! acknowledged and is lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use anyhow::ensure;
use futures::future::join_all;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use reqwest::StatusCode;
use serde_json::json;
use sluice_cluster::Target;
use sluice_crds::Webhook;
use sluice_suite::{
    Shop,
    install::ROLLOUT,
    meter::pause,
    sender::Sender,
    shop::{payment, ready},
    until,
    world::condition,
};

use crate::{kill_process_of, witness::Witness};

const SENDERS: usize = 8;
/// How long each of them pauses after an answer, however late that came: pods that nobody lets answer their probes are taken from the gateway.
const PACE: Duration = Duration::from_millis(20);

/// So long senders wait during a rollout: a receiver that is ready before it can write would not have an event written by then.
const PATIENCE: &str = "5s";

/// Senders that go on until they are told to stop.
#[derive(Default)]
pub(crate) struct Traffic {
    next: AtomicUsize,
    is_over: AtomicBool,
    /// How long each of them pauses, where it is not as long as usual.
    pace: Option<Duration>,
}

impl Traffic {
    /// Sends events, each with its number, until `meanwhile` has ended; the numbers of the acknowledged ones, and all other answers with their
    /// times.
    pub(crate) async fn during(
        &self,
        send: impl AsyncFn(usize) -> anyhow::Result<StatusCode>,
        meanwhile: impl Future<Output = ()>,
    ) -> (BTreeSet<usize>, Vec<String>) {
        let senders = join_all((0..SENDERS).map(|_| self.send(&send)));
        let meanwhile = async {
            meanwhile.await;
            self.is_over.store(true, Relaxed);
        };
        let (answers, ()) = futures::join!(senders, meanwhile);
        let (acknowledged, others): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        (acknowledged.into_iter().flatten().collect(), others.into_iter().flatten().collect())
    }

    async fn send(&self, send: &impl AsyncFn(usize) -> anyhow::Result<StatusCode>) -> (Vec<usize>, Vec<String>) {
        let (mut acknowledged, mut others) = (Vec::new(), Vec::new());
        while !self.is_over.load(Relaxed) {
            pause(self.pace.unwrap_or(PACE)).await;
            let number = self.next.fetch_add(1, Relaxed);
            match send(number).await {
                Ok(StatusCode::ACCEPTED) => acknowledged.push(number),
                other => others.push(format!("{} {other:?}", Timestamp::now())),
            }
        }
        (acknowledged, others)
    }
}

/// Sends an event with its number; what else than an acknowledgement comes back is told whole.
async fn sent(sender: &Sender, number: usize) -> anyhow::Result<StatusCode> {
    let answer = sender.ask(&format!("evt-{number}"), &payment(number)).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    ensure!(status == StatusCode::ACCEPTED, "{status} {headers:?} {}", answer.text().await?);
    Ok(status)
}

/// The receivers that there are, by whether they are ready.
async fn receivers(shop: &Shop, is_ready: bool) -> BTreeSet<String> {
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let pods = pods.list(&ListParams::default().labels("sluice.dev/webhook=payments")).await.unwrap();
    let has = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    pods.iter().filter(|pod| has(pod) == is_ready).map(ResourceExt::name_any).collect()
}

/// Waits until all receivers are ready and others than those.
async fn replaced(shop: &Shop, before: &BTreeSet<String>) {
    until("other receivers are ready", ROLLOUT, || async {
        let (now, coming_or_going) = (receivers(shop, true).await, receivers(shop, false).await);
        if !now.is_empty() && now.is_disjoint(before) && coming_or_going.is_empty() {
            Ok(())
        } else {
            Err(format!("{now:?} are ready, {coming_or_going:?} are not, after {before:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_under_traffic_fails_no_request() {
    let shop =
        Shop::open_with("rollout", |webhook| webhook["spec"]["patience"] = json!(PATIENCE), |_| ()).await.unwrap();
    let sender = shop.sender().unwrap();
    let send = async |number: usize| sent(&sender, number).await;
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    let witness = Witness::new(&shop);
    let rollouts = witness.during(async {
        for window in ["2h", "3h"] {
            let before = receivers(&shop, true).await;
            let patch = json!({"spec": {"deduplicate": {"window": window}}});
            webhooks.patch("payments", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
            replaced(&shop, &before).await;
        }
    });
    let (acknowledged, others) = Box::pin(Traffic::default().during(send, rollouts)).await;
    assert_eq!(others, Vec::<String>::new(), "beside {}; {}", acknowledged.len(), witness.tells());
    shop.ledger_has_all(&acknowledged).await.unwrap();
}

/// Waits until the Webhook is ready as it is now, with the one Deployment of receivers and without the other.
async fn receives_with(shop: &Shop, there: &str, gone: &str) {
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    let deployments = Api::<Deployment>::namespaced(shop.client.clone(), &shop.namespace);
    until(&format!("{there} is ready and {gone} is gone"), 2 * ROLLOUT, || async {
        let webhook = webhooks.get("payments").await.map_err(|error| error.to_string())?;
        let status = webhook.status.unwrap_or_default();
        if status.observed_generation != webhook.metadata.generation {
            return Err("it was not looked at yet".to_owned());
        }
        ready(&status.conditions)
            .map_err(|ready| format!("{ready}; {}", condition(&status.conditions, "ReceiverAvailable")))?;
        let all = deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: BTreeSet<String> = all.iter().map(ResourceExt::name_any).collect();
        if names.contains(there) && !names.contains(gone) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await
    .unwrap();
}

/// Waits until the Webhook's route sends requests to this Service.
async fn leads_to(shop: &Shop, service: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    let routes = Api::<DynamicObject>::namespaced_with(shop.client.clone(), &shop.namespace, &resource);
    until(&format!("the route leads to {service}"), 2 * ROLLOUT, || async {
        let route = routes.get("payments-receiver").await.map_err(|error| error.to_string())?;
        let first = &route.data["spec"]["rules"][0]["backendRefs"][0];
        if first["name"] == service { Ok(()) } else { Err(first.to_string()) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_to_shared_receivers_and_back_under_traffic_fails_no_request() {
    const OWN: &str = "payments-receiver";
    const SHARED: &str = "sluice-receivers";
    let shop = Shop::open_with("modes", |webhook| webhook["spec"]["patience"] = json!(PATIENCE), |_| ()).await.unwrap();
    let sender = shop.sender().unwrap();
    let send = async |number: usize| sent(&sender, number).await;
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    let witness = Witness::new(&shop);
    let ask = async |mode: &str| {
        witness.note(&format!("{mode} is asked for"));
        let patch = json!({"spec": {"receiver": {"mode": mode}}});
        webhooks.patch("payments", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    let changes = witness.during(async {
        for (mode, there, gone) in [("Shared", SHARED, OWN), ("Dedicated", OWN, SHARED)] {
            ask(mode).await;
            receives_with(&shop, there, gone).await;
        }
        // Changed back while its route leads to the shared ones, which must not go before it.
        ask("Shared").await;
        leads_to(&shop, SHARED).await;
        ask("Dedicated").await;
        receives_with(&shop, OWN, SHARED).await;
    });
    // It takes minutes, and all of it has to be in the ledger.
    let traffic = Traffic { pace: Some(5 * PACE), ..Traffic::default() };
    let (acknowledged, others) = Box::pin(traffic.during(send, changes)).await;
    assert_eq!(others, Vec::<String>::new(), "beside {}; {}", acknowledged.len(), witness.tells());
    shop.ledger_has_all(&acknowledged).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_outlives_twenty_receivers_that_are_killed() {
    const KILLS: usize = 20;
    let shop = Shop::open("receivers-killed", |_| ()).await.unwrap();
    let sender = shop.sender().unwrap();
    let send = async |number: usize| sent(&sender, number).await;
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let kills = async {
        for _ in 0..KILLS {
            let before = receivers(&shop, true).await;
            for pod in &before {
                if let Target::Local(_) = shop.target {
                    kill_process_of(pod);
                }
                // Another pod in its place, without the pause that a container gets that crashes often.
                pods.delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
            }
            replaced(&shop, &before).await;
        }
    };
    let (acknowledged, _) = Traffic::default().during(send, kills).await;
    assert!(acknowledged.len() > KILLS, "{}", acknowledged.len());
    shop.ledger_has_all(&acknowledged).await.unwrap();
}
