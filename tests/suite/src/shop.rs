//! `examples/quickstart` in a namespace of its own, so that tests do not meet.

use std::{collections::BTreeSet, thread};

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, SecuredKafka, Target, testing};
use sluice_crds::{Integration, KafkaConnection, Webhook};
use sluice_kafka::Producer;
use tokio::sync::OnceCell;

use crate::{
    checkout,
    install::{self, Ledger, ROLLOUT},
    sender::{Sender, UNHURRIED},
    until,
    world::{client, condition, kafka_of, producer},
};

/// As in `examples/quickstart/secret.yaml`.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

static NODE: OnceCell<Target> = OnceCell::const_new();

/// A quickstart that runs.
pub struct Shop {
    /// The cluster that it runs on.
    pub target: &'static Target,
    /// The API server, as its administrator.
    pub client: Client,
    /// Its namespace.
    pub namespace: String,
    /// The API that the Integration delivers to.
    pub ledger: Ledger,
}

/// What a test that has passed leaves goes, and makes room on the node for the next one.
impl Drop for Shop {
    fn drop(&mut self) {
        if !thread::panicking() {
            drop(self.target.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
        }
    }
}

impl Shop {
    /// Applies the quickstart and waits until everything is ready. `change` may change its Integration before. Its Webhook takes events also
    /// where Kafka is slow.
    pub async fn open(name: &str, change: impl FnOnce(&mut Value)) -> anyhow::Result<Self> {
        Self::open_with(name, |webhook| webhook["spec"]["patience"] = json!(UNHURRIED), change).await
    }

    /// The same with a Webhook that may be changed too.
    pub async fn open_with(
        name: &str,
        change_webhook: impl FnOnce(&mut Value),
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Self> {
        let target = node().await?;
        let client = client(target.kubeconfig()).await?;
        let namespace = format!("{name}-{}", std::process::id());
        let ledger = Ledger::new(client.clone(), &namespace);
        let shop = Self { target, client, namespace, ledger };
        let mut manifests = shop.manifests()?;
        change_webhook(of_kind(&mut manifests, "Webhook")?);
        change(of_kind(&mut manifests, "Integration")?);
        install::apply(target, &json!({"apiVersion": "v1", "kind": "List", "items": manifests}))?;
        install::rolled_out(&shop.client, &shop.namespace, "ledger").await?;
        shop.is_ready().await?;
        Ok(shop)
    }

    /// The files of the quickstart, with this shop's namespace and path.
    fn manifests(&self) -> anyhow::Result<Vec<Value>> {
        let folder = checkout("examples/quickstart")?;
        let mut manifests = Vec::new();
        for file in ["namespace", "secret", "ledger", "topic", "webhook", "integration"] {
            let path = folder.join(format!("{file}.yaml"));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let namespace = &self.namespace;
            let text = text
                .replace("namespace: shop", &format!("namespace: {namespace}"))
                .replace("name: shop\n", &format!("name: {namespace}\n"))
                .replace("ledger.shop.svc", &format!("ledger.{namespace}.svc"))
                .replace("path: /payments", &format!("path: {}", self.path()));
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
            manifests.extend(documents);
        }
        Ok(manifests)
    }

    fn path(&self) -> String {
        format!("/{}/payments", self.namespace)
    }

    async fn is_ready(&self) -> anyhow::Result<()> {
        let webhooks = Api::<Webhook>::namespaced(self.client.clone(), &self.namespace);
        until("the Webhook is ready", ROLLOUT, || async {
            let webhook = webhooks.get("payments").await.map_err(|error| error.to_string())?;
            ready(&webhook.status.unwrap_or_default().conditions)
        })
        .await?;
        self.integration_until("it is ready", |integration| {
            ready(&integration.status.clone().unwrap_or_default().conditions)
        })
        .await
    }

    /// Waits until the Integration is as `judge` wants it; `Err` says what it sees instead.
    pub async fn integration_until(
        &self,
        what: &str,
        judge: impl Fn(&Integration) -> Result<(), String>,
    ) -> anyhow::Result<()> {
        let api = Api::<Integration>::namespaced(self.client.clone(), &self.namespace);
        until(&format!("Integration payments-to-ledger: {what}"), ROLLOUT, || async {
            let integration = api.get("payments-to-ledger").await.map_err(|error| error.to_string())?;
            judge(&integration)
        })
        .await
    }

    /// Waits until the ledger has that many entries.
    pub async fn ledger_has(&self, expected: usize) -> anyhow::Result<Vec<Value>> {
        until(&format!("the ledger has {expected} entries"), ROLLOUT, || async {
            let entries = self.ledger.entries().await.map_err(|error| error.to_string())?;
            if entries.len() == expected { Ok(entries) } else { Err(format!("{} entries", entries.len())) }
        })
        .await
    }

    /// Waits until each of these payments is in the ledger. They may be many thousands, and senders are faster than a worker.
    pub async fn ledger_has_all(&self, payments: &BTreeSet<usize>) -> anyhow::Result<()> {
        until("every acknowledged event is delivered", ROLLOUT, || async {
            let entries = self.ledger.entries().await.map_err(|error| error.to_string())?;
            let entries: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["payment"].as_str()).collect();
            let missing = payments.iter().filter(|number| !entries.contains(format!("pay-{number}").as_str())).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", payments.len())) }
        })
        .await
    }

