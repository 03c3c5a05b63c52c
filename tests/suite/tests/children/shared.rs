//! Webhooks of a namespace that share receivers.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, PodTemplateSpec, Service},
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
    core::{GroupVersionKind, ObjectMeta},
};
use serde_json::json;
use sluice_crds::{Webhook, wire::SharedWebhook};
use sluice_suite::{
    Stage,
    operator::Operator,
    settled, until,
    world::{PATIENCE, are_observed, condition},
};

/// Name of what is shared.
const SHARED: &str = "sluice-receivers";
const PLAIN: &str = "verify: {none: {}}";
const OF_TOKENS: &str = "verify: {bearer: {secretRefs: [{name: tokens, key: current}]}}";

async fn apply(stage: &Stage, name: &str, mode: &str, spec: &str) -> Webhook {
    let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, receiver: {{mode: {mode}}}, {spec}}}");
    let metadata = format!("{{name: {name}}}");
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
    stage.apply(&yaml).await.unwrap()
}

/// What shared receivers are told, by the names of the Webhooks.
async fn told(stage: &Stage) -> BTreeMap<String, SharedWebhook> {
    let ours = ListParams::default().labels(&format!("sluice.dev/receivers={SHARED}"));
    let maps = stage.api::<ConfigMap>().list(&ours).await.unwrap();
    let data = maps.into_iter().filter(|map| !map.name_any().ends_with("-controls")).filter_map(|map| map.data);
    let webhook = |(file, text): (String, String)| {
        (file.strip_suffix(".json").unwrap().to_owned(), serde_json::from_str(&text).unwrap())
    };
    data.flatten().map(webhook).collect()
}

