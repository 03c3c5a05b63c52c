//! The operator as a process of this machine, with the rights of its ServiceAccount and nothing more.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::PostParams,
    config::{AuthInfo, Kubeconfig},
};
use tempfile::TempDir;

use crate::program::program;

/// Namespace and name of the operator's ServiceAccount.
pub const SERVICE_ACCOUNT: (&str, &str) = ("sluice-system", "sluice-operator");

/// A running operator; it is stopped when this is dropped.
pub struct Operator {
    child: Child,
    /// Where it serves `/readyz` and `/metrics`.
    pub status: SocketAddr,
    folder: TempDir,
}

impl Operator {
    /// Starts it against a cluster whose administrator has `kubeconfig`, with the Kafka at `bootstrap` as `default`.
    pub async fn start(client: Client, kubeconfig: &Path, bootstrap: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "clusters: {{default: {{bootstrapServers: ['{bootstrap}']}}}}\n\
             images: {{receiver: 'sluice/receiver:dev', worker: 'sluice/worker:dev'}}\n\
             adminRequests: {{driftInterval: 5s}}\n"
        );
        std::fs::write(folder.path().join("config.yaml"), config)?;
        let own = own_kubeconfig(kubeconfig, &token(client).await?)?;
        std::fs::write(folder.path().join("kubeconfig"), own)?;
        let status = free_address()?;
        let log = File::create(folder.path().join("operator.log"))?;
        let child = Command::new(program("sluice-operator")?)
            .arg("--config")
            .arg(folder.path().join("config.yaml"))
            .args(["--status-listen", &status.to_string()])
            .args(["--log", "info,sluice_operator=debug"])
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the operator")?;
        Ok(Self { child, status, folder })
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("operator.log")).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
fn own_kubeconfig(kubeconfig: &Path, token: &str) -> anyhow::Result<String> {
    let mut config = Kubeconfig::read_from(kubeconfig)?;
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
    }
    Ok(serde_saphyr::to_string(&config)?)
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