    /// A sender of this shop's webhooks.
    pub fn sender(&self) -> anyhow::Result<Sender> {
        self.sender_to("payments")
    }

    /// A sender with the same secret to a Webhook of this shop with the usual path.
    pub fn sender_to(&self, webhook: &str) -> anyhow::Result<Sender> {
        let path = format!("/{}/{webhook}", self.namespace);
        Sender::new(self.target.gateway_address()?, "hooks.shop.example", &path, SECRET)
    }

    /// Name in Kafka of the Topic that holds the payments.
    pub fn topic(&self) -> String {
        format!("{}.payments", self.namespace)
    }

    /// Name in Kafka of the dead letters.
    pub fn dead_letters(&self) -> String {
        format!("{}.payments-to-ledger-dead-letters", self.namespace)
    }

    /// How a program of this machine reaches the Kafka cluster.
    pub fn kafka(&self) -> anyhow::Result<KafkaConnection> {
        kafka_of(self.target)
    }

    /// Writes payments straight into the topic.
    pub fn producer(&self) -> anyhow::Result<Producer> {
        producer(&self.kafka()?)
    }
}

fn of_kind<'a>(manifests: &'a mut [Value], kind: &str) -> anyhow::Result<&'a mut Value> {
    let found = manifests.iter_mut().find(|manifest| manifest["kind"] == kind);
    found.with_context(|| format!("the quickstart has no {kind}"))
}

/// A payment that the quickstart's Integration delivers.
pub fn payment(number: usize) -> Value {
    json!({
        "id": format!("pay-{number}"),
        "type": "payment.succeeded",
        "customer": format!("customer-{}", number % 10),
        "amount": number,
        "currency": "eur",
    })
}

/// Whether `Ready` is true; `Err` says what it is instead.
pub fn ready(conditions: &[Condition]) -> Result<(), String> {
    let ready = condition(conditions, "Ready");
    if ready.starts_with("True") { Ok(()) } else { Err(ready) }
}

/// The cluster with a node, and Sluice in it, that all tests of this process share.
pub async fn node() -> anyhow::Result<&'static Target> {
    NODE.get_or_try_init(installed_node).await
}

/// A broker that the pods of that cluster reach, and that lets nobody in without a login; an external cluster has none.
pub async fn secured_kafka() -> anyhow::Result<Option<SecuredKafka>> {
    let Target::Local(_) = node().await? else { return Ok(None) };
    let cluster = tokio::task::spawn_blocking(|| Cluster::up(&node_name(), &[Part::KafkaSecured])).await??;
    Ok(Some(cluster.kafka_secured()))
}

fn node_name() -> String {
    format!("{}-node", testing::shared_name())
}

async fn installed_node() -> anyhow::Result<Target> {
    let target = tokio::task::spawn_blocking(|| -> anyhow::Result<Target> {
        let target = Target::up(&node_name(), &Part::USUAL)?;
        install::load_images(&target)?;
        Ok(target)
    })
    .await??;
    install::install(&target, &client(target.kubeconfig()).await?).await?;
    Ok(target)
}