/// Waits until shared receivers are told of exactly these.
async fn tells_of(stage: &Stage, names: &[&str]) {
    until("the configurations are those", PATIENCE, || async {
        let found: Vec<String> = told(stage).await.into_keys().collect();
        if found == names { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
}

async fn deployment(stage: &Stage) -> Deployment {
    stage.until(SHARED, "it exists", |deployment: &Deployment| Ok(deployment.clone())).await.unwrap()
}

/// The versions of all objects once none changes any more, and neither the operator nor Kubernetes has anything to do.
async fn at_rest(stage: &Stage, operator: &Operator) -> BTreeMap<String, String> {
    settled("no object changes", 2 * PATIENCE, || async {
        let versions = versions(stage).await;
        are_observed(&stage.api::<Deployment>().list(&ListParams::default()).await.unwrap().items)?;
        operator.is_idle().await?;
        Ok(versions)
    })
    .await
    .unwrap()
}

async fn versions(stage: &Stage) -> BTreeMap<String, String> {
    let all = ListParams::default();
    let mut versions = BTreeMap::new();
    let mut note = |kind: &str, name: String, version: Option<String>| {
        versions.insert(format!("{kind} {name}"), version.unwrap());
    };
    for object in stage.api::<Deployment>().list(&all).await.unwrap() {
        note("Deployment", object.name_any(), object.resource_version());
    }
    for object in stage.api::<Service>().list(&all).await.unwrap() {
        note("Service", object.name_any(), object.resource_version());
    }
    for object in stage.api::<ConfigMap>().list(&all).await.unwrap() {
        note("ConfigMap", object.name_any(), object.resource_version());
    }
    versions
}

/// Makes passes over these Webhooks; nothing that they own or share may change.
async fn rests(stage: &Stage, operator: &Operator, names: &[&str]) {
    let before = at_rest(stage, operator).await;
    for name in names {
        operator.looks_again::<Webhook>(stage, name).await.unwrap();
    }
    assert_eq!(versions(stage).await, before);
}

/// What the pods are made from. The number of a Deployment's spec counts its annotations too.
fn template(deployment: &Deployment) -> Option<&PodTemplateSpec> {
    deployment.spec.as_ref().map(|spec| &spec.template)
}

/// Waits until no object is left with this in its name. Kubernetes collects what nobody owns when it comes to it.
async fn are_gone(stage: &Stage, what: &str, part: &str) {
    until(what, 2 * PATIENCE, || async {
        let left: Vec<String> = versions(stage).await.into_keys().filter(|name| name.contains(part)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
}

async fn delete(stage: &Stage, name: &str) {
    stage.api::<Webhook>().delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn webhooks_share_one_deployment_that_goes_with_the_last_of_them() {
    let stage = Stage::begin("shared").await.unwrap();
    let launch = stage.launch_apart("shared").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    apply(&stage, "a", "Shared", OF_TOKENS).await;
    apply(&stage, "b", "Shared", PLAIN).await;
    tells_of(&stage, &["a", "b"]).await;
    // It comes after the ConfigMaps, and its Service with it.
    deployment(&stage).await;
    at_rest(&stage, &operator).await;
    let deployments = stage.api::<Deployment>().list(&ListParams::default()).await.unwrap();
    assert_eq!(deployments.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [SHARED]);
    let services = stage.api::<Service>().list(&ListParams::default()).await.unwrap();
    assert_eq!(services.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [SHARED]);
    rests(&stage, &operator, &["a", "b"]).await;
    let passes = "sluice_operator_reconciles_total{kind=\"SharedReceiver\",outcome=\"Ok\"}";
    assert!(operator.metric(passes).await.unwrap() > 0.0, "passes over what is shared are counted");
    let first = deployment(&stage).await;

    // Another one with the same Secret, and one without any, come without a rollout.
    apply(&stage, "c", "Shared", OF_TOKENS).await;
    apply(&stage, "d", "Shared", PLAIN).await;
    tells_of(&stage, &["a", "b", "c", "d"]).await;
    at_rest(&stage, &operator).await;
    assert_eq!(template(&deployment(&stage).await), template(&first));
    apply(&stage, "e", "Shared", "verify: {bearer: {secretRefs: [{name: others, key: current}]}}").await;
    let is_new = |deployment: &Deployment| {
        let template = template(deployment);
        if template == self::template(&first) { Err(format!("{template:?}")) } else { Ok(()) }
    };
    stage.until(SHARED, "another Secret is mounted", is_new).await.unwrap();

    // An operator that has just started knows the same, and drops nobody.
    let before = at_rest(&stage, &operator).await;
    drop(operator);
    let operator = stage.start(&launch).await.unwrap();
    rests(&stage, &operator, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(versions(&stage).await, before);

    delete(&stage, "a").await;
    tells_of(&stage, &["b", "c", "d", "e"]).await;
    assert_eq!(deployment(&stage).await.uid(), first.uid());
    for name in ["b", "c", "d", "e"] {
        delete(&stage, name).await;
    }
    are_gone(&stage, "everything shared is gone", SHARED).await;
}

#[tokio::test]
async fn without_an_operator_kubernetes_collects_what_is_shared_with_the_last_webhook_only() {
    let stage = Stage::begin("shared-gone").await.unwrap();
    let operator = stage.start(&stage.launch_apart("shared-gone").await.unwrap()).await.unwrap();
    for name in ["a", "b"] {
        apply(&stage, name, "Shared", PLAIN).await;
    }
    tells_of(&stage, &["a", "b"]).await;
    let before = deployment(&stage).await.uid();
    at_rest(&stage, &operator).await;
    drop(operator);
    delete(&stage, "a").await;
    are_gone(&stage, "what a owned is collected", "a-receiver").await;
    assert_eq!(deployment(&stage).await.uid(), before);
    delete(&stage, "b").await;
    are_gone(&stage, "everything is collected", SHARED).await;
}

#[tokio::test]
async fn a_webhook_changes_from_receivers_of_its_own_to_shared_ones_and_back() {
    let stage = Stage::begin("shared-changed").await.unwrap();
    let _operator = stage.start(&stage.launch_apart("shared-changed").await.unwrap()).await.unwrap();
    for (mode, there, gone) in
        [("Dedicated", "a-receiver", SHARED), ("Shared", SHARED, "a-receiver"), ("Dedicated", "a-receiver", SHARED)]
    {
        apply(&stage, "a", mode, PLAIN).await;
        // No gateway answers here: each step waits as long as for one that says nothing.
        until(&format!("it is {mode}"), 3 * PATIENCE, || async {
            let deployments = stage.api::<Deployment>().list(&ListParams::default()).await;
            let services = stage.api::<Service>().list(&ListParams::default()).await;
            let (deployments, services) =
                (deployments.map_err(|error| error.to_string())?, services.map_err(|error| error.to_string())?);
            let names: Vec<String> = deployments
                .iter()
                .map(ResourceExt::name_any)
                .chain(services.iter().map(ResourceExt::name_any))
                .collect();
            if names == [there, there] { Ok(()) } else { Err(format!("{names:?}, not yet without {gone}")) }
        })
        .await
        .unwrap();
    }
}

/// When the Webhook's route was written so that it names nothing but this Service; the error says what it names.
async fn names_only(stage: &Stage, route: &str, service: &str) -> Result<Timestamp, String> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    let routes = Api::<DynamicObject>::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let route = routes.get(route).await.map_err(|error| error.to_string())?;
    let backends = route.data["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
    if backends.len() != 1 || backends[0]["name"] != service {
        return Err(format!("{backends:?}"));
    }
    let written = route.managed_fields().iter().filter_map(|writer| writer.time.as_ref()).map(|time| time.0).max();
    written.ok_or_else(|| "nobody has written it".to_owned())
}

#[tokio::test]
async fn an_operator_that_starts_meanwhile_has_a_webhook_served_until_gateways_have_followed_its_route() {
    let stage = Stage::begin("shared-left").await.unwrap();
    let launch = stage.launch_apart("shared-left").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    apply(&stage, "a", "Shared", PLAIN).await;
    tells_of(&stage, &["a"]).await;
    at_rest(&stage, &operator).await;
    let noted = |webhook: &Webhook| webhook.status.clone().unwrap_or_default().last_good;
    let is_noted = |webhook: &Webhook| noted(webhook).ok_or_else(|| "it is not".to_owned());
    let before = stage.until("a", "it is noted", is_noted).await.unwrap();
    apply(&stage, "a", "Dedicated", PLAIN).await;
    // No gateway answers here: each step waits as long as for one that says nothing.
    until("its own receivers have taken over", 3 * PATIENCE, || async {
        let webhook = stage.api::<Webhook>().get("a").await.map_err(|error| error.to_string())?;
        let now = is_noted(&webhook)?;
        if now == before { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await
    .unwrap();
    let left = names_only(&stage, "a-receiver", "a-receiver").await.unwrap();
    drop(operator);

    let _operator = stage.start(&launch).await.unwrap();
    tells_of(&stage, &[]).await;
    let later = Timestamp::now().duration_since(left);
    assert!(
        later >= SignedDuration::from_secs(10),
        "a gateway may have sent requests to those that were told {later} after"
    );
}

#[tokio::test]
async fn a_webhook_that_is_made_anew_is_not_served_what_the_one_before_it_was() {
    let stage = Stage::begin("shared-anew").await.unwrap();
    let launch = stage.launch_apart("shared-anew").await.unwrap();
    let operator = stage.start(&launch).await.unwrap();
    // Their configurations stand in one ConfigMap, so that Kubernetes takes away neither.
    for name in ["a", "h"] {
        apply(&stage, name, "Shared", PLAIN).await;
    }
    tells_of(&stage, &["a", "h"]).await;
    at_rest(&stage, &operator).await;
    drop(operator);
    delete(&stage, "a").await;
    apply(&stage, "a", "Shared", &format!("{PLAIN}, topicRef: {{name: missing}}")).await;
    let _operator = stage.start(&launch).await.unwrap();
    tells_of(&stage, &["h"]).await;
}

#[tokio::test]
async fn a_broken_spec_and_a_name_that_is_taken_are_told() {
    let stage = Stage::begin("shared-broken").await.unwrap();
    let port = serde_json::from_value(json!({"ports": [{"port": 80}]})).unwrap();
    let metadata = ObjectMeta { name: Some(SHARED.to_owned()), ..ObjectMeta::default() };
    let strange = Service { metadata, spec: Some(port), ..Service::default() };
    stage.api::<Service>().create(&PostParams::default(), &strange).await.unwrap();
    let _operator = stage.start(&stage.launch_apart("shared-broken").await.unwrap()).await.unwrap();
    apply(&stage, "a", "Shared", PLAIN).await;
    let says = |what: &'static str| {
        move |webhook: &Webhook| {
            let status = webhook.status.clone().unwrap_or_default();
            let ready = condition(&status.conditions, "Ready");
            let is_current = status.observed_generation == webhook.metadata.generation;
            if is_current && ready.starts_with(what) { Ok(()) } else { Err(ready) }
        }
    };
    stage.until("a", "the name is taken", says("False NameConflict")).await.unwrap();
    stage.api::<Service>().delete(SHARED, &DeleteParams::default()).await.unwrap();
    tells_of(&stage, &["a"]).await;
    let good = told(&stage).await.remove("a").unwrap();

    apply(&stage, "a", "Shared", &format!("{PLAIN}, patience: 1h, paused: true")).await;
    stage.until("a", "it is refused", says("False Invalid")).await.unwrap();
    until("its pause counts, and nothing else of it", PATIENCE, || async {
        let now = told(&stage).await.remove("a").ok_or("it is gone")?;
        if now.paused && now.config == good.config { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap();
    let refused = stage
        .apply::<Webhook>(
            "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: b}, spec: {route: {parentRefs: [{name: edge}]}, \
             verify: {none: {}}, receiver: {mode: Shared}, replicas: 3}}",
        )
        .await
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("receiver.mode: shared receivers are those of the whole namespace"),
        "{refused:#}"
    );
}
