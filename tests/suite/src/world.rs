//! A world for one test: a real API server and Kafka that all tests share, an operator, and a namespace of its own.
//!
//! A [`Stage`] is a world before an operator is in it, for tests that start their own.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_cluster::{Part, Target, testing};
use sluice_crds::{Integration, KafkaConnection, Topic, TopicStatus, Webhook};
use sluice_kafka::{Admin, Producer, ProducerSettings};
use tokio::sync::Mutex;

use crate::{
    checkout, losing,
    operator::{Launch, Operator, SERVICE_ACCOUNT, allow_lease, forget_lease},
    until,
};

/// Long enough for two busy cores that do nothing at all for ten seconds; what takes longer is broken. The operator looks at what it has
/// missed within a minute and more, less a fifth: that must not come to the aid of what is awaited.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// The operator that the tests of this process share while one of them runs.
static OPERATOR: Mutex<Weak<Operator>> = Mutex::const_new(Weak::new());

/// How a program of this machine reaches the Kafka cluster.
pub fn kafka_of(target: &Target) -> anyhow::Result<KafkaConnection> {
    Ok(KafkaConnection { bootstrap_servers: vec![target.kafka_bootstrap()?.to_string()], ..KafkaConnection::default() })
}

/// What writes records for a test. Whoever waits for their fate is no sender, who would rather hear of a slow Kafka soon.
pub fn producer(connection: &KafkaConnection) -> anyhow::Result<Producer> {
    let settings = ProducerSettings { patience: PATIENCE, ..ProducerSettings::default() };
    Ok(Producer::connect(connection, &settings)?)
}

/// A world for one test.
pub struct World {
    stage: Stage,
    /// The operator.
    pub operator: Arc<Operator>,
}

/// A world without an operator.
pub struct Stage {
    target: Target,
    /// Where Kafka is reached.
    pub bootstrap: String,
    /// The API server, as its administrator.
    pub client: Client,
    /// The Kafka cluster.
    pub kafka: Admin,
    /// The test's own namespace.
    pub namespace: String,
    /// What the API server noted of every request, where that can be read.
    pub audit_log: Option<PathBuf>,
}

impl World {
    /// Begins a world whose namespace is called like the test.
    pub async fn begin(name: &str) -> anyhow::Result<Self> {
        let stage = Stage::begin(name).await?;
        let operator = operator(&stage).await?;
        Ok(Self { stage, operator })
    }

    /// Makes the operator look at an object again and waits until it has: what it would do by now is done. Gives the object as the last
    /// touch left it.
    pub async fn look_again<K>(&self, name: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.operator.looks_again::<K>(&self.stage, name).await
    }

