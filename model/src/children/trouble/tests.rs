#![allow(
    clippy::needless_pass_by_value,
    reason = "`json!` makes values, and a test reads better without references to them"
)]

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn deployment() -> Deployment {
    let deployment = json!({
        "spec": {"selector": {}, "template": {"spec": {
            "containers": [{
                "name": "worker",
                "resources": {"limits": {"memory": "256Mi"}},
                "volumeMounts": [{"name": "s", "mountPath": "/etc/sluice/secrets/signing"}],
            }],
            "volumes": [{"name": "s", "secret": {"secretName": "signing", "optional": true}}],
        }}},
    });
    serde_json::from_value(deployment).unwrap()
}

fn pod(name: &str, status: Value) -> SeenPod {
    let pod = json!({
        "metadata": {
            "name": name,
            "uid": format!("uid-of-{name}"),
            "creationTimestamp": "2026-01-01T00:50:00Z",
            "labels": {"pod-template-hash": "new"},
        },
        "status": status,
    });
    SeenPod { pod: serde_json::from_value(pod).unwrap(), says: None }
}

/// A pod whose container is in that state, and was in another one before.
fn container(state: Value, last: Value) -> SeenPod {
    let status = json!({"name": "worker", "image": "sluice/worker:1", "imageID": "", "ready": false,
                        "restartCount": 3, "state": state, "lastState": last});
    pod("to-api-worker-abc-x1", json!({"phase": "Running", "containerStatuses": [status]}))
}

fn waiting(reason: &str, message: &str) -> SeenPod {
    container(json!({"waiting": {"reason": reason, "message": message}}), json!({}))
}

fn ended(end: Value) -> Value {
    let mut terminated = json!({"exitCode": 1, "finishedAt": "2026-01-01T00:59:00Z"});
    terminated.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    json!({"terminated": terminated})
}

fn says(pods: &[SeenPod]) -> String {
    trouble(&deployment(), pods, now()).map_or_else(String::new, |found| format!("{}: {}", found.reason, found.message))
}

#[test]
fn an_image_that_cannot_be_pulled_says_why_and_the_same_at_each_attempt() {
    let not_found =
        "failed to pull and unpack image \"docker.io/sluice/worker:1\": docker.io/sluice/worker:1: not found";
    let expected = "ImageUnavailable: image \"sluice/worker:1\" cannot be pulled: the registry does not have it";
    assert_eq!(says(&[waiting("ErrImagePull", not_found)]), expected);
    let backing_off = format!("Back-off pulling image \"sluice/worker:1\": ErrImagePull: {not_found}");
    assert_eq!(says(&[waiting("ImagePullBackOff", &backing_off)]), expected);
    for (reason, message, cause) in [
        (
            "ErrImagePull",
            "dial tcp: lookup docker.io on 10.96.0.10:53: read udp 10.0.0.2:41837->10.96.0.10:53: i/o timeout",
            "cannot be reached",
        ),
        (
            "ErrImagePull",
            "pull access denied, repository does not exist or may require authorization",
            "the registry refuses it",
        ),
        ("InvalidImageName", "couldn't parse image reference", "its name is not one of an image"),
        ("ErrImageNeverPull", "", "imagePullPolicy is Never"),
        ("ErrImagePull", "something new", "`kubectl describe pod` tells why"),
    ] {
        let said = says(&[waiting(reason, message)]);
        assert!(said.starts_with("ImageUnavailable") && said.contains(cause), "{said}");
    }
}

#[test]
fn a_crash_says_its_last_error_and_the_same_through_the_whole_loop() {
    let log =
        "{\"level\":\"INFO\",\"message\":\"Worker starts\"}\nsluice-worker: cannot read config.json: no such file\n";
    let end = ended(json!({"reason": "Error", "message": log}));
    let expected = "Crashing: worker ends with exit code 1: sluice-worker: cannot read config.json: no such file";
    let back_off = "back-off 40s restarting failed container=worker pod=to-api-worker-abc-x1_shop(uid)";
    let states = [
        container(end.clone(), json!({})),
        container(json!({"waiting": {"reason": "CrashLoopBackOff", "message": back_off}}), end.clone()),
        container(json!({"waiting": {"reason": "ContainerCreating"}}), end.clone()),
        container(json!({"running": {"startedAt": "2026-01-01T00:59:59Z"}}), end),
    ];
    for state in states {
        assert_eq!(says(&[state]), expected);
    }
}

