//! A program that a benchmark measures: what it takes of the machine.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use tempfile::TempDir;

/// A program that runs, in a folder of its own. It is killed when dropped.
#[derive(Debug)]
pub struct Measured {
    child: Child,
    folder: TempDir,
}

/// The unit of times in `/proc/PID/stat`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

impl Measured {
    /// Starts it. What it prints is kept in the folder.
    pub fn start(mut command: Command, folder: TempDir) -> anyhow::Result<Self> {
        let log = File::create(folder.path().join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, folder })
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Seconds of CPU that it has used.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // The name of the program, in parentheses, may hold spaces.
        let fields = stat.rsplit_once(')').context("a program has a name")?.1.split_whitespace();
        let [user, system] = fields.skip(11).take(2).collect::<Vec<_>>()[..] else { anyhow::bail!("{stat}") };
        Ok((user.parse::<f64>()? + system.parse::<f64>()?) / TICKS_PER_SECOND)
    }

    /// MiB of memory that it has taken at most.
    pub fn peak_memory(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a program has memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
