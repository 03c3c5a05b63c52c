//! What the kernel knows of this process.

use std::{
    fmt, fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::time::{ClockId, clock_gettime};
use sluice_crds::metrics::process::{CPU, FILES, MEMORY, START};

use crate::metrics::describe;

/// Asks the kernel whenever Prometheus does. What the kernel does not tell is left out.
#[derive(Debug)]
pub(crate) struct Process {
    start: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self { start: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        describe(&mut encoder, &CPU, |values| ConstCounter::new(cpu_time().as_secs_f64()).encode(values))?;
        describe(&mut encoder, &START, |values| ConstGauge::new(self.start.as_secs_f64()).encode(values))?;
        if let Some(bytes) = resident_bytes(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
            describe(&mut encoder, &MEMORY, |values| ConstGauge::new(bytes).encode(values))?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let count = u64::try_from(files.count()).unwrap_or(u64::MAX);
            describe(&mut encoder, &FILES, |values| ConstGauge::new(count).encode(values))?;
        }
        Ok(())
    }
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// `VmRSS` of `/proc/<pid>/status`, see proc(5).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_proc_shows() {
        assert_eq!(resident_bytes("Name:\tsluice\nVmRSS:\t   12345 kB\nThreads:\t3\n"), Some(12_641_280));
        assert!(resident_bytes(&fs::read_to_string("/proc/self/status").unwrap()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(resident_bytes("Name:\tsluice\n"), None);
    }
}