#[test]
fn of_a_log_in_json_the_last_error_is_taken() {
    let log = "{\"level\":\"ERROR\",\"message\":\"Receiver ended: cannot listen on [::]:8080\"}\n{\"level\":\"INFO\",\"message\":\"bye\"}";
    let said = says(&[container(ended(json!({"message": log, "exitCode": 3})), json!({}))]);
    assert_eq!(said, "Crashing: worker ends with exit code 3: Receiver ended: cannot listen on [::]:8080");
    let panic = "thread 'main' panicked at a.rs:1:2:\nit cannot be\nnote: run with `RUST_BACKTRACE=1`";
    assert!(
        says(&[container(ended(json!({"message": panic, "exitCode": 101})), json!({}))]).ends_with("101: it cannot be")
    );
    let killed = says(&[container(ended(json!({"signal": 9, "exitCode": 137})), json!({}))]);
    assert_eq!(killed, "Crashing: worker ends with signal 9");
}

#[test]
fn a_crash_of_long_ago_is_no_trouble_any_more() {
    let end = ended(json!({"finishedAt": "2026-01-01T00:30:00Z"}));
    assert_eq!(says(&[container(json!({"running": {}}), end)]), "");
}

#[test]
fn what_runs_and_is_not_ready_for_long_is_told_though_it_says_nothing() {
    let expected = "Unavailable: worker runs, but has not been ready for more than a minute and does not say why; its log and \
                    `kubectl describe pod` may tell";
    let started = |at: &str| container(json!({"running": {"startedAt": at}}), json!({}));
    assert_eq!(says(&[started("2026-01-01T00:59:10Z")]), "", "it begins");
    let long_ago = started("2026-01-01T00:51:00Z");
    assert_eq!(says(std::slice::from_ref(&long_ago)), expected);
    let turned = |at: &str| {
        let mut pod = long_ago.clone();
        let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": at}]);
        pod.pod.status.as_mut().unwrap().conditions = serde_json::from_value(ready).unwrap();
        pod
    };
    assert_eq!(says(&[turned("2026-01-01T00:59:30Z")]), "", "it was ready a moment ago");
    assert_eq!(says(&[turned("2026-01-01T00:58:00Z")]), expected);
    let mut blocked = turned("2026-01-01T00:58:00Z");
    blocked.says = Some(Said { trouble: Some("no answer from Kafka".into()), ..Said::default() });
    assert_eq!(says(&[blocked]), "Blocked: worker says: no answer from Kafka");
}

#[test]
fn too_little_memory_is_told_from_other_ends_and_with_its_limit() {
    let expected = "OutOfMemory: worker needs more memory than its limit of 256Mi and is killed; give it more";
    let end = ended(json!({"reason": "OOMKilled", "exitCode": 137}));
    assert_eq!(says(&[container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), end)]), expected);
    // So little that not even the container's first process begins.
    let begin =
        "failed to create containerd task: runc create failed: container init was OOM-killed (memory limit too low?)";
    assert_eq!(says(&[waiting("RunContainerError", begin)]), expected);
    assert_eq!(
        says(&[container(ended(json!({"reason": "StartError", "message": begin, "exitCode": 128})), json!({}))]),
        expected
    );
}

#[test]
fn a_container_that_cannot_be_made_says_why_without_the_name_of_its_pod() {
    let message = "secret \"other\" not found";
    assert_eq!(
        says(&[waiting("CreateContainerConfigError", message)]),
        format!("CannotStart: worker cannot start: {message}")
    );
    let message = "container has runAsNonRoot and image will run as root (pod: \"to-api-worker-abc-x1_shop(uid-of-to-api-worker-abc-x1)\", container: worker)";
    let said = says(&[waiting("CreateContainerConfigError", message)]);
    assert!(said.contains("image will run as root") && !said.contains("abc-x1"), "{said}");
    assert!(says(&[waiting("ContainerCreating", "")]).starts_with("CannotStart: worker is not made yet"));
    let mut young = waiting("ContainerCreating", "");
    young.pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(says(&[young]), "");
}

#[test]
fn what_a_pod_says_itself_names_the_secret_that_is_mounted() {
    let mut blocked = container(json!({"running": {}}), json!({}));
    blocked.says = Some(
        serde_json::from_value(json!({"generation": 3, "trouble":
        "cannot read /etc/sluice/secrets/signing/current: No such file; it is a key of a Secret"}))
        .unwrap(),
    );
    assert_eq!(
        says(&[blocked.clone()]),
        "Blocked: worker says: cannot read key \"current\" of the Secret \"signing\": No such file; it is a key of a Secret"
    );
    blocked.pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].ready = true;
    assert_eq!(says(&[blocked]), "", "a pod that is ready is no trouble");
}

