//! Receiver and worker as processes of this machine, with the configuration that the operator made for their pods.

use std::{
    collections::BTreeSet,
    fs::{self, DirEntry, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::ResourceExt;
use sluice_crds::wire::SECRETS_FOLDER;
use tempfile::TempDir;

use crate::{
    Stage,
    program::{free_address, program},
    until,
    world::PATIENCE,
};

/// A program that runs; it is killed when this is dropped.
pub struct Plane {
    child: Child,
    /// Where it serves `/readyz`, `/status` and `/metrics`.
    pub status: SocketAddr,
    /// Where a receiver serves its endpoint.
    pub endpoint: SocketAddr,
    folder: TempDir,
}

impl Plane {
    /// The receiver of a Webhook. `secrets` are files by `<Secret>/<key>`.
    pub async fn receiver(
        stage: &Stage,
        webhook: &str,
        secrets: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (folder, variables) = configuration(stage, &format!("{webhook}-receiver")).await?;
        for (name, content) in secrets {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().context("a secret is a file in a folder")?)?;
            fs::write(file, content)?;
        }
        let endpoint = free_address()?;
        let mut command = Command::new(program("sluice-receiver")?);
        command.args(["--listen", &endpoint.to_string(), "--drain-delay", "0s"]).envs(variables);
        Self::start(command, endpoint, folder, environment).await
    }

    /// The worker of an Integration.
    pub async fn worker(stage: &Stage, integration: &str, environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (folder, variables) = configuration(stage, &format!("{integration}-worker")).await?;
        let mut command = Command::new(program("sluice-worker")?);
        command.envs(variables);
        Self::start(command, free_address()?, folder, environment).await
    }

    async fn start(
        mut command: Command,
        endpoint: SocketAddr,
        folder: TempDir,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let status = free_address()?;
        let log = File::create(folder.path().join("log"))?;
        command.args(["--log-format", "json", "--status-listen", &status.to_string(), "--config"]);
        command.arg(folder.path()).env("SLUICE_CONTROLS", folder.path());
        command.envs(environment.iter().copied()).env("NO_PROXY", "*").env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let plane = Self { child, status, endpoint, folder };
        plane.is_ready().await.with_context(|| plane.log())?;
        Ok(plane)
    }

    async fn is_ready(&self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.status);
        until("the program is ready", PATIENCE, || async {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            if status.is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_else(|_| status.to_string())) }
        })
        .await
    }

    /// The names of its threads, of which the kernel keeps 15 letters.
    pub fn threads(&self) -> anyhow::Result<BTreeSet<String>> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        // One that has ended by now has none any more.
        let name = |thread: DirEntry| fs::read_to_string(thread.path().join("comm")).ok();
        Ok(threads.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with what a pod of this Deployment would find in several, and the variables of OpenTelemetry that it would have. Secrets lie in
/// the folder too.
async fn configuration(stage: &Stage, deployment: &str) -> anyhow::Result<(TempDir, Vec<(String, String)>)> {
    let made = stage.until(deployment, "it is made", |made: &Deployment| Ok(made.clone())).await?;
    let folder = tempfile::tempdir()?;
    for name in config_maps(&made) {
        let map = stage.api::<ConfigMap>().get(&name).await?;
        for (key, text) in map.data.unwrap_or_default() {
            fs::write(folder.path().join(key), with_secrets_in(folder.path(), &text))?;
        }
    }
    Ok((folder, variables(&made)))
}

fn variables(deployment: &Deployment) -> Vec<(String, String)> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    let variables = containers.flat_map(|container| container.env.iter().flatten());
    let variables = variables.filter(|variable| variable.name.starts_with("OTEL_"));
    variables.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect()
}

fn with_secrets_in(folder: &Path, text: &str) -> String {
    text.replace(SECRETS_FOLDER, &folder.display().to_string())
}

/// Those that the operator made.
fn config_maps(deployment: &Deployment) -> Vec<String> {
    let prefix = deployment.name_any();
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
    let names = volumes.filter_map(|volume| volume.config_map.as_ref().map(|map| map.name.clone()));
    names.filter(|name| name.starts_with(&prefix)).collect()
}
