//! The operator as a process of this machine, with the rights of its ServiceAccount and nothing more.

use std::{
    fs::File,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    coordination::v1::Lease,
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    config::{AuthInfo, Kubeconfig},
};
pub use rustix::process::Signal;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, kill_process, pidfd_open},
};
use sluice_crds::metrics::operator::LEADER;
use tempfile::TempDir;

use crate::{
    program::{free_address, program},
    until,
    world::PATIENCE,
};

/// Namespace and name of the operator's ServiceAccount, and of its lease.
pub const SERVICE_ACCOUNT: (&str, &str) = ("sluice-system", "sluice-operator");

/// How an operator is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The administrator's.
    pub kubeconfig: std::path::PathBuf,
    /// The Kafka cluster `default` and, by another name, `alias`. Nothing answers at the one called `away`.
    pub bootstrap: String,
    /// What the replica is called.
    pub identity: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Another way to the API server than the kubeconfig says: plain HTTP to a proxy.
    pub server: Option<String>,
}

/// A running operator; it is stopped when this is dropped.
pub struct Operator {
    child: Mutex<Child>,
    /// Where it serves `/readyz` and `/metrics`.
    pub status: SocketAddr,
    /// What the replica is called.
    pub identity: String,
    folder: TempDir,
}

impl Operator {
    /// Starts it.
    pub async fn start(client: Client, launch: &Launch) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "clusters: {{default: {{bootstrapServers: ['{bootstrap}']}}, alias: {{bootstrapServers: ['{bootstrap}']}}, \
             away: {{bootstrapServers: ['127.0.0.1:1']}}, silent: {{bootstrapServers: ['127.0.0.1:9']}}}}\n\
             images: {{receiver: 'sluice/receiver:dev', worker: 'sluice/worker:dev'}}\n\
             adminRequests: {{driftInterval: 5s}}\n",
            bootstrap = launch.bootstrap,
        );
        std::fs::write(folder.path().join("config.yaml"), config)?;
        let own = own_kubeconfig(launch, &token(client).await?)?;
        std::fs::write(folder.path().join("kubeconfig"), own)?;
        let status = free_address()?;
        let log = File::create(folder.path().join("operator.log"))?;
        let child = Command::new(program("sluice-operator")?)
            .arg("--config")
            .arg(folder.path().join("config.yaml"))
            .args(["--namespace", SERVICE_ACCOUNT.0, "--identity", &launch.identity])
            .args(["--status-listen", &status.to_string()])
            .args(["--log", "info,sluice_operator=debug"])
            .args(&launch.arguments)
            .env("NO_COLOR", "1")
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the operator")?;
        Ok(Self { child: Mutex::new(child), status, identity: launch.identity.clone(), folder })
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

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Not yet waited for, so its id is still its own.
        let mut child = self.child();
        ensure!(child.try_wait()?.is_none(), "the operator has ended");
        kill_process(Pid::from_child(&child), signal).with_context(|| format!("cannot send {signal:?} to the operator"))
    }

    /// How it ended; `None` while it still runs after that time.
    pub fn ended_within(&self, patience: Duration) -> Option<ExitStatus> {
        if let Some(handle) = self.handle() {
            wait_for(&handle, Some(patience));
        }
        self.child().try_wait().ok().flatten()
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

    /// Becomes readable when the process ends; `None` where it has.
    fn handle(&self) -> Option<OwnedFd> {
        let mut child = self.child();
        let runs = child.try_wait().ok()?.is_none();
        runs.then(|| pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok()).flatten()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("operator.log")).unwrap_or_default()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Politely, so that it gives its lease back. It may have ended by itself.
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        if self.ended_within(Duration::from_secs(5)).is_none() {
            let _ = self.child().kill();
            let _ = self.child().wait();
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
    let (namespace, name) = SERVICE_ACCOUNT;
    match Api::<Lease>::namespaced(client.clone(), namespace).delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
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
