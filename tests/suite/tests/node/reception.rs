//! What receivers do and find is seen in the Webhook's status, whatever becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sluice_crds::{Webhook, WebhookStatus};
use sluice_suite::{
    Shop, install,
    install::ROLLOUT,
    sender::UNHURRIED,
    shop::{payment, ready},
    until,
    world::condition,
};

use crate::kill_process_of;

/// Waits until the status of a Webhook is as `judge` wants it; `Err` says what it sees instead.
async fn status_says(shop: &Shop, name: &str, what: &str, judge: impl Fn(&WebhookStatus) -> Result<(), String>) {
    let api = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    until(&format!("Webhook {name}: {what}"), 2 * ROLLOUT, || async {
        let webhook = api.get(name).await.map_err(|error| error.to_string())?;
        judge(&webhook.status.unwrap_or_default())
    })
    .await
    .unwrap();
}

fn counts(accepted: &str, duplicates: &str, rejected: &str) -> impl Fn(&WebhookStatus) -> Result<(), String> {
    let wanted = [accepted, duplicates, rejected].map(|text| Some(text.to_owned()));
    move |status| {
        let seen = [status.accepted.clone(), status.duplicates.clone(), status.rejected.clone()];
        if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
    }
}

fn causes<const N: usize>(counts: [(&str, &str); N]) -> BTreeMap<String, String> {
    counts.map(|(cause, count)| (cause.to_owned(), count.to_owned())).into()
}

