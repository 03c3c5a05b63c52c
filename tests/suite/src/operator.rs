//! The operator as a process of this machine, with the rights of its ServiceAccount and nothing more.

use std::{
    fs::File,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, Weak},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        authentication::v1::{TokenRequest, TokenRequestSpec},
        coordination::v1::Lease,
        core::v1::ServiceAccount,
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{AuthInfo, Kubeconfig},
};
pub use rustix::process::Signal;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, kill_process, pidfd_open},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use sluice_crds::metrics::operator::{LEADER, QUEUE_DEPTH, RECONCILES_IN_PROGRESS};
use tempfile::TempDir;

use crate::{
    Stage,
    program::{free_address, program},
    proxy::lock,
    until,
    world::PATIENCE,
};

/// Namespace and name of the operator's ServiceAccount, and of its lease.
pub const SERVICE_ACCOUNT: (&str, &str) = ("sluice-system", "sluice-operator");

/// The Role that lets an operator have a lease elsewhere, and its binding.
const OWN_LEASE: &str = "sluice-lease";

/// How long an operator may take to end. It gives itself some seconds for what is under way, and a busy machine takes longer.
const ENDING: Duration = Duration::from_secs(30);

/// What an operator says last that could not renew its lease in time.
const UNRENEWED: &str = "the lease could not be renewed in time";
/// How often an operator may be started again that ended so. A machine that stands still so often is of no use.
const RESTARTS: usize = 3;

/// How an operator is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The administrator's.
    pub kubeconfig: PathBuf,
    /// The Kafka cluster `default`.
    pub bootstrap: String,
    /// What the replica is called.
    pub identity: String,
    /// Where its lease is.
    pub lease_namespace: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further lines of its configuration.
    pub settings: String,
    /// How lag is measured and written.
    pub measuring: &'static str,
    /// Further Kafka clusters, as entries of the configuration's `clusters`.
    pub clusters: String,
    /// Its schema registries, as entries of the configuration's `schemaRegistries`.
    pub registries: String,
    /// How often it looks for what other tools changed.
    pub drift_interval: &'static str,
    /// What it logs.
    pub log: String,
    /// Another way to the API server than the kubeconfig says: plain HTTP to a proxy.
    pub server: Option<String>,
}

/// A running operator; it is stopped when this is dropped.
pub struct Operator {
    running: Arc<Mutex<Running>>,
    /// Where it serves `/readyz` and `/metrics`.
    pub status: SocketAddr,
    /// What the replica is called.
    pub identity: String,
    folder: TempDir,
}

/// Its process, and how another one is started.
struct Running {
    child: Child,
    command: Command,
    /// Whether no other one is to come.
    is_over: bool,
}

