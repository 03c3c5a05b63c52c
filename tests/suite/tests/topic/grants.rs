//! Who uses a Topic of another namespace, as long as that permits it.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{
    Integration, Topic, Webhook,
    wire::{CONTROLS_KEY, SharedWebhook},
};
use sluice_suite::world::{Stage as Namespace, condition, judge_topic};

use crate::stage::Stage;

/// A namespace with the Topic `orders`, which is ready.
async fn hub(shop: &Stage, name: &str, spec: &str) -> Namespace {
    let hub = shop.beside(name).await.unwrap();
    hub.apply_topic("orders", spec).await.unwrap();
    let ready = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    hub.until("orders", "it is ready", ready).await.unwrap();
    hub
}

fn grants(hub: &Namespace) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant");
    Api::namespaced_with(hub.client.clone(), &hub.namespace, &ApiResource::from_gvk(&kind))
}

/// Lets a kind of the shop's resources use the hub's Topic.
async fn grant(hub: &Namespace, kind: &str, shop: &Stage) {
    let manifest = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": kind.to_lowercase()},
        "spec": {
            "from": [{"group": "sluice.dev", "kind": kind, "namespace": shop.namespace}],
            "to": [{"group": "sluice.dev", "kind": "Topic", "name": "orders"}],
        },
    });
    let parameters = PatchParams::apply("kubectl").force();
    grants(hub).patch(&kind.to_lowercase(), &parameters, &Patch::Apply(manifest)).await.unwrap();
}

async fn revoke(hub: &Namespace, kind: &str) {
    grants(hub).delete(&kind.to_lowercase(), &DeleteParams::default()).await.unwrap();
}

async fn used_by(hub: &Namespace, expected: &[String]) {
    let judge = |topic: &Topic| {
        let used_by = topic.status.clone().unwrap_or_default().used_by;
        if used_by == expected { Ok(()) } else { Err(format!("{used_by:?}")) }
    };
    hub.until("orders", &format!("it is used by {expected:?}"), judge).await.unwrap();
}

/// Waits until the Webhook waits for a person and says that.
async fn webhook_is_refused(shop: &Stage, words: &str) {
    let judge = |webhook: &Webhook| {
        let stalled = condition(&webhook.status.clone().unwrap_or_default().conditions, "Stalled");
        if stalled.starts_with("True RefNotPermitted") && stalled.contains(words) { Ok(()) } else { Err(stalled) }
    };
    shop.until("stripe", words, judge).await.unwrap();
}

#[tokio::test]
async fn a_topic_of_another_namespace_is_read_and_kept_as_long_as_that_permits_it() {
    let shop = Stage::begin("grantee").await;
    let hub = hub(&shop, "granter", "deletionPolicy: Delete").await;
    let reference = format!("{{name: orders, namespace: {}}}", hub.namespace);
    let spec = format!("{{source: {{topic: {reference}}}, sink: {{http: {{url: 'http://api.example/'}}}}}}");
    let yaml =
        format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: reader}}, spec: {spec}}}");
    shop.apply::<Integration>(&yaml).await.unwrap();
    let refused = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let said = ["Ready", "Stalled"].map(|kind| condition(&status.conditions, kind));
        let grant = format!(
            "make a ReferenceGrant in {:?} from {{group: sluice.dev, kind: Integration, namespace: {}}}",
            hub.namespace, shop.namespace
        );
        let is_refused = said[0].starts_with("False RefNotPermitted") && said[1].contains(&grant);
        if is_refused { Ok(()) } else { Err(said.join(", ")) }
    };
    shop.until("reader", "it is refused", refused).await.unwrap();
    assert!(shop.api::<Deployment>().get_opt("reader-worker").await.unwrap().is_none());
    used_by(&hub, &[]).await;

    grant(&hub, "Integration", &shop).await;
    shop.until("reader-worker", "it is made", |_: &Deployment| Ok(())).await.unwrap();
    used_by(&hub, &[format!("Integration/{}/reader", shop.namespace)]).await;

    hub.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    let in_use = |topic: &Topic| judge_topic(topic, "False InUse").map(drop);
    hub.until("orders", "it is held by its user", in_use).await.unwrap();

    // Without the grant nobody uses it: the worker is stopped, and the Topic can go.
    revoke(&hub, "Integration").await;
    let stopped = |worker: &Deployment| match worker.spec.as_ref().and_then(|spec| spec.replicas) {
        Some(0) => Ok(()),
        replicas => Err(format!("{replicas:?} replicas")),
    };
    shop.until("reader-worker", "it is stopped", stopped).await.unwrap();
    shop.until("reader", "it is refused", refused).await.unwrap();
    shop.kafka_shows(&format!("{}.orders", hub.namespace), false).await;
}

#[tokio::test]
async fn a_grant_is_for_one_kind_and_without_it_senders_are_asked_to_come_again() {
    let shop = Stage::begin("writer").await;
    let hub = hub(&shop, "written", "").await;
    let spec = format!(
        "{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, topicRef: {{name: orders, namespace: {}}}}}",
        hub.namespace
    );
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: stripe}}, spec: {spec}}}");
    shop.apply::<Webhook>(&yaml).await.unwrap();
    webhook_is_refused(&shop, "kind: Webhook").await;
    grant(&hub, "Integration", &shop).await;
    shop.look_again::<Webhook>("stripe").await.unwrap();
    webhook_is_refused(&shop, "kind: Webhook").await;
    assert!(shop.api::<Deployment>().get_opt("stripe-receiver").await.unwrap().is_none());

    let paused = |wanted: bool| {
        move |controls: &ConfigMap| {
            let controls = controls.data.as_ref().and_then(|data| data.get(CONTROLS_KEY)).cloned().unwrap_or_default();
            if controls.contains(&format!("\"paused\":{wanted}")) { Ok(()) } else { Err(controls) }
        }
    };
    grant(&hub, "Webhook", &shop).await;
    shop.until("stripe-receiver-controls", "events are taken", paused(false)).await.unwrap();
    used_by(&hub, &[format!("Webhook/{}/stripe", shop.namespace)]).await;

    revoke(&hub, "Webhook").await;
    shop.until("stripe-receiver-controls", "no events are taken", paused(true)).await.unwrap();
    used_by(&hub, &[]).await;
}

