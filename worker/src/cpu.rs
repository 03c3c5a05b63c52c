//! How much CPU a thread has used: what a record's share is measured by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The CPU time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
