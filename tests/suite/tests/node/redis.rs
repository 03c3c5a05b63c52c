//! Receivers on a node that share a Redis: whichever of them an event comes to, it is written once. Without their Redis they take events
//! all the same, and the status says so. `SLUICE_EVENTS` says with how many requests.

use std::{
    collections::BTreeSet,
    env,
    net::{IpAddr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures::{StreamExt, future::join_all, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::{
    KafkaConnection, Webhook,
    wire::{ReceiverStatus, STATUS_PORT},
};
use sluice_kafka::{Admin, OffsetAt, TopicPartition};
use sluice_suite::{
    install,
    install::ROLLOUT,
    letters,
    program::free_address_of,
    sender::{Sender, UNHURRIED},
    shop::{node, payment, ready},
    until,
    world::{PATIENCE, client, condition, kafka_of},
};
use tempfile::TempDir;

const HOST: &str = "redis.shop.example";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const REPLICAS: usize = 3;
const REQUESTS: usize = 6_000;
const SENDERS: usize = 16;
/// So many senders send each event at about the same time.
const AT_ONCE: usize = 6;
/// How often at most it is looked whether Redis is asked.
const ATTEMPTS: usize = 3;

/// A Redis of this machine, at an address that pods reach, until it is dropped.
struct Redis {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    async fn start(host: IpAddr) -> Self {
        let address = free_address_of(host).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", &host.to_string()])
            .args(["--protected-mode", "no", "--save", "", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { process, address, _folder: folder };
        until("Redis answers", PATIENCE, || async {
            let answer = redis.ask("PING");
            if answer == "PONG" { Ok(()) } else { Err(answer) }
        })
        .await
        .unwrap();
        redis
    }

    fn ask(&self, command: &str) -> String {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let output = Command::new("redis-cli").args(["-h", &host, "-p", &port, command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn manifests(namespace: &str, redis: SocketAddr) -> Value {
    let secret = |name: &str, key: &str, value: String| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {key: value},
        })
    };
    let webhook = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": {"name": "payments", "namespace": namespace},
        "spec": {
            "route": {"parentRefs": [{"name": "edge", "namespace": "gateways"}], "hostnames": [HOST]},
            "verify": {"preset": {"name": "StandardWebhooks", "secretRefs": [{"name": "signing", "key": "current"}]}},
            "deduplicate": {"store": {"redis": {"urlSecretRef": {"name": "redis", "key": "url"}}}},
            "patience": UNHURRIED,
            "replicas": REPLICAS,
        },
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        secret("signing", "current", SECRET.to_owned()),
        secret("redis", "url", format!("redis://{redis}/0")),
        webhook,
    ]})
}

/// Waits until the conditions of the Webhook are as `judge` wants them.
async fn webhook_says(webhooks: &Api<Webhook>, what: &str, judge: impl Fn(&Webhook) -> Result<(), String>) {
    until(what, 2 * ROLLOUT, || async { judge(&webhooks.get("payments").await.map_err(|error| error.to_string())?) })
        .await
        .unwrap();
}

fn said(webhook: &Webhook, kind: &str) -> String {
    condition(&webhook.status.clone().unwrap_or_default().conditions, kind)
}

/// What each receiver tells of itself.
async fn receivers(client: &Client, namespace: &str) -> Vec<ReceiverStatus> {
    let ours = ListParams::default().labels("sluice.dev/webhook=payments");
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ours).await.unwrap();
    let ask = |pod: &Pod| {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}:{STATUS_PORT}/proxy/status", pod.name_any());
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        async move { client.request::<ReceiverStatus>(request).await.unwrap() }
    };
    join_all(pods.iter().map(ask)).await
}

/// The ids of all records of a topic with one partition.
pub(crate) async fn written(kafka: &KafkaConnection, topic: &str) -> Vec<String> {
    let partition = TopicPartition { topic: topic.to_owned(), partition: 0 };
    let admin = Admin::connect(kafka).unwrap();
    let ends = admin.list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await.unwrap();
    let count = usize::try_from(*ends[&partition].as_ref().unwrap()).unwrap();
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let read = move || letters::read(&kafka, &topic, count, ROLLOUT).unwrap();
    let records = tokio::task::spawn_blocking(read).await.unwrap();
    records.into_iter().map(|record| record.headers["ce_id"].clone()).collect()
}

/// Sends each event several times at once, and then as often as it takes until it is acknowledged.
async fn replay(sender: &Sender, ids: &[String]) {
    let next = AtomicUsize::new(0);
    let senders = (0..SENDERS).map(|_| async {
        while let Some(id) = ids.get(next.fetch_add(1, Relaxed) / AT_ONCE) {
            let status = sender.send(id, &payment(0)).await.unwrap();
            assert!([StatusCode::ACCEPTED, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{id}: {status}");
        }
    });
    join_all(senders).await;
    let acknowledged = async |id: &String| {
        until(&format!("{id} is acknowledged"), PATIENCE, || async {
            match sender.send(id, &payment(0)).await {
                Ok(StatusCode::ACCEPTED) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    };
    stream::iter(ids).for_each_concurrent(SENDERS, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_written_once_whichever_receiver_it_comes_to_and_that_redis_is_gone_is_told() {
    let target = node().await.unwrap();
    // Pods of a cluster elsewhere do not reach this machine.
    let Target::Local(cluster) = target else { return };
    let requests = env::var("SLUICE_EVENTS").map_or(REQUESTS, |text| text.parse().expect("SLUICE_EVENTS is a number"));
    let client = client(target.kubeconfig()).await.unwrap();
    let namespace = format!("redis-{}", std::process::id());
    let webhooks = Api::<Webhook>::namespaced(client.clone(), &namespace);
    let redis = Redis::start(cluster.host_address()).await;
    install::apply(target, &manifests(&namespace, redis.address)).unwrap();
    webhook_says(&webhooks, "it is ready, and its Redis answers", |webhook| {
        let healthy = said(webhook, "DeduplicationHealthy");
        ready(&webhook.status.clone().unwrap_or_default().conditions)?;
        if healthy.starts_with("True") { Ok(()) } else { Err(healthy) }
    })
    .await;

    let path = format!("/{namespace}/payments");
    let sender = Sender::new(target.gateway_address().unwrap(), HOST, &path, SECRET).unwrap();
    let kafka = kafka_of(target).unwrap();
    let topic = format!("{namespace}.payments");
    let (mut found, mut all_unchecked) = (0, 0);
    for attempt in 1..=ATTEMPTS {
        let ids: Vec<String> = (0..requests / AT_ONCE).map(|number| format!("evt-{attempt}-{number}")).collect();
        replay(&sender, &ids).await;
        let these = written(&kafka, &topic).await.split_off(found);
        found += these.len();
        let told = receivers(&client, &namespace).await;
        let unchecked = told.iter().map(|one| one.unchecked).sum::<u64>() - all_unchecked;
        all_unchecked += unchecked;
        assert_eq!(told.len(), REPLICAS);
        assert!(told.iter().all(|one| one.accepted > 0 && one.duplicates > 0), "{told:?}");
        assert_eq!(these.iter().collect::<BTreeSet<_>>(), ids.iter().collect(), "{told:?}");
        let more = u64::try_from(these.len() - ids.len()).unwrap();
        assert!(more <= unchecked, "{more} written again, {told:?}");
        if all_unchecked == 0 {
            assert_eq!(redis.ask("DBSIZE"), ids.len().to_string(), "there is one key for each event");
        }
        // On a crowded machine Redis may be too late. Then it is not asked for a second: what comes meanwhile counts as unchecked, and may be
        // there twice. That does not happen each time.
        if unchecked < ids.len() as u64 / 100 {
            break;
        }
        assert!(attempt < ATTEMPTS, "{unchecked} of {} are unchecked, {told:?}", ids.len());
    }

    drop(redis);
    for number in 0..30 {
        assert_eq!(sender.send(&format!("later-{number}"), &payment(number)).await.unwrap(), StatusCode::ACCEPTED);
    }
    webhook_says(&webhooks, "that Redis is gone is told, and it stays ready", |webhook| {
        let (healthy, ready) = (said(webhook, "DeduplicationHealthy"), said(webhook, "Ready"));
        let told = healthy.starts_with("False RedisUnreachable: ") && ready.starts_with("True");
        if told { Ok(()) } else { Err(format!("{healthy}; {ready}")) }
    })
    .await;
    assert_eq!(written(&kafka, &topic).await.len(), found + 30);
    // Room on the node for the next test.
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