#[tokio::test]
async fn where_a_grant_goes_a_webhook_that_shares_receivers_takes_no_events_whatever_its_spec_says_meanwhile() {
    let shop = Stage::begin("sharer").await;
    let hub = hub(&shop, "shared-topic", "").await;
    grant(&hub, "Webhook", &shop).await;
    let apply = async |reference: &str| {
        let route = "route: {parentRefs: [{name: edge}]}, verify: {none: {}}, receiver: {mode: Shared}";
        let spec = format!("{{{route}, topicRef: {reference}}}");
        let metadata = "metadata: {name: stripe}";
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, {metadata}, spec: {spec}}}");
        shop.apply::<Webhook>(&yaml).await.unwrap();
    };
    let paused = |wanted: bool| {
        move |configurations: &ConfigMap| {
            let text = configurations.data.as_ref().and_then(|data| data.get("stripe.json")).cloned();
            let told: Option<SharedWebhook> = text.and_then(|text| serde_json::from_str(&text).ok());
            if told.as_ref().is_some_and(|told| told.paused == wanted) { Ok(()) } else { Err(format!("{told:?}")) }
        }
    };
    // Where its configuration always stands.
    let configurations = "sluice-receivers-11";
    apply(&format!("{{name: orders, namespace: {}}}", hub.namespace)).await;
    shop.until(configurations, "events are taken", paused(false)).await.unwrap();
    let is_noted = |webhook: &Webhook| {
        let is_noted = webhook.status.as_ref().is_some_and(|status| status.last_good.is_some());
        if is_noted { Ok(()) } else { Err("nothing is noted yet".to_owned()) }
    };
    shop.until("stripe", "what is served is noted", is_noted).await.unwrap();

    // What is served now, its spec does not name any more.
    apply("{name: missing}").await;
    let is_held = |webhook: &Webhook| {
        let ready = condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("False NotFound") { Ok(()) } else { Err(ready) }
    };
    shop.until("stripe", "its spec waits for a Topic", is_held).await.unwrap();
    revoke(&hub, "Webhook").await;
    shop.until(configurations, "no events are taken", paused(true)).await.unwrap();
}

#[tokio::test]
async fn where_a_grant_goes_a_webhook_whose_objects_are_too_large_to_be_noted_takes_no_events_either() {
    let shop = Stage::begin("large").await;
    let hub = hub(&shop, "large-topic", "").await;
    grant(&hub, "Webhook", &shop).await;
    let apply = async |spec: &str| {
        // A description with this in it is longer than a note may be.
        let schema = format!("{{inline: {{type: object, description: {}}}}}", "x".repeat(200 * 1024));
        let spec = format!(
            "{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, openApi: {{}}, \
             validate: {{jsonSchema: {schema}, onInvalid: Refuse}}, {spec}}}"
        );
        let metadata = "metadata: {name: stripe}";
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, {metadata}, spec: {spec}}}");
        shop.apply::<Webhook>(&yaml).await.unwrap();
    };
    let paused = |wanted: bool| {
        move |controls: &ConfigMap| {
            let controls = controls.data.as_ref().and_then(|data| data.get(CONTROLS_KEY)).cloned().unwrap_or_default();
            if controls.contains(&format!("\"paused\":{wanted}")) { Ok(()) } else { Err(controls) }
        }
    };
    let topic = format!("topicRef: {{name: orders, namespace: {}}}", hub.namespace);
    apply(&topic).await;
    let is_known = |webhook: &Webhook| match webhook.status.as_ref().and_then(|status| status.last_good.clone()) {
        Some(known) if known.objects_hash.is_none() && known.elsewhere.len() == 1 => Ok(()),
        known => Err(format!("{known:?}")),
    };
    shop.until("stripe", "it is known what it uses, and nothing is noted", is_known).await.unwrap();
    shop.until("stripe-receiver-controls", "events are taken", paused(false)).await.unwrap();

    revoke(&hub, "Webhook").await;
    shop.until("stripe-receiver-controls", "no events are taken", paused(true)).await.unwrap();
    webhook_is_refused(&shop, "kind: Webhook").await;
    let receivers = shop.api::<Deployment>().get("stripe-receiver").await.unwrap();
    assert_eq!(receivers.spec.unwrap().replicas, Some(1), "nothing else was changed");

    grant(&hub, "Webhook", &shop).await;
    shop.until("stripe-receiver-controls", "events are taken again", paused(false)).await.unwrap();

    // What is served now, its spec does not name any more.
    apply("topicRef: {name: missing}").await;
    let is_held = |webhook: &Webhook| {
        let ready = condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("False NotFound") { Ok(()) } else { Err(ready) }
    };
    shop.until("stripe", "its spec waits for a Topic", is_held).await.unwrap();
    revoke(&hub, "Webhook").await;
    shop.until("stripe-receiver-controls", "no events are taken", paused(true)).await.unwrap();
}
