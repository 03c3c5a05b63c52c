//! What the gateway says of a route that it refuses, or that several of its listeners serve, stands in the Webhook's status.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::Webhook;
use sluice_suite::{
    install,
    install::ROLLOUT,
    sender::Sender,
    shop::node,
    until,
    world::{client, condition},
};

/// Of listeners that take everybody's routes.
const HOSTS: [&str; 2] = ["first.refused.example", "second.refused.example"];
/// Of a listener that takes routes of another kind only.
const GRPC: &str = "grpc.refused.example";
/// Nobody is verified here: it is only what a sender needs.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Gives the Gateway that all tests share these listeners beside its own, or none; those that were given before go.
async fn give_listeners(client: &Client, listeners: Option<Value>) {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    let kind = ApiResource::from_gvk_with_plural(&kind, "gateways");
    let gateways = Api::<DynamicObject>::namespaced_with(client.clone(), "gateways", &kind);
    let mut manifest = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge"},
    });
    if let Some(listeners) = listeners {
        manifest["spec"] = json!({"listeners": listeners});
    }
    // As another manager than the one that has made the Gateway.
    gateways.patch("edge", &PatchParams::apply("sluice-suite-refused"), &Patch::Apply(manifest)).await.unwrap();
}

fn listener(name: &str, allowed: &Value) -> Value {
    let hostname = format!("{name}.refused.example");
    json!({"name": name, "port": 80, "protocol": "HTTP", "hostname": hostname, "allowedRoutes": allowed})
}

/// A Webhook for these listeners.
fn webhook(namespace: &str, name: &str, listeners: &[&str], hostnames: &[&str]) -> Value {
    let parent = |listener| json!({"name": "edge", "namespace": "gateways", "sectionName": listener});
    let parents: Vec<_> = listeners.iter().map(parent).collect();
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"route": {"parentRefs": parents, "hostnames": hostnames}, "verify": {"none": {}}},
    })
}

/// Waits until conditions of a Webhook begin like that.
async fn says(webhooks: &Api<Webhook>, name: &str, wanted: &[(&str, String)]) -> anyhow::Result<()> {
    until(&format!("{name} says {wanted:?}"), 2 * ROLLOUT, || async {
        let webhook = webhooks.get(name).await.map_err(|error| error.to_string())?;
        let conditions = webhook.status.unwrap_or_default().conditions;
        let told: Vec<_> = wanted.iter().map(|(kind, _)| condition(&conditions, kind)).collect();
        let is_told = told.iter().zip(wanted).all(|(told, (_, beginning))| told.starts_with(beginning));
        if is_told { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await
}

/// Waits until a path is served on both hosts, and says whether it is on theirs only.
async fn is_served(target: &Target, path: &str) -> anyhow::Result<()> {
    let gateway = target.gateway_address()?;
    let hosts = HOSTS.map(|host| (host, StatusCode::ACCEPTED));
    for (host, expected) in hosts.into_iter().chain([("named.refused.example", StatusCode::NOT_FOUND)]) {
        let sender = Sender::new(gateway, host, path, SECRET)?;
        until(&format!("a request to {host} is answered {expected}"), ROLLOUT, || async {
            let status = sender.send("evt-1", &json!({"host": host})).await.map_err(|error| error.to_string())?;
            if status == expected { Ok(()) } else { Err(status.to_string()) }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_gateway_says_of_a_route_that_it_refuses_stands_in_the_status() {
    let target = node().await.unwrap();
    // The Gateway of a cluster elsewhere is not ours to change, and its controller may have other words.
    if matches!(target, Target::External(_)) {
        return;
    }
    let client = client(target.kubeconfig()).await.unwrap();
    let namespace = format!("unrouted-{}", std::process::id());
    let everybody = json!({"from": "All"});
    let listeners = json!([
        listener("named", &json!({"namespaces": everybody})),
        listener("grpc", &json!({"namespaces": everybody, "kinds": [{"kind": "GRPCRoute"}]})),
        listener("first", &json!({"namespaces": everybody})),
        listener("second", &json!({"namespaces": everybody})),
    ]);
    let items = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        webhook(&namespace, "named", &["named"], &["other.example"]),
        webhook(&namespace, "grpc", &["grpc"], &[GRPC]),
        webhook(&namespace, "half", &["first", "grpc"], &[HOSTS[0], GRPC]),
        webhook(&namespace, "both", &["first", "second"], &HOSTS),
    ]);
    install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": items})).unwrap();
    give_listeners(&client, Some(listeners)).await;

    let webhooks = Api::<Webhook>::namespaced(client.clone(), &namespace);
    let seen = "the Gateway \"gateways/edge\" serves \"named.refused.example\", and not \"other.example\"; change \
                route.hostnames, or the hostname of a listener; it says NoMatchingListenerHostname: No intersecting hostnames \
                were found between the listener and the route.";
    let of_host = [
        ("RouteAccepted", format!("False NoMatchingListenerHostname: {seen}")),
        ("Ready", format!("False NoListener: RouteAccepted: {seen}")),
        ("Stalled", "True NoListener: ".to_owned()),
    ];
    let unseen = "the Gateway \"gateways/edge\" says NotAllowedByListeners: No listeners included by this parent ref allowed this \
                  attachment.";
    let of_kind = [
        ("RouteAccepted", format!("False NotAllowedByListeners: {unseen}")),
        ("Ready", format!("False RouteRefused: RouteAccepted: {unseen}")),
        ("Stalled", "True RouteRefused: ".to_owned()),
    ];
    let of_both = [
        ("RouteAccepted", "True Satisfied: every gateway accepted the route".to_owned()),
        ("Ready", "True Serving: ".to_owned()),
    ];
    let looked = [
        says(&webhooks, "named", &of_host).await,
        says(&webhooks, "grpc", &of_kind).await,
        // That one of its listeners serves it is not enough.
        says(&webhooks, "half", &of_kind).await,
        says(&webhooks, "both", &of_both).await,
        is_served(target, &format!("/{namespace}/both")).await,
    ];
    give_listeners(&client, None).await;
    for looked in looked {
        looked.unwrap();
    }
    // Room on the node for the next test.
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
