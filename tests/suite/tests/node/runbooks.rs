//! The commands of the runbooks, as a person would type them, on an installation that works.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use kube::Api;
use serde_json::{Value, json};
use sluice_cluster::{Target, testing::kafka_tool};
use sluice_crds::Webhook;
use sluice_kafka::OutgoingRecord;
use sluice_suite::{
    Shop, checkout, install,
    install::ROLLOUT,
    shop::{payment, ready},
    until,
};
use tempfile::TempDir;

/// How long a command may go on failing. Some of them begin with a Java program of Kafka's.
const PATIENCE: Duration = Duration::from_mins(1);
/// What would disturb the tests beside this one.
const DISTURBING: &str = "kubectl rollout restart";
/// What prints nothing where all is well.
const QUIET: [&str; 5] =
    ["kubectl get events", "> sluice-operator.log", "SinkHealthy", "SecretsReady", "resourcequota"];
/// What Kafka's tools show of the record that is written for them.
const SHOWN: &str = "pay-1";

/// A folder with a `kubectl` for the cluster and Kafka's tool in `bin`, and the repository's manifests.
fn desk(target: &Target) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(checkout("manifests").unwrap(), folder.path().join("manifests")).unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    if let Target::Local(cluster) = target {
        lay(&bin.join("kubectl"), &cluster.kubectl_command(&[] as &[&str]));
        let consumer = "kafka-console-consumer.sh";
        lay(&bin.join(consumer), &kafka_tool(consumer).unwrap());
    }
    folder
}

/// Makes a program that goes on with what it is given as that command does.
fn lay(program: &Path, command: &Command) {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    fs::write(program, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether a person at this desk can type it: of another cluster Kafka's tools may be missing.
fn can_be_typed(line: &str, target: &Target) -> bool {
    !line.starts_with(DISTURBING) && (matches!(target, Target::Local(_)) || !line.starts_with("kafka-"))
}

/// The blocks of commands of all runbooks, each with its page.
fn blocks() -> Vec<(String, String)> {
    let folder = checkout("docs/runbooks").unwrap();
    let mut pages: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let name = page.file_stem().unwrap().display().to_string();
        let text = fs::read_to_string(page).unwrap();
        let found = text.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
        blocks.extend(found.map(|block| (name.clone(), block)));
    }
    blocks
}

#[tokio::test]
async fn every_command_of_the_runbooks_works() {
    let shop = Shop::open("runbooks", |_| ()).await.unwrap();
    let certificate = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap().cert.pem();
    install::apply(
        shop.target,
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certificate", "namespace": shop.namespace},
                "stringData": {"tls.crt": certificate}}),
    )
    .unwrap();
    install::apply(shop.target, &sharing(&shop.namespace)).unwrap();
    let webhooks = Api::<Webhook>::namespaced(shop.client.clone(), &shop.namespace);
    until("shared receivers serve", ROLLOUT, || async {
        let webhook = webhooks.get(SHARING).await.map_err(|error| error.to_string())?;
        ready(&webhook.status.unwrap_or_default().conditions)
    })
    .await
    .unwrap();
    // The first record of the topic, for who looks at records.
    let record = OutgoingRecord { partition: Some(0), ..OutgoingRecord::new(shop.topic(), payment(1).to_string()) };
    shop.producer().unwrap().send(record).await.unwrap();
    let desk = desk(shop.target);
    let mut complaints = Vec::new();
    let blocks = blocks();
    assert!(blocks.len() > 25, "{}", blocks.len());
    // What is set in one block of a page stands in the next ones.
    let (mut page, mut settings) = (String::new(), String::new());
    for (of_page, block) in blocks {
        if of_page != page {
            (page, settings) = (of_page, String::new());
        }
        for line in block.lines().filter(|line| can_be_typed(line, shop.target)) {
            if line.contains("=$(") {
                settings.push_str(line);
                settings.push('\n');
                continue;
            }
            // Shared receivers are found and asked as those of one Webhook.
            let is_about_receivers =
                settings.contains("RECEIVERS=") && (line.contains("RECEIVERS") || line.contains("POD"));
            let names: &[&str] = if is_about_receivers { &["payments", SHARING] } else { &["payments"] };
            for webhook in names {
                let mut command = typed(&shop, &desk, webhook, &format!("{settings}{line}"));
                // A person types a command once more where a pod has just begun.
                let look = || {
                    let complaint = complaint(&mut command, line);
                    async { complaint.map_or(Ok(()), Err) }
                };
                if let Err(error) = until(line, PATIENCE, look).await {
                    complaints.push(format!("{page}, {webhook}: {error}"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A Webhook that shares receivers.
const SHARING: &str = "sharing";

fn sharing(namespace: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": {"name": SHARING, "namespace": namespace},
        "spec": {
            "route": {"parentRefs": [{"name": "edge", "namespace": "gateways"}], "hostnames": ["hooks.shop.example"]},
            "verify": {"none": {}},
            "receiver": {"mode": "Shared"},
        },
    })
}

/// Lines that a person types who looks after that Webhook.
fn typed(shop: &Shop, desk: &TempDir, webhook: &str, lines: &str) -> Command {
    let path = format!("{}:{}", desk.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -euo pipefail\n{lines}")]).current_dir(desk.path());
    command.envs([
        ("NAMESPACE", shop.namespace.as_str()),
        ("INTEGRATION", "payments-to-ledger"),
        ("WEBHOOK", webhook),
        ("JOB", "sluice-worker"),
        ("SECRET", "certificate"),
        ("KIND", "Integration"),
        ("NAME", "payments-to-ledger"),
        ("TOPIC", shop.topic().as_str()),
        ("PARTITION", "0"),
        ("OFFSET", "0"),
        ("BROKERS", shop.kafka().unwrap().bootstrap_servers.join(",").as_str()),
        ("PATH", path.as_str()),
    ]);
    command.env("KUBECONFIG", shop.target.kubeconfig()).env("KUBECACHEDIR", desk.path().join("cache"));
    command
}

/// What is wrong with what a command comes to.
fn complaint(command: &mut Command, line: &str) -> Option<String> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // Kafka's tools also say there why they show nothing.
    let shows = if line.starts_with("kafka-") { said.contains(SHOWN) } else { !said.trim().is_empty() };
    let failed = !output.status.success() || !(shows || QUIET.iter().any(|quiet| line.contains(quiet)));
    failed.then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