async fn receivers(shop: &Shop) -> BTreeSet<String> {
    let pods = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let ours = ListParams::default().labels("sluice.dev/webhook=payments");
    pods.list(&ours).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn what_receivers_count_does_not_fall_when_one_restarts_and_a_burst_of_forgeries_is_told_once() {
    let shop = Shop::open("counted", |_| ()).await.unwrap();
    let sender = shop.sender().unwrap();
    status_says(&shop, "payments", "it begins with 0", counts("0", "0", "0")).await;
    for _ in 0..2 {
        assert_eq!(sender.send("evt-0", &payment(0)).await.unwrap(), StatusCode::ACCEPTED);
    }
    // The last look at the receivers sees an event, or it would tell of no time.
    for number in 1..30 {
        assert_eq!(sender.forge("evt-0", &payment(number)).await.unwrap(), StatusCode::UNAUTHORIZED);
        assert_eq!(sender.send(&format!("evt-{number}"), &payment(number)).await.unwrap(), StatusCode::ACCEPTED);
    }
    status_says(&shop, "payments", "events and forgeries are counted", counts("30", "1", "29")).await;
    status_says(&shop, "payments", "the rest is told", |status| {
        let secrets = condition(&status.conditions, "SecretsReady");
        let told = status.rejected_by == causes([("signature", "29")])
            && status.last_event_time.is_some()
            && status.rate.is_some()
            && status.p95.as_ref().is_some_and(|p95| p95.ends_with('s'))
            && secrets.starts_with("True");
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;

    let pod = receivers(&shop).await.pop_first().unwrap();
    if matches!(shop.target, sluice_cluster::Target::Local(_)) {
        kill_process_of(&pod);
        until("events are taken again", ROLLOUT, || async {
            let status = sender.send("after", &payment(30)).await.map_err(|error| error.to_string())?;
            if status == StatusCode::ACCEPTED { Ok(()) } else { Err(status.to_string()) }
        })
        .await
        .unwrap();
        status_says(&shop, "payments", "counts go on", |status| {
            let seen = [&status.accepted, &status.rejected].map(|text| text.clone().unwrap_or_default());
            if seen == ["31", "29"] { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }

    let events = Api::<Event>::namespaced(shop.client.clone(), &shop.namespace);
    let told = events.list(&ListParams::default().fields("reason=SignaturesRefused")).await.unwrap().items;
    assert_eq!(told.len(), 1, "{told:?}");
    let note = told[0].message.clone().unwrap_or_default();
    assert!(note.contains("requests within"), "{note}");
}

#[tokio::test]
async fn what_is_refused_is_told_by_its_cause() {
    let shop = Shop::open("causes", |_| ()).await.unwrap();
    let webhook = |name: &str, more: &Value| {
        let secret = json!({"name": "payments-signing", "key": "current"});
        let mut spec = json!({
            "route": {
                "parentRefs": [{"name": "edge", "namespace": "gateways"}],
                "hostnames": ["hooks.shop.example"],
            },
            "verify": {"preset": {"name": "StandardWebhooks", "secretRefs": [secret]}},
            "patience": UNHURRIED,
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({"name": name, "namespace": shop.namespace});
        json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Webhook", "metadata": metadata, "spec": spec})
    };
    let schema = json!({"inline": {"type": "object", "required": ["id"]}});
    let strict = webhook(
        "strict",
        &json!({
            "validate": {"jsonSchema": schema, "onInvalid": "Refuse"},
            "limits": {"body": "1Ki", "requestsPerSecond": 1, "burst": 10},
        }),
    );
    let lenient =
        webhook("lenient", &json!({"validate": {"jsonSchema": schema, "onInvalid": "DeadLetter"}, "replicas": 2}));
    install::apply(shop.target, &json!({"apiVersion": "v1", "kind": "List", "items": [strict, lenient]})).unwrap();
    for name in ["strict", "lenient"] {
        status_says(&shop, name, "it is ready", |status| ready(&status.conditions)).await;
        status_says(&shop, name, "it begins with 0", counts("0", "0", "0")).await;
    }
    let sender = shop.sender_to("strict").unwrap();
    let large = json!({"id": "evt-1", "text": "x".repeat(2048)});
    let requests = [
        (json!({"id": "evt-0"}), StatusCode::ACCEPTED),
        (json!({"text": "x"}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!([]), StatusCode::UNPROCESSABLE_ENTITY),
        (large, StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (number, (event, expected)) in requests.into_iter().enumerate() {
        assert_eq!(sender.send(&format!("evt-{number}"), &event).await.unwrap(), expected, "{event}");
    }
    // One more than the limit takes; meanwhile each second another one is.
    for number in 0.. {
        let answer = sender.send(&format!("many-{number}"), &json!({"id": number})).await.unwrap();
        if answer == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        assert!(answer == StatusCode::ACCEPTED && number < 100, "{answer} to request {number}");
    }
    let sender = shop.sender_to("lenient").unwrap();
    for number in 0..5 {
        let event = if number == 0 { json!({"id": "evt-0"}) } else { json!({"text": number}) };
        assert_eq!(sender.send(&format!("evt-{number}"), &event).await.unwrap(), StatusCode::ACCEPTED, "{event}");
    }
    status_says(&shop, "strict", "each cause is counted", |status| {
        let (seen, by_cause) = (status.rejected.as_deref(), &status.rejected_by);
        let told = seen == Some("4") && *by_cause == causes([("rate", "1"), ("schema", "2"), ("size", "1")]);
        if told { Ok(()) } else { Err(format!("{seen:?}: {by_cause:?}")) }
    })
    .await;
    status_says(
        &shop,
        "lenient",
        "what became a dead letter is counted, and that ids are not shared is told",
        |status| {
            let seen =
                [&status.accepted, &status.dead_letters, &status.rejected].map(|text| text.as_deref().unwrap_or(""));
            let deduplication = condition(&status.conditions, "DeduplicationHealthy");
            let told = seen == ["1", "4", "0"] && deduplication.starts_with("False NotShared: each of 2 receivers");
            if told { Ok(()) } else { Err(format!("{seen:?}: {deduplication}")) }
        },
    )
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_a_pause_comes_without_a_restart() {
    let shop = Shop::open("secret", |_| ()).await.unwrap();
    let unsigned = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": {"name": "unsigned", "namespace": shop.namespace},
        "spec": {
            "route": {"parentRefs": [{"name": "edge", "namespace": "gateways"}]},
            "verify": {"preset": {"name": "GitHub", "secretRefs": [{"name": "nowhere", "key": "current"}]}},
        },
    });
    install::apply(shop.target, &unsigned).unwrap();
    status_says(&shop, "unsigned", "the missing Secret is named", |status| {
        let secrets = condition(&status.conditions, "SecretsReady");
        let wanted = r#"key "current" of the Secret "nowhere""#;
        if secrets.starts_with("False") && secrets.contains(wanted) { Ok(()) } else { Err(secrets) }
    })
    .await;

    let sender = shop.sender().unwrap();
    let before = receivers(&shop).await;
    for (paused, expected) in [(true, StatusCode::SERVICE_UNAVAILABLE), (false, StatusCode::ACCEPTED)] {
        pause(&shop, paused).await;
        until("the pause comes or goes", 2 * ROLLOUT, || async {
            let status = sender.send("paused", &payment(0)).await.map_err(|error| error.to_string())?;
            if status == expected { Ok(()) } else { Err(status.to_string()) }
        })
        .await
        .unwrap();
    }
    assert_eq!(receivers(&shop).await, before);
}

async fn pause(shop: &Shop, paused: bool) {
    let api = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    let patch: Value = json!({"spec": {"paused": paused}});
    api.patch("payments", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}
