//! kubectl for one cluster: a local one brings its own along, so that none is needed on the machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    /// What makes the program kubectl, where it is many programs in one.
    pub(crate) verb: Option<&'static str>,
    pub(crate) kubeconfig: PathBuf,
    /// Where it keeps what it learnt about the server.
    pub(crate) memory: PathBuf,
}

impl Kubectl {
    pub(crate) fn run(&self, arguments: &[impl AsRef<str>]) -> Result<String> {
        process::run(&mut self.command(arguments))
    }

    /// Creates or updates what the manifests say, whoever applied them before.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(&["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("the child was given a pipe")?;
        input.write_all(manifests.as_bytes()).context("hand manifests to kubectl")?;
        drop(input);
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl apply failed: {}", complaint.trim());
        Ok(())
    }

    pub(crate) fn apply_file(&self, path: &Path) -> Result<()> {
        let path = path.display().to_string();
        self.run(&["apply", "--server-side", "--force-conflicts", "-f", &path]).map(drop)
    }

    /// The command itself, for a caller that connects it to a terminal.
    pub(crate) fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.verb).env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", &self.memory);
        command.args(arguments.iter().map(AsRef::as_ref));
        command
    }
}
