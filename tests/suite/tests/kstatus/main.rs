//! What kstatus makes of real resources: the library by which GitOps tools tell what is current, under way, and stuck. And what
//! `kubectl wait` makes of them, by which scripts do.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::{
    World,
    peers::go_build,
    world::{condition, judge_topic},
};

/// The program, as its module builds it.
fn program() -> PathBuf {
    let files = [
        ("go.mod", include_str!("program/go.mod")),
        ("go.sum", include_str!("program/go.sum")),
        ("main.go", include_str!("program/main.go")),
    ];
    go_build("kstatus", &files).unwrap()
}

/// What kstatus says of each object.
fn computed(objects: &[Value]) -> Vec<String> {
    let mut child = Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(objects).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn value(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

async fn integration(world: &World, name: &str, rest: &str) {
    let spec = format!("{{sink: {{http: {{url: 'http://api.example/'}}}}, {rest}}}");
    let yaml =
        format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: {name}}}, spec: {spec}}}");
    world.apply::<Integration>(&yaml).await.unwrap();
}

/// The Integration once its `Ready` begins like that.
async fn integration_that_says(world: &World, name: &str, what: &str) -> Value {
    let judge = |integration: &Integration| {
        let ready = condition(&integration.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with(what) { Ok(value(integration)) } else { Err(ready) }
    };
    world.until(name, what, judge).await.unwrap()
}

/// Waits for the condition of each as a script does.
fn scripts_see(world: &World, conditions: &[(&str, &str)]) {
    for (object, condition) in conditions {
        let condition = format!("--for=condition={condition}");
        world.kubectl(&["wait", &condition, "--timeout=1m", "-n", &world.namespace, object]).unwrap();
    }
}

#[tokio::test]
async fn gitops_tools_see_what_is_current_what_is_under_way_and_what_needs_a_person() {
    let world = World::begin("kstatus").await.unwrap();
    let says = async |name: &str, what: &str| {
        let judge = |topic: &Topic| judge_topic(topic, what).map(|_| value(topic));
        world.until(name, what, judge).await.unwrap()
    };
    let new = value(&world.apply_topic("orders", "partitions: 3").await.unwrap());
    let ready = says("orders", "True InSync").await;
    let changed = value(&world.apply_topic("orders", "partitions: 2").await.unwrap());
    let withheld = says("orders", "False Withheld").await;
    let silent = {
        world.apply_topic("silent", "cluster: silent").await.unwrap();
        says("silent", "False KafkaUnreachable").await
    };
    world.apply_topic("payments", "partitions: 1").await.unwrap();
    says("payments", "True InSync").await;
    integration(&world, "early", "source: {topic: {name: missing}}").await;
    let waits = integration_that_says(&world, "early", "False NotFound").await;
    integration(&world, "bad", "source: {topic: {name: payments}}, steps: [{name: a, filter: '.a ='}]").await;
    let bad = integration_that_says(&world, "bad", "False Invalid").await;
    integration(&world, "paused", "source: {topic: {name: payments}}, paused: true").await;
    let paused = integration_that_says(&world, "paused", "True Paused").await;
    let webhook = "{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {name: stripe}, \
                   spec: {route: {parentRefs: [{name: edge}]}, verify: {none: {}}}}";
    world.apply::<Webhook>(webhook).await.unwrap();
    let starting = |webhook: &Webhook| {
        let ready = condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready");
        if ready.starts_with("False") { Ok(value(webhook)) } else { Err(ready) }
    };
    let starting = world.until("stripe", "its pods do not run", starting).await.unwrap();
    scripts_see(
        &world,
        &[
            ("topics.sluice.dev/payments", "Ready"),
            ("topics.sluice.dev/orders", "Stalled"),
            ("topics.sluice.dev/silent", "Ready=false"),
            ("integrations.sluice.dev/early", "Reconciling"),
            ("integrations.sluice.dev/bad", "ConfigValid=false"),
            ("integrations.sluice.dev/paused", "Paused"),
            ("webhooks.sluice.dev/stripe", "Ready=false"),
        ],
    );

    let objects = [new, ready, changed, withheld, silent, waits, bad, paused, starting];
    let expected = [
        ("new", "InProgress"),
        ("ready", "Current"),
        ("changed and not looked at yet", "InProgress"),
        ("withheld", "Failed"),
        ("its Kafka cluster is down", "InProgress"),
        ("its Topic is missing", "InProgress"),
        ("a step does not compile", "Failed"),
        ("paused", "Current"),
        ("its receivers do not run", "InProgress"),
    ];
    let seen = tokio::task::spawn_blocking(move || computed(&objects)).await.unwrap();
    let seen: Vec<_> = expected.iter().map(|(name, _)| *name).zip(seen.iter().map(String::as_str)).collect();
    assert_eq!(seen, expected);
}
