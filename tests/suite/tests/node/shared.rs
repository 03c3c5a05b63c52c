//! Webhooks that share receivers, through the gateway.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, PodTemplateSpec},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::{KafkaConnection, Webhook};
use sluice_suite::{
    install,
    install::ROLLOUT,
    letters,
    sender::Sender,
    shop::{node, payment, ready},
    until,
    world::{client, condition},
};

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

    let bootstrap_servers = vec![target.kafka_bootstrap().unwrap().to_string()];
    let connection = KafkaConnection { bootstrap_servers, ..KafkaConnection::default() };
    for (name, numbers) in [("orders", vec![1, 4]), ("refunds", vec![2]), ("returns", vec![3])] {
        let (connection, topic, count) = (connection.clone(), format!("{namespace}.{name}"), numbers.len());
        let read = move || letters::read(&connection, &topic, count, Duration::from_secs(30)).unwrap();
        let values: Vec<_> =
            tokio::task::spawn_blocking(read).await.unwrap().into_iter().map(|one| one.value).collect();
        let expected: Vec<_> = numbers.into_iter().map(|number| payment(number).to_string()).collect();
        assert_eq!(values, expected, "{name}");
    }
    // Room on the node for the next test.
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
