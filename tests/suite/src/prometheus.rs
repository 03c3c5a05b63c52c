//! Prometheus and promtool of Debian, unpacked and not installed: an installed package would start a service.

use std::{
    env, fs,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{program::free_address, until, world::PATIENCE};

/// Needs the lists of packages; a fresh machine has none.
const DOWNLOAD: &str = "apt-get download prometheus || { apt-get update -qq && apt-get download prometheus; }";
const UNPACK: &str = "dpkg -x prometheus_*.deb . && rm prometheus_*.deb && mv usr/bin/prometheus usr/bin/promtool . && rm -r etc usr lib var || true; \
                      test -x prometheus && test -x promtool";

/// A program of Prometheus: the installed one, else the one of Debian's package.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let search = env::var_os("PATH").unwrap_or_default();
    if let Some(path) = env::split_paths(&search).map(|folder| folder.join(name)).find(|path| path.is_file()) {
        return Ok(path);
    }
    let mut commands = [DOWNLOAD, UNPACK].map(|script| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    });
    let folder = sluice_cluster::testing::prepared("prometheus", &[], &mut commands)?;
    Ok(folder.join(name))
}

/// Runs promtool; its output, as error where it fails.
pub fn promtool(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(tool("promtool")?).args(arguments).stdin(Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(said) } else { bail!("promtool {}: {said}", arguments.join(" ")) }
}

/// A Prometheus that runs; it is killed when this is dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Scrapes these addresses each second, each job by its name, with exemplars, and evaluates the rules of these files as often.
    pub async fn start(jobs: &[(&str, SocketAddr)], rules: &[&Path]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let scrape = jobs.iter().map(|(job, address)| {
            json!({"job_name": job, "honor_labels": true, "static_configs": [{"targets": [address.to_string()]}]})
        });
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": scrape.collect::<Vec<_>>(),
        });
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, serde_saphyr::to_string(&config)?)?;
        let address = free_address()?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(tool("prometheus")?)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let prometheus = Self { child, address, folder };
        until("Prometheus is ready", PATIENCE, || async {
            let answer = reqwest::get(format!("http://{address}/-/ready")).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await
        .with_context(|| prometheus.log())?;
        Ok(prometheus)
    }

    /// `data` of the answer to a request of its API, with parameters of the query.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/{path}", self.address))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let mut answer: Value = serde_json::from_str(&reqwest::get(url).await?.text().await?)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => bail!("{path} {parameters:?}: {answer}"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
