//! Webhooks that share receivers, through the gateway.

use std::{cell::Cell, collections::BTreeSet};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, PodTemplateSpec},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::Webhook;
use sluice_suite::{
    install,
    install::ROLLOUT,
    letters,
    sender::{Sender, UNHURRIED},
    shop::{node, payment, ready},
    until,
    world::{client, condition, kafka_of},
};

use crate::{redis::written, rollout::Traffic};

const HOST: &str = "shared.shop.example";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SHARED: &str = "sluice-receivers";

fn webhook(namespace: &str, name: &str) -> Value {
    let secret = json!({"name": "signing", "key": "current"});
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "route": {"parentRefs": [{"name": "edge", "namespace": "gateways"}], "hostnames": [HOST]},
            "verify": {"preset": {"name": "StandardWebhooks", "secretRefs": [secret]}},
            "patience": UNHURRIED,
            "receiver": {"mode": "Shared"},
        },
    })
}

async fn is_ready(client: &Client, namespace: &str, name: &str) {
    let api = Api::<Webhook>::namespaced(client.clone(), namespace);
    until(&format!("{name} is ready"), 2 * ROLLOUT, || async {
        let webhook = api.get(name).await.map_err(|error| error.to_string())?;
        let conditions = webhook.status.unwrap_or_default().conditions;
        ready(&conditions).map_err(|ready| format!("{ready}; {}", condition(&conditions, "ReceiverAvailable")))
    })
    .await
    .unwrap();
}

fn sender(target: &Target, namespace: &str, name: &str) -> Sender {
    Sender::new(target.gateway_address().unwrap(), HOST, &format!("/{namespace}/{name}"), SECRET).unwrap()
}

/// The pods that receive, and what they are made from.
async fn receivers(client: &Client, namespace: &str) -> (BTreeSet<String>, Option<PodTemplateSpec>) {
    let ours = ListParams::default().labels("app.kubernetes.io/name=sluice-receiver");
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ours).await.unwrap();
    let deployment = Api::<Deployment>::namespaced(client.clone(), namespace).get(SHARED).await.unwrap();
    (pods.iter().map(ResourceExt::name_any).collect(), deployment.spec.map(|spec| spec.template))
}

#[tokio::test]
async fn events_of_webhooks_that_share_receivers_have_their_own_topics_and_another_one_comes_without_a_restart() {
    let target = node().await.unwrap();
    let client = client(target.kubeconfig()).await.unwrap();
    let namespace = format!("shared-{}", std::process::id());
    let items = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "signing", "namespace": namespace},
            "stringData": {"current": SECRET},
        },
        webhook(&namespace, "orders"),
        webhook(&namespace, "refunds"),
    ]);
    install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": items})).unwrap();
    for name in ["orders", "refunds"] {
        is_ready(&client, &namespace, name).await;
    }
    let before = receivers(&client, &namespace).await;
    for (name, number) in [("orders", 1), ("refunds", 2)] {
        let sender = sender(target, &namespace, name);
        assert_eq!(sender.send("evt-1", &payment(number)).await.unwrap(), StatusCode::ACCEPTED, "{name}");
        assert_eq!(sender.forge("evt-2", &payment(number)).await.unwrap(), StatusCode::UNAUTHORIZED, "{name}");
    }

    install::apply(target, &webhook(&namespace, "returns")).unwrap();
    is_ready(&client, &namespace, "returns").await;
    let returns = sender(target, &namespace, "returns");
    assert_eq!(returns.send("evt-1", &payment(3)).await.unwrap(), StatusCode::ACCEPTED);
    assert_eq!(receivers(&client, &namespace).await, before, "no rollout");
    let orders = sender(target, &namespace, "orders");
    assert_eq!(orders.send("evt-3", &payment(4)).await.unwrap(), StatusCode::ACCEPTED);

    let connection = kafka_of(target).unwrap();
    for (name, numbers) in [("orders", vec![1, 4]), ("refunds", vec![2]), ("returns", vec![3])] {
        let (connection, topic, count) = (connection.clone(), format!("{namespace}.{name}"), numbers.len());
        let read = move || letters::read(&connection, &topic, count, ROLLOUT).unwrap();
        let values: Vec<_> =
            tokio::task::spawn_blocking(read).await.unwrap().into_iter().map(|one| one.value).collect();
        let expected: Vec<_> = numbers.into_iter().map(|number| payment(number).to_string()).collect();
        assert_eq!(values, expected, "{name}");
    }
    // Room on the node for the next test.
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}