impl Operator {
    /// Starts it.
    pub async fn start(client: Client, launch: &Launch) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "clusters: {{default: {{bootstrapServers: ['{bootstrap}']}}, {clusters}}}\n\
             images: {{receiver: 'sluice/receiver:dev', worker: 'sluice/worker:dev'}}\n\
             schemaRegistries: {{{registries}}}\n\
             adminRequests: {{driftInterval: {drift_interval}}}\n\
             measuring: {measuring}\n{settings}\n",
            bootstrap = launch.bootstrap,
            clusters = launch.clusters,
            registries = launch.registries,
            drift_interval = launch.drift_interval,
            measuring = launch.measuring,
            settings = launch.settings,
        );
        std::fs::write(folder.path().join("config.yaml"), config)?;
        let own = own_kubeconfig(launch, &token(client).await?)?;
        std::fs::write(folder.path().join("kubeconfig"), own)?;
        let status = free_address()?;
        let log = File::create(folder.path().join("operator.log"))?;
        let mut command = Command::new(program("sluice-operator")?);
        command
            .arg("--config")
            .arg(folder.path().join("config.yaml"))
            .args(["--namespace", &launch.lease_namespace, "--identity", &launch.identity])
            .args(["--status-listen", &status.to_string()])
            .args(["--log", &launch.log])
            .args(&launch.arguments)
            .env("NO_COLOR", "1")
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("cannot start the operator")?;
        let running = Arc::new(Mutex::new(Running { child, command, is_over: false }));
        Ok(Self { running, status, identity: launch.identity.clone(), folder })
    }

    /// From now on it is started again, as Kubernetes has it, where it ends because it could not renew its lease in time. So it is where a
    /// machine stands still for some seconds; that an operator ends then, and when, is shown by the tests of the lease.
    pub fn keep(&self) {
        let (running, log) = (Arc::downgrade(&self.running), self.log_file());
        thread::spawn(move || {
            let mut begin = 0;
            for _ in 0..RESTARTS {
                let Some(end) = another_comes(&running, &log, begin) else { return };
                // Nobody else hears of it.
                eprintln!("an operator is started again: {UNRENEWED}");
                begin = end;
            }
        });
    }

    /// Waits until it is ready.
    pub async fn is_ready(&self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.status);
        until(&format!("operator {} is ready", self.identity), PATIENCE, || async {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await
        .with_context(|| self.log())
    }

    /// Waits until it leads.
    pub async fn leads(&self, patience: Duration) -> anyhow::Result<()> {
        until(&format!("operator {} leads", self.identity), patience, || async {
            match self.metric(LEADER.name).await {
                Ok(value) if value > 0.5 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .with_context(|| self.log())
    }

    /// The sum of all samples whose line begins like that.
    pub async fn metric(&self, beginning: &str) -> anyhow::Result<f64> {
        let text = reqwest::get(format!("http://{}/metrics", self.status)).await?.text().await?;
        let samples = text.lines().filter(|line| line.starts_with(beginning));
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Whether it has nothing to do now; `Err` says what.
    pub async fn is_idle(&self) -> Result<(), String> {
        for passes in [QUEUE_DEPTH.name, RECONCILES_IN_PROGRESS.name] {
            match self.metric(passes).await {
                Ok(count) if count < 0.5 => (),
                other => return Err(format!("{passes} is {other:?}")),
            }
        }
        Ok(())
    }

    /// Waits until it has looked again at an object that was touched: what it would do by now is done. Gives the object as the last touch
    /// left it.
    pub async fn looks_again<K>(&self, stage: &Stage, name: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.has_passes::<K>(stage, &K::kind(&()), name).await
    }

    /// The same with the receivers that Webhooks share: a touch of their Deployment brings a pass over all that they are.
    pub async fn looks_again_at_shared_receivers(&self, stage: &Stage) -> anyhow::Result<()> {
        self.has_passes::<Deployment>(stage, "SharedReceiver", "sluice-receivers").await.map(drop)
    }

    /// Touches an object until a pass of that kind, over what has its name, has begun after a touch and ended.
    async fn has_passes<K>(&self, stage: &Stage, kind: &str, name: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let object = [("kind", kind), ("namespace", &stage.namespace), ("name", name)]
            .map(|(key, value)| format!("{key}={value:?}"));
        let passes = || {
            let log = self.log();
            let is_one = |line: &&str| line.contains("Pass finished") && object.iter().all(|part| line.contains(part));
            log.lines().filter(is_one).count()
        };
        let look = async || {
            let before = passes();
            let touched = stage.touch::<K>(name).await?;
            until("the operator looked again", PATIENCE, || async {
                if passes() > before { Ok(()) } else { Err(format!("{before} passes")) }
            })
            .await?;
            anyhow::Ok(touched)
        };
        // The pass that the first touch finds under way may have begun before it.
        look().await?;
        look().await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Not yet waited for, so its id is still its own.
        let mut running = self.running();
        ensure!(running.child.try_wait()?.is_none(), "the operator has ended");
        let sent = kill_process(Pid::from_child(&running.child), signal);
        sent.with_context(|| format!("cannot send {signal:?} to the operator"))
    }

    /// How it ended; `None` while it still runs after that time.
    pub fn ended_within(&self, patience: Duration) -> Option<ExitStatus> {
        if let Some(handle) = self.handle() {
            wait_for(&handle, Some(patience));
        }
        self.running().child.try_wait().ok().flatten()
    }

    /// Waits until it has ended, however.
    pub fn end(&self) -> impl Future<Output = ()> + use<> {
        let handle = self.handle();
        async move {
            if let Some(handle) = handle {
                tokio::task::spawn_blocking(move || wait_for(&handle, None)).await.expect("it waits only");
            }
        }
    }

    fn handle(&self) -> Option<OwnedFd> {
        self.running().handle()
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.running().child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("operator.log")
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        lock(&self.running)
    }
}

impl Running {
    /// Becomes readable when the process ends; `None` where it has.
    fn handle(&mut self) -> Option<OwnedFd> {
        let runs = self.child.try_wait().ok()?.is_none();
        runs.then(|| pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).ok()).flatten()
    }
}

/// Waits until an operator has ended whose log begins there, and starts another one where it could not renew its lease in time. Gives where the
/// log of that one begins; `None` where there is none.
fn another_comes(running: &Weak<Mutex<Running>>, log: &Path, begin: usize) -> Option<usize> {
    let handle = || {
        let running = running.upgrade()?;
        lock(&running).handle()
    };
    while let Some(handle) = handle() {
        wait_for(&handle, None);
    }
    let running = running.upgrade()?;
    let mut running = lock(&running);
    let said = std::fs::read_to_string(log).unwrap_or_default();
    if running.is_over || !said.get(begin..)?.contains(UNRENEWED) {
        return None;
    }
    running.child = running.command.spawn().ok()?;
    Some(said.len())
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running().is_over = true;
        // Politely, so that it gives its lease back: whoever is next would wait until it expires. It may have ended by itself.
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        if self.ended_within(ENDING).is_none() {
            let _ = self.running().child.kill();
            let _ = self.running().child.wait();
        }
    }
}

fn wait_for(handle: &OwnedFd, patience: Option<Duration>) {
    let patience = patience.map(|patience| patience.try_into().expect("some seconds"));
    // Interrupted or not: whether it ended is asked afterwards.
    let _ = poll(&mut [PollFd::new(handle, PollFlags::IN)], patience.as_ref());
}

/// Takes the lease from operators that were killed: nobody waits until it expires.
pub async fn forget_lease(client: &Client) -> anyhow::Result<()> {
    forget_lease_in(client, SERVICE_ACCOUNT.0).await
}

/// The same with a lease elsewhere.
pub async fn forget_lease_in(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    match leases.delete(SERVICE_ACCOUNT.1, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

/// Lets operators have a lease in this namespace: who has one there works beside all others.
pub async fn allow_lease(client: &Client, namespace: &str) -> anyhow::Result<()> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let metadata = json!({"name": OWN_LEASE});
    let verbs = ["get", "watch", "create", "update"];
    let role = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": metadata,
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}],
    });
    let (account_namespace, account) = SERVICE_ACCOUNT;
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": OWN_LEASE},
        "subjects": [{"kind": "ServiceAccount", "namespace": account_namespace, "name": account}],
    });
    let parameters = PatchParams::apply("suite");
    Api::<Role>::namespaced(client.clone(), namespace).patch(OWN_LEASE, &parameters, &Patch::Apply(role)).await?;
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    bindings.patch(OWN_LEASE, &parameters, &Patch::Apply(binding)).await?;
    Ok(())
}

async fn token(client: Client) -> anyhow::Result<String> {
    let (namespace, name) = SERVICE_ACCOUNT;
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client, namespace);
    let granted: TokenRequest = accounts.create_subresource("token", name, &PostParams::default(), &request).await?;
    Ok(granted.status.context("no token was granted")?.token)
}

/// The administrator's kubeconfig with the operator's token in the place of the administrator's credentials.
fn own_kubeconfig(launch: &Launch, token: &str) -> anyhow::Result<String> {
    let mut config = Kubeconfig::read_from(Path::new(&launch.kubeconfig))?;
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
    }
    for cluster in config.clusters.iter_mut().filter_map(|cluster| cluster.cluster.as_mut()) {
        if let Some(server) = &launch.server {
            cluster.server = Some(server.clone());
        }
    }
    Ok(serde_saphyr::to_string(&config)?)
}
