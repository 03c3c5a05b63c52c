//! What goes with the Deployments of receivers and workers.

use k8s_openapi::api::{networking::v1::NetworkPolicy, policy::v1::PodDisruptionBudget};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use sluice_crds::Integration;
use sluice_suite::{
    Stage,
    operator::Launch,
    until,
    world::{PATIENCE, condition},
};

use crate::{apply_integration, apply_webhook, template};

/// Waits until exactly these budgets are there.
async fn budgets_are(stage: &Stage, expected: &[&str]) {
    until("the budgets are as wanted", PATIENCE, || async {
        let found = stage.api::<PodDisruptionBudget>().list(&ListParams::default()).await;
        let found = found.map_err(|error| error.to_string())?;
        let names: Vec<_> = found.iter().filter_map(|budget| budget.metadata.name.as_deref()).collect();
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn pods_are_put_out_one_at_a_time_where_there_are_several() {
    let stage = Stage::begin("budgets").await.unwrap();
    let _operator = stage.start(&stage.launch_apart("budgets").await.unwrap()).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    apply_integration(&stage, "replicas: 3").await;
    apply_webhook(&stage, "replicas: 2").await;
    budgets_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    let spec = stage.api::<PodDisruptionBudget>().get("to-api-worker").await.unwrap().spec.unwrap();
    let labels = json!({"app.kubernetes.io/name": "sluice-worker", "sluice.dev/integration": "to-api"});
    assert_eq!(json!(spec.selector), json!({"matchLabels": labels}));
    assert_eq!(json!(spec.max_unavailable), json!(1));

    stage.api::<PodDisruptionBudget>().delete("to-api-worker", &DeleteParams::default()).await.unwrap();
    budgets_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    apply_integration(&stage, "replicas: 1").await;
    budgets_are(&stage, &["stripe-receiver"]).await;
}

/// Waits until exactly these policies are there.
async fn policies_are(stage: &Stage, expected: &[&str]) {
    until("the policies are as wanted", PATIENCE, || async {
        let found = stage.api::<NetworkPolicy>().list(&ListParams::default()).await;
        let names: Vec<_> = found.map_err(|error| error.to_string())?.iter().map(ResourceExt::name_any).collect();
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn policies_come_and_go_with_the_configuration() {
    let stage = Stage::begin("policies").await.unwrap();
    let launch = stage.launch_apart("policies").await.unwrap();
    let policies = "networkPolicies: {operatorNamespace: sluice-system, monitoringNamespaces: [monitoring]}";
    let settings = format!("{}{policies}\n", launch.settings);
    let operator = stage.start(&Launch { settings, ..launch.clone() }).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    apply_integration(&stage, "replicas: 1").await;
    apply_webhook(&stage, "replicas: 1").await;
    policies_are(&stage, &["stripe-receiver", "to-api-worker"]).await;
    let spec = stage.api::<NetworkPolicy>().get("to-api-worker").await.unwrap().spec.unwrap();
    let from = ["sluice-system", "monitoring"]
        .map(|name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}));
    let status = json!({"ports": [{"port": 9090, "protocol": "TCP"}], "from": from});
    assert_eq!(json!(spec.ingress), json!([status]));
    stage.api::<NetworkPolicy>().delete("stripe-receiver", &DeleteParams::default()).await.unwrap();
    policies_are(&stage, &["stripe-receiver", "to-api-worker"]).await;

    drop(operator);
    let _operator = stage.start(&launch).await.unwrap();
    policies_are(&stage, &[]).await;
}

/// Waits until the newest spec is refused, and gives why.
async fn refusal(stage: &Stage) -> String {
    let judge = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let ready = condition(&status.conditions, "Ready");
        let is_current = status.observed_generation == integration.metadata.generation;
        if is_current && ready.starts_with("False Invalid") { Ok(ready) } else { Err(ready) }
    };
    stage.until("to-api", "it is refused", judge).await.unwrap()
}

#[tokio::test]
async fn what_is_said_about_pods_reaches_them_and_what_cannot_be_is_refused_by_its_field() {
    let stage = Stage::begin("pods").await.unwrap();
    let _operator = stage.start(&stage.launch_apart("pods").await.unwrap()).await.unwrap();
    stage.apply_topic("orders", "").await.unwrap();
    let pods = "labels: {team: shop}, annotations: {example.com/a: b}, nodeSelector: {disk: ssd}, \
                tolerations: [{key: dedicated, operator: Exists}], serviceAccountName: shop, imagePullSecrets: [{name: pull}], \
                affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: \
                [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}, topologySpreadConstraints: \
                [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway}], \
                env: [{name: HTTPS_PROXY, value: 'http://proxy:3128'}], caConfigMapRef: {name: ca, key: ca.pem}";
    apply_integration(&stage, &format!("pods: {{{pods}}}")).await;
    let template = template(&stage, "to-api-worker", 1).await;
    let (metadata, pod) = (&template["metadata"], &template["spec"]);
    assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["example.com/a"]), (&json!("shop"), &json!("b")));
    assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]["sluice.dev/integration"], "to-api");
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchExpressions"][0]["values"], json!(["a"]));
    let names: Vec<_> = pod["containers"][0]["env"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["SLUICE_LOG_FORMAT", "SSL_CERT_DIR", "HTTPS_PROXY"]);

    for (pods, field) in [
        ("env: [{name: SLUICE_CONFIG, value: /tmp}]", "spec.pods.env[0].name"),
        ("labels: {sluice.dev/integration: another}", "spec.pods.labels[sluice.dev/integration]"),
        ("affinity: {nodeAfinity: {a: 1}}", "spec.pods.affinity.nodeAfinity"),
    ] {
        apply_integration(&stage, &format!("pods: {{{pods}}}")).await;
        let refusal = refusal(&stage).await;
        assert!(refusal.contains(field), "{refusal}");
    }
    let both = "{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {name: to-api}, spec: {pods: {env: \
                [{name: A, value: a, secretRef: {name: a, key: b}}]}, source: {topic: {name: orders}}, sink: {http: {url: \
                'http://api.example/'}}}}";
    let refused = format!("{:#}", stage.apply::<Integration>(both).await.unwrap_err());
    assert!(refused.contains("write exactly one of value, secretRef"), "{refused}");
}