/// Waits until all Webhooks of a namespace are ready.
async fn all_are_ready(client: &Client, namespace: &str, count: usize) {
    let api = Api::<Webhook>::namespaced(client.clone(), namespace);
    until(&format!("{count} Webhooks are ready"), 2 * ROLLOUT, || async {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let conditions = all.into_iter().map(|webhook| webhook.status.unwrap_or_default().conditions);
        let (are, are_not): (Vec<_>, Vec<_>) = conditions.map(|conditions| ready(&conditions)).partition(Result::is_ok);
        if are.len() == count { Ok(()) } else { Err(format!("{} are; {:?}", are.len(), are_not.first())) }
    })
    .await
    .unwrap();
}

/// A shared Webhook with this Secret, whose events go to the topic `events`.
fn one_of_many(namespace: &str, name: &str, secret: &str) -> Value {
    let mut webhook = webhook(namespace, name);
    webhook["spec"]["topicRef"] = json!({"name": "events"});
    webhook["spec"]["verify"]["preset"]["secretRefs"][0]["name"] = json!(secret);
    webhook
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_rolls_the_receivers_of_many_webhooks_and_fails_no_request() {
    const MANY: usize = 110;
    let target = node().await.unwrap();
    let client = client(target.kubeconfig()).await.unwrap();
    let namespace = format!("many-{}", std::process::id());
    let secret = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {"current": SECRET},
        })
    };
    let topic = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Topic",
        "metadata": {"name": "events", "namespace": namespace},
        "spec": {},
    });
    let namespaced = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let mut items = vec![namespaced, secret("signing"), topic];
    items.extend((0..MANY).map(|number| one_of_many(&namespace, &format!("w-{number}"), "signing")));
    install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": items})).unwrap();
    all_are_ready(&client, &namespace, MANY).await;

    let before = receivers(&client, &namespace).await;
    let senders: Vec<_> = (0..MANY).map(|number| sender(target, &namespace, &format!("w-{number}"))).collect();
    let count = Cell::new(0);
    let send = async |number: usize| {
        count.set(count.get() + 1);
        senders[number % MANY].send(&format!("evt-{number}"), &payment(number)).await
    };
    let rollout = async {
        let late = json!([secret("another"), one_of_many(&namespace, "late", "another")]);
        install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": late})).unwrap();
        all_are_ready(&client, &namespace, MANY + 1).await;
        until("other receivers run", 2 * ROLLOUT, || async {
            let now = receivers(&client, &namespace).await;
            let is_done = now.0.is_disjoint(&before.0) && now.1 != before.1;
            if is_done { Ok(()) } else { Err(format!("{:?} after {:?}", now.0, before.0)) }
        })
        .await
        .unwrap();
        let so_far = count.get();
        until("each Webhook has had a request since", ROLLOUT, || async {
            let since = count.get() - so_far;
            if since > 2 * MANY { Ok(()) } else { Err(format!("{since} requests")) }
        })
        .await
        .unwrap();
    };
    let (acknowledged, others) = Traffic::default().during(send, rollout).await;
    assert_eq!(others, Vec::<String>::new(), "beside {} that were acknowledged", acknowledged.len());
    let late = sender(target, &namespace, "late");
    assert_eq!(late.send("evt-late", &payment(0)).await.unwrap(), StatusCode::ACCEPTED);

    let kafka = kafka_of(target).unwrap();
    let found = written(&kafka, &format!("{namespace}.events")).await;
    let expected = acknowledged.iter().map(|number| format!("evt-{number}")).chain(["evt-late".to_owned()]);
    assert_eq!(found.len(), acknowledged.len() + 1);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected.collect());
    // Room on the node for the next test.
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