    /// Waits until an object is as `judge` wants it; `Err` says what it sees instead.
    pub async fn until<K, T>(
        &self,
        name: &str,
        what: &str,
        judge: impl Fn(&K) -> Result<T, String>,
    ) -> anyhow::Result<T>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let found = self.stage.until(name, what, judge).await;
        found.with_context(|| format!("the operator's log:\n{}", last_lines(&self.operator.log(), 20)))
    }
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Stage {
    /// Begins a world whose namespace is called like the test.
    pub async fn begin(name: &str) -> anyhow::Result<Self> {
        Self::on(target().await?, name).await
    }

    /// The same on a cluster of the test's own.
    pub async fn on(target: Target, name: &str) -> anyhow::Result<Self> {
        install(&target)?;
        let stage = Self::bare(target, format!("{name}-{}", std::process::id())).await?;
        are_served(&stage.client).await?;
        Ok(stage)
    }

    /// A stage whose namespace is called like that, on a cluster where nothing is installed.
    pub async fn bare(target: Target, namespace: String) -> anyhow::Result<Self> {
        let client = client(target.kubeconfig()).await?;
        let object = Namespace {
            metadata: kube::core::ObjectMeta { name: Some(namespace.clone()), ..Default::default() },
            ..Default::default()
        };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let bootstrap = target.kafka_bootstrap()?.to_string();
        let (kafka, audit_log) = (Admin::connect(&kafka_of(&target)?)?, target.audit_log());
        Ok(Self { target, bootstrap, client, kafka, namespace, audit_log })
    }

    /// Another one beside it, on the same cluster.
    pub async fn beside(&self, name: &str) -> anyhow::Result<Self> {
        Self::bare(self.target.clone(), format!("{name}-{}", std::process::id())).await
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> &Path {
        self.target.kubeconfig()
    }

    /// Runs kubectl as the administrator; gives what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.target.kubectl(arguments)
    }

    /// How an operator of that name is started here. Its Kafka cluster is known as `alias` too; nothing answers at those called `away` and `silent`.
    pub fn launch(&self, identity: &str) -> Launch {
        Launch {
            kubeconfig: self.target.kubeconfig().to_owned(),
            bootstrap: self.bootstrap.clone(),
            identity: identity.to_owned(),
            lease_namespace: SERVICE_ACCOUNT.0.to_owned(),
            arguments: Vec::new(),
            // Where tests run an API, it is on this machine.
            settings: "outgoing: {allow: ['127.0.0.0/8']}\n".to_owned(),
            measuring: "{interval: 1s, writeEvery: 1s}",
            drift_interval: "5s",
            clusters: format!(
                "alias: {{bootstrapServers: ['{}']}}, away: {{bootstrapServers: ['127.0.0.1:1']}}, \
                 silent: {{bootstrapServers: ['127.0.0.1:9']}}",
                self.bootstrap
            ),
            registries: "away: {url: 'http://127.0.0.1:1'}".to_owned(),
            log: "info,sluice_operator=debug".to_owned(),
            server: None,
        }
    }

    /// The same as an operator is that nobody has told otherwise, where tests are in a hurry, want to see everything and have many Kafka clusters.
    pub fn launch_by_default(&self, identity: &str) -> Launch {
        Launch {
            clusters: String::new(),
            measuring: "{}",
            drift_interval: "1m",
            log: "info".to_owned(),
            ..self.launch(identity)
        }
    }

    /// How an operator is started that looks after this namespace only and has nothing to do with operators elsewhere.
    pub async fn launch_apart(&self, identity: &str) -> anyhow::Result<Launch> {
        allow_lease(&self.client, &self.namespace).await?;
        Ok(Launch {
            lease_namespace: self.namespace.clone(),
            arguments: vec!["--namespaces".to_owned(), self.namespace.clone()],
            ..self.launch(identity)
        })
    }

    /// Starts an operator and waits until it is ready.
    pub async fn start(&self, launch: &Launch) -> anyhow::Result<Operator> {
        let operator = self.start_once(launch).await?;
        operator.keep();
        Ok(operator)
    }

    /// The same with one after which no other one comes, whatever it ends of.
    pub async fn start_once(&self, launch: &Launch) -> anyhow::Result<Operator> {
        let operator = Operator::start(self.client.clone(), launch).await?;
        operator.is_ready().await?;
        Ok(operator)
    }

    /// The objects of a kind in the test's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object as a user would, from YAML without namespace.
    pub async fn apply<K>(&self, yaml: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let manifest: Value = serde_saphyr::from_str(yaml).context("the test's own YAML")?;
        let name = manifest["metadata"]["name"].as_str().context("the test's object has no name")?.to_owned();
        let parameters = PatchParams::apply("kubectl").force();
        Ok(self.api::<K>().patch(&name, &parameters, &Patch::Apply(manifest)).await?)
    }

    /// Applies a Topic whose spec has these fields.
    pub async fn apply_topic(&self, name: &str, spec: &str) -> anyhow::Result<Topic> {
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {{name: {name}}}, spec: {{{spec}}}}}");
        self.apply(&yaml).await
    }

    /// Makes the operator look at an object again, without a change of its spec; gives the object with the touch.
    pub async fn touch<K>(&self, name: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let patch =
            json!({"metadata": {"annotations": {"test/touched": k8s_openapi::jiff::Timestamp::now().to_string()}}});
        Ok(self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Waits until the status of the Integration `to-api` shows lag as that, and gives the condition that says why it is not known. What Kafka
    /// does not tell any more counts for a minute.
    pub async fn lag_is(&self, operator: &Operator, lag: &str) -> anyhow::Result<String> {
        let look = || async {
            let integration = self.api::<Integration>().get("to-api").await.map_err(|error| error.to_string())?;
            let status = integration.status.unwrap_or_default();
            let why = condition(&status.conditions, "Unmeasured");
            if status.lag.as_deref() == Some(lag) { Ok(why) } else { Err(format!("{:?} {why}", status.lag)) }
        };
        let found = until(&format!("lag is {lag}"), Duration::from_mins(3), look).await;
        found.with_context(|| operator.log())
    }

    /// Does some work, and gives with what it comes to how much time was lost meanwhile: the machine's, the API server's or its disk's.
    pub async fn losing<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let (maps, parameters) = (self.api::<ConfigMap>(), PatchParams::apply("suite"));
        let write = async || {
            let now = k8s_openapi::jiff::Timestamp::now().to_string();
            let map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clock"}, "data": {"now": now}});
            drop(maps.patch("clock", &parameters, &Patch::Apply(map)).await);
        };
        losing(write, Box::pin(work)).await
    }

    /// Waits until an object is as `judge` wants it; `Err` says what it sees instead.
    pub async fn until<K, T>(
        &self,
        name: &str,
        what: &str,
        judge: impl Fn(&K) -> Result<T, String>,
    ) -> anyhow::Result<T>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let what = format!("{what} ({} {name:?})", K::kind(&()));
        until(&what, PATIENCE, || async {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            judge(&object)
        })
        .await
    }
}