#[test]
fn what_no_node_takes_says_what_they_lack_and_not_how_many_they_are() {
    let unscheduled = |message: &str| {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        pod("p", json!({"phase": "Pending", "conditions": [condition]}))
    };
    let one = "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {gpu: yes}. preemption: 0/3 nodes are available: 3 No preemption victims found.";
    let other =
        "0/4 nodes are available: 2 node(s) had untolerated taint {gpu: yes}, 2 Insufficient memory. preemption: no";
    let expected =
        "Unschedulable: no node takes the pod: Insufficient memory, node(s) had untolerated taint {gpu: yes}";
    assert_eq!(says(&[unscheduled(one)]), expected);
    assert_eq!(says(&[unscheduled(other)]), expected);
    assert_eq!(
        says(&[unscheduled("no nodes available to schedule pods")]),
        "Unschedulable: no node takes the pod: no nodes available to schedule pods"
    );
}

#[test]
fn a_pod_that_was_put_out_counts_only_where_nothing_else_is_wrong() {
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi.";
    let evicted = pod("a", json!({"phase": "Failed", "reason": "Evicted", "message": message}));
    assert_eq!(
        says(std::slice::from_ref(&evicted)),
        "Evicted: a pod was evicted from its node: The node was low on resource: memory."
    );
    assert!(says(&[evicted, waiting("ErrImagePull", "not found")]).starts_with("ImageUnavailable"));
    let refused = pod("b", json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected"}));
    assert_eq!(says(&[refused]), "Unschedulable: a node refused a pod: OutOfcpu");
}

#[test]
fn pods_of_an_older_template_and_pods_that_go_do_not_count() {
    let mut old = waiting("ErrImagePull", "not found");
    old.pod.metadata.labels = Some([("pod-template-hash".to_owned(), "old".to_owned())].into());
    old.pod.metadata.creation_timestamp = None;
    let fine = pod("new", json!({"phase": "Running"}));
    assert_eq!(says(&[old, fine]), "");
    let mut going = waiting("ErrImagePull", "not found");
    going.pod.metadata.deletion_timestamp = going.pod.metadata.creation_timestamp.clone();
    assert_eq!(says(&[going]), "");
}

#[test]
fn pods_that_may_not_be_made_say_why_without_what_changes_meanwhile() {
    let refused = |message: &str| {
        let mut deployment = deployment();
        let condition =
            json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message});
        deployment.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
        let found = trouble(&deployment, &[], now()).unwrap();
        format!("{}: {}", found.reason, found.message)
    };
    assert_eq!(
        refused(
            r#"pods "to-api-worker-7d9-x2v8p" is forbidden: exceeded quota: compute, requested: pods=1,limits.memory=256Mi, used: pods=5,limits.memory=1Gi, limited: pods=5,limits.memory=1Gi"#
        ),
        "QuotaExceeded: the ResourceQuota \"compute\" is used up: another pod needs pods=1,limits.memory=256Mi, and the limit is pods=5,limits.memory=1Gi"
    );
    assert_eq!(
        refused(
            r#"pods "to-api-worker-7d9-x2v8p" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0"#
        ),
        "PodsRefused: the pods are refused: violates PodSecurity \"restricted:latest\": runAsUser=0"
    );
}

#[test]
fn what_takes_too_long_without_a_known_cause_says_where_to_look() {
    let mut deployment = deployment();
    let condition = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
    deployment.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
    assert_eq!(trouble(&deployment, &[], now()).unwrap().reason, Reason::Unavailable);
    let known = trouble(&deployment, &[waiting("ErrImagePull", "not found")], now()).unwrap();
    assert_eq!(known.reason, Reason::ImageUnavailable);
}

#[test]
fn only_what_runs_and_is_not_ready_is_looked_at_again_and_more_seldom_with_its_age() {
    let seconds = |pods: &[SeenPod]| look_again(pods, now()).map(|time| time.as_secs());
    assert_eq!(seconds(&[]), None);
    assert_eq!(seconds(&[pod("waits for a node", json!({"phase": "Pending"}))]), None);
    assert_eq!(seconds(&[container(json!({"running": {}}), json!({}))]), Some(120), "it is 10 minutes old");
    let mut young = container(json!({"running": {}}), json!({}));
    young.pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(seconds(&[young.clone()]), Some(5));
    assert!(!is_worth_asking(&young.pod, now()), "it has had no time yet");
    assert!(is_worth_asking(&container(json!({"running": {}}), json!({})).pod, now()));
}
