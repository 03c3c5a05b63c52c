//! Processes that outlive whoever started them, told from others that get their id later.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

pub(crate) use rustix::process::Signal;

/// What identifies a process for good: ids are reused, an id with a start time and a boot is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
    boot: String,
}

impl Process {
    /// The living process with this id, if there is one.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = start_time_of_the_living(&stat)?;
        Some(Self { pid, started, boot: boot_id().ok()? })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::find(self.pid).as_ref() == Some(self)
    }

    /// Does nothing to a process that is already gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(handle) = self.handle()? else { return Ok(()) };
        match pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {signal:?} to process {}", self.pid)),
        }
    }

    /// Waits for the end of the process, at most for `patience`. Says whether it ended.
    pub(crate) fn wait_for_end(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let Some(handle) = self.handle()? else { return Ok(true) };
        let mut ended = [PollFd::new(&handle, PollFlags::IN)];
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
            match poll(&mut ended, Some(&left)) {
                Err(Errno::INTR) => {}
                count => return Ok(count.context("wait for a process")? > 0),
            }
        }
    }

    fn handle(&self) -> Result<Option<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("a process id is positive")?;
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("open a handle to process {pid:?}")),
        };
        // Judged after opening: from here on the handle means this process, whatever happens to its id.
        Ok(self.is_alive().then_some(handle))
    }
}

/// Closes what it was given beyond the three standard files, then becomes the program: nothing that this process or
/// the one that called it has open (locks, pipes of a build tool) stays open for as long as the component runs.
const LAUNCH: &str = r#"
for open in /proc/self/fd/*; do
    [ "${open##*/}" -gt 2 ] && eval "exec ${open##*/}>&-"
done
exec "$@""#;

/// Starts a program in a session of its own with a clean environment, its output appended to `log`.
pub(crate) fn start(command: &[String], environment: &[(String, String)], log: &Path) -> Result<Process> {
    let output = File::options().create(true).append(true).open(log);
    let output = output.with_context(|| format!("open log {}", log.display()))?;
    let mut child = Command::new("setsid")
        .args(["bash", "-c", LAUNCH, "launch"])
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(environment.iter().cloned())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let process = Process::find(i32::try_from(child.id())?);
    // Reaps it, should it end while this process still runs.
    thread::spawn(move || child.wait());
    process.with_context(|| format!("{command:?} ended at once; its log is {}", log.display()))
}

/// Runs a program to its end and returns what it printed; fails with what it complained about.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn boot_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read this machine's boot id")?;
    Ok(id.trim().to_owned())
}

/// Field 22 of `/proc/PID/stat`, unless the process is a zombie. The name in field 2 may hold spaces and parentheses.
fn start_time_of_the_living(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (odd) name) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10 0";

    #[test]
    fn the_start_time_is_found_behind_an_odd_name() {
        assert_eq!(start_time_of_the_living(STAT), Some(987_654));
    }

    #[test]
    fn a_zombie_does_not_live() {
        assert_eq!(start_time_of_the_living(&STAT.replace(") S", ") Z")), None);
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let mut own = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        own.started += 1;
        assert!(!own.is_alive());
        assert!(own.wait_for_end(Duration::ZERO).unwrap());
    }

    #[test]
    fn a_process_from_before_a_restart_of_the_machine_is_another_process() {
        let mut own = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        own.boot = "another".to_owned();
        own.signal(Signal::KILL).unwrap();
        assert!(!own.is_alive());
    }

    #[test]
    fn a_started_process_is_in_its_own_session_and_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let process = start(&["sleep".into(), "60".into()], &[], &folder.path().join("log")).unwrap();
        assert!(!process.wait_for_end(Duration::from_millis(20)).unwrap());
        process.signal(Signal::KILL).unwrap();
        assert!(process.wait_for_end(Duration::from_mins(1)).unwrap());
    }
}
