//! The story of the README, on a cluster of this machine: a signed webhook travels to an API.
#![allow(clippy::print_stdout, reason = "the story is told on the terminal")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use kube::{Api, Client};
use reqwest::StatusCode;
use serde_json::json;
use sluice_cluster::{Part, Target, exit};
use sluice_crds::{Integration, Webhook};
use sluice_suite::{
    install::{self, Ledger, ROLLOUT},
    sender::Sender,
    until,
    world::{client, condition},
};

const CLUSTER: &str = "demo";
const NAMESPACE: &str = "shop";
/// As in `examples/quickstart/secret.yaml`.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The numbers in the status are asked for every few seconds.
const NUMBERS: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    exit(run())
}

fn run() -> anyhow::Result<()> {
    let target = Target::up(CLUSTER, &Part::USUAL)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(story(&target))
}

async fn story(target: &Target) -> anyhow::Result<()> {
    let client = client(target.kubeconfig()).await?;
    step("images of operator, receiver, worker and ledger loaded", async { install::load_images(target) }).await?;
    step("operator installed with kubectl apply -k manifests", install::install(target, &client)).await?;
    step("examples/quickstart applied and ready", quickstart(target, &client)).await?;
    let ledger = Ledger::new(client.clone(), NAMESPACE);
    let recorded = ledger.entries().await?.len();
    step("5 signed webhooks taken, a repeated one not written twice, a forged one refused", send(target)).await?;
    step("the ledger has the 4 payments that succeeded", delivered(&ledger, recorded + 4)).await?;
    step("lag is 0", no_lag(&client)).await?;
    show(target, &ledger).await
}

/// One line for each step, with its time.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    let done = work.await.with_context(|| format!("failed: {what}"))?;
    println!("{what:<84} {:>6.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}

async fn quickstart(target: &Target, client: &Client) -> anyhow::Result<()> {
    install::apply_folder(target, "examples/quickstart")?;
    install::rolled_out(client, NAMESPACE, "ledger").await?;
    let webhooks = Api::<Webhook>::namespaced(client.clone(), NAMESPACE);
    until("Webhook payments is ready", ROLLOUT, || async {
        let webhook = webhooks.get("payments").await.map_err(|error| error.to_string())?;
        ready(&webhook.status.unwrap_or_default().conditions)
    })
    .await?;
    let integrations = Api::<Integration>::namespaced(client.clone(), NAMESPACE);
    until("Integration payments-to-ledger is ready", ROLLOUT, || async {
        let integration = integrations.get("payments-to-ledger").await.map_err(|error| error.to_string())?;
        ready(&integration.status.unwrap_or_default().conditions)
    })
    .await
}

fn ready(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> Result<(), String> {
    let ready = condition(conditions, "Ready");
    if ready.starts_with("True") { Ok(()) } else { Err(ready) }
}

async fn send(target: &Target) -> anyhow::Result<()> {
    let sender = Sender::new(target.gateway_address()?, "hooks.shop.example", "/payments", SECRET)?;
    // Each demo tells a story of its own, also on a cluster that is still up.
    let run = k8s_openapi::jiff::Timestamp::now().as_second();
    let event = |number: u32| {
        let kind = if number == 3 { "payment.failed" } else { "payment.succeeded" };
        json!({"id": format!("pay-{run}-{number}"), "type": kind, "customer": "ada", "amount": 100 * number, "currency": "eur"})
    };
    for number in 1..=5 {
        let status = sender.send(&format!("evt-{run}-{number}"), &event(number)).await?;
        ensure!(status == StatusCode::ACCEPTED, "webhook {number} was answered {status}");
    }
    let repeated = sender.send(&format!("evt-{run}-5"), &event(5)).await?;
    ensure!(repeated == StatusCode::ACCEPTED, "the repeated webhook was answered {repeated}");
    let forged = sender.forge(&format!("evt-{run}-6"), &event(6)).await?;
    ensure!(forged == StatusCode::UNAUTHORIZED, "the forged webhook was answered {forged}");
    Ok(())
}

async fn delivered(ledger: &Ledger, expected: usize) -> anyhow::Result<()> {
    until(&format!("the ledger has {expected} entries"), ROLLOUT, || async {
        let entries = ledger.entries().await.map_err(|error| error.to_string())?;
        if entries.len() == expected { Ok(()) } else { Err(format!("{} entries", entries.len())) }
    })
    .await
}

async fn no_lag(client: &Client) -> anyhow::Result<()> {
    let api = Api::<Integration>::namespaced(client.clone(), NAMESPACE);
    until("the status says lag 0", NUMBERS, || async {
        let integration = api.get("payments-to-ledger").await.map_err(|error| error.to_string())?;
        match integration.status.and_then(|status| status.lag).as_deref() {
            Some("0") => Ok(()),
            other => Err(format!("lag {}", other.unwrap_or("unknown"))),
        }
    })
    .await
}

async fn show(target: &Target, ledger: &Ledger) -> anyhow::Result<()> {
    println!("\n$ kubectl get topics,webhooks,integrations -n {NAMESPACE}");
    println!(
        "{}",
        target.kubectl(&["get", "topics.sluice.dev,webhooks.sluice.dev,integrations.sluice.dev", "-n", NAMESPACE])?
    );
    println!("The ledger's record:");
    for entry in ledger.entries().await? {
        println!("  {entry}");
    }
    println!("\nLook further:  export KUBECONFIG={}", target.kubeconfig().display());
    println!("               kubectl get integrations.sluice.dev -n {NAMESPACE} -o yaml");
    println!("               kubectl logs -n {NAMESPACE} deployment/payments-to-ledger-worker");
    println!("               kubectl explain integrations.sluice.dev.spec");
    let stop = match target {
        Target::Local(_) => "make demo-down",
        Target::External(_) => "kubectl delete -k examples/quickstart && kubectl delete -k manifests",
    };
    println!("Stop:          {stop}");
    Ok(())
}