/// The status of a Topic, and its condition `Ready`, where that is about the newest spec and begins with `what`, such as
/// `False Withheld`; else what it says instead.
pub fn judge_topic(topic: &Topic, what: &str) -> Result<(TopicStatus, String), String> {
    let status = topic.status.clone().unwrap_or_default();
    let ready = condition(&status.conditions, "Ready");
    let current = status.observed_generation == topic.metadata.generation;
    if current && ready.starts_with(what) { Ok((status, ready)) } else { Err(ready) }
}

/// Whether Kubernetes has looked at the newest spec of each Deployment, as it writes its status then; `Err` names one where it has not.
pub fn are_observed(deployments: &[Deployment]) -> Result<(), String> {
    let observed = |deployment: &Deployment| deployment.status.as_ref()?.observed_generation;
    let unseen = deployments.iter().find(|deployment| observed(deployment) < deployment.metadata.generation);
    unseen.map_or(Ok(()), |deployment| Err(format!("{:?} was not looked at", deployment.metadata.name)))
}

/// The condition of that type, as `status reason: message`.
pub fn condition(conditions: &[Condition], kind: &str) -> String {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map_or_else(|| "none".to_owned(), |found| format!("{} {}: {}", found.status, found.reason, found.message))
}

/// A client with the rights of that kubeconfig.
pub async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    Ok(Client::try_from(config)?)
}

async fn target() -> anyhow::Result<Target> {
    let parts = [Part::ControlPlane, Part::GatewayCrds, Part::Kafka];
    tokio::task::spawn_blocking(move || Target::up(&testing::shared_name(), &parts)).await?
}

async fn operator(stage: &Stage) -> anyhow::Result<Arc<Operator>> {
    let mut running = OPERATOR.lock().await;
    if let Some(operator) = running.upgrade() {
        return Ok(operator);
    }
    leave_to_us(&stage.client).await?;
    forget_lease(&stage.client).await?;
    let operator = Arc::new(stage.start(&stage.launch("shared")).await?);
    *running = Arc::downgrade(&operator);
    Ok(operator)
}

/// The CRDs and the operator's rights, as its manifests give them.
fn install(target: &Target) -> anyhow::Result<()> {
    let manifests = checkout("manifests")?;
    let parts = [
        ("-k", "crds"),
        ("-f", "operator/namespace.yaml"),
        ("-f", "operator/account.yaml"),
        ("-f", "operator/access.yaml"),
    ];
    for (how, part) in parts {
        let path = manifests.join(part).display().to_string();
        target.kubectl(&["apply", "--server-side", "--force-conflicts", how, &path])?;
    }
    Ok(())
}

/// Waits until the API server serves our kinds. It does a moment after it has taken their definitions.
pub async fn are_served(client: &Client) -> anyhow::Result<()> {
    let one = ListParams::default().limit(1);
    until("the API server serves Topics, Integrations and Webhooks", PATIENCE, || async {
        let look = async {
            Api::<Topic>::all(client.clone()).list_metadata(&one).await?;
            Api::<Integration>::all(client.clone()).list_metadata(&one).await?;
            Api::<Webhook>::all(client.clone()).list_metadata(&one).await.map(drop)
        };
        look.await.map_err(|error: kube::Error| error.to_string())
    })
    .await
}

/// Puts an installed operator to rest, as the tests with pods install one: it would reconcile beside ours.
pub async fn leave_to_us(client: &Client) -> anyhow::Result<()> {
    let (namespace, name) = SERVICE_ACCOUNT;
    let installed = Api::<Deployment>::namespaced(client.clone(), namespace);
    if installed.get_opt(name).await?.is_none() {
        return Ok(());
    }
    installed.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 0}}))).await?;
    until("the installed operator is gone", PATIENCE, || async {
        let deployment = installed.get(name).await.map_err(|error| error.to_string())?;
        let left = deployment.status.and_then(|status| status.replicas).unwrap_or_default();
        if left == 0 { Ok(()) } else { Err(format!("{left} pods")) }
    })
    .await
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
