//! `examples/versions`: versions of one endpoint side by side, through the gateway.

use std::fs;

use kube::Api;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_crds::Webhook;
use sluice_suite::{
    checkout, install,
    install::ROLLOUT,
    letters,
    sender::{Sender, UNHURRIED},
    shop::{node, ready},
    until,
    world::{client, kafka_of},
};

const HOST: &str = "orders.shop.example";
/// As in `examples/versions/secret.yaml`.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const VERSIONS: [&str; 3] = ["orders-v1", "orders-v2", "orders-v3"];

/// The files of the example, in a namespace and at a path of their own.
fn manifests(namespace: &str) -> Vec<Value> {
    let folder = checkout("examples/versions").unwrap();
    let files = ["namespace", "secret", "webhooks"].map(|file| folder.join(format!("{file}.yaml")));
    let documents = files.into_iter().flat_map(|file| {
        let text = fs::read_to_string(file).unwrap();
        let text = text.replace("namespace: shop", &format!("namespace: {namespace}"));
        let text = text.replace("name: shop\n", &format!("name: {namespace}\n"));
        let text = text.replace("path: /orders", &format!("path: /{namespace}/orders"));
        serde_saphyr::from_multiple::<Value>(&text).unwrap()
    });
    let unhurried = |mut document: Value| {
        if document["kind"] == "Webhook" {
            document["spec"]["patience"] = json!(UNHURRIED);
        }
        document
    };
    documents.map(unhurried).collect()
}

#[tokio::test]
async fn versions_of_an_endpoint_are_told_apart_and_the_old_one_says_so_in_every_answer() {
    let target = node().await.unwrap();
    let namespace = format!("versions-{}", std::process::id());
    install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": manifests(&namespace)})).unwrap();
    let webhooks = Api::<Webhook>::namespaced(client(target.kubeconfig()).await.unwrap(), &namespace);
    for version in VERSIONS {
        until(&format!("{version} is ready"), ROLLOUT, || async {
            let webhook = webhooks.get(version).await.map_err(|error| error.to_string())?;
            ready(&webhook.status.unwrap_or_default().conditions)
        })
        .await
        .unwrap();
    }

    let sender = |path: &str| Sender::new(target.gateway_address().unwrap(), HOST, path, SECRET).unwrap();
    let path = format!("/{namespace}/orders");
    let first = sender(&format!("/v1{path}"));
    let second = sender(&format!("/v2{path}"));
    let third = sender(&path).with_header("x-orders-version", "v3").unwrap();
    for (number, sender) in [&first, &second, &third].into_iter().enumerate() {
        let answer = sender.ask("evt-1", &json!({"order": number})).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.headers().contains_key("deprecation"), number == 0, "{answer:?}");
    }
    assert_eq!(second.send("evt-2", &json!({})).await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY, "it has a schema");
    assert_eq!(first.send("evt-2", &json!({})).await.unwrap(), StatusCode::ACCEPTED, "it has none");
    assert_eq!(
        sender(&path).send("evt-3", &json!({})).await.unwrap(),
        StatusCode::NOT_FOUND,
        "no version is the default"
    );
    assert_eq!(first.forge("evt-4", &json!({})).await.unwrap(), StatusCode::UNAUTHORIZED);

    let told = first.ask("evt-1", &json!({"order": 0})).await.unwrap();
    let told = ["deprecation", "sunset", "link"].map(|name| told.headers()[name].to_str().unwrap().to_owned());
    let expected =
        ["@1769817600", "Sun, 31 Jan 2027 00:00:00 GMT", "<https://shop.example/webhooks/v2>; rel=\"deprecation\""];
    assert_eq!(told, expected);

    let connection = kafka_of(target).unwrap();
    for (version, expected) in VERSIONS.into_iter().zip([2, 1, 1]) {
        let (connection, topic) = (connection.clone(), format!("{namespace}.{version}"));
        let read = move || letters::read(&connection, &topic, expected, ROLLOUT).unwrap();
        let values: Vec<_> =
            tokio::task::spawn_blocking(read).await.unwrap().into_iter().map(|one| one.value).collect();
        let own = VERSIONS.iter().position(|name| *name == version).unwrap();
        assert_eq!(values[0], json!({"order": own}).to_string(), "{version} has its own events: {values:?}");
    }
}
