//! What the endpoints of a process have in common.

use std::sync::Arc;

use sluice_telemetry::traces::Tracer;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    link::Links,
    receive::{JUDGES, MEMORY, REMEMBERED},
    remembered::Total,
    secrets::Secrets,
    shared::Stores,
    status::Families,
    throttle::Throttle,
};

/// What the endpoints of a process have in common. Clones are the same.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) tracer: Tracer,
    pub(crate) families: Families,
    pub(crate) links: Links,
    pub(crate) secrets: Secrets,
    pub(crate) stores: Stores,
    /// Anybody can cause a line in the log.
    pub(crate) log: Arc<Throttle>,
    /// Places for large bodies that are judged.
    pub(crate) judges: Arc<Semaphore>,
    /// Writes that senders no longer wait for: the process does.
    pub(crate) late_writes: TaskTracker,
    /// What the events of all endpoints that are on their way may take, in bytes, where there are several.
    pub(crate) memory: Option<Arc<Semaphore>>,
    /// How many ids all of them remember.
    pub(crate) remembered: Total,
}

/// Endpoints that share a process have together what so many would have alone.
const SHARES: usize = 4;

impl Process {
    /// Of one endpoint.
    pub(crate) fn of_one(tracer: Tracer) -> Self {
        Self {
            families: Families::new(&tracer),
            tracer,
            links: Links::default(),
            secrets: Secrets::start(),
            stores: Stores::default(),
            log: Arc::default(),
            judges: Arc::new(Semaphore::new(JUDGES)),
            late_writes: TaskTracker::new(),
            memory: None,
            remembered: Total::of(REMEMBERED),
        }
    }

    /// Of many endpoints.
    pub(crate) fn of_many(tracer: Tracer) -> Self {
        Self {
            memory: Some(Arc::new(Semaphore::new(SHARES * MEMORY))),
            remembered: Total::of(SHARES * REMEMBERED),
            ..Self::of_one(tracer)
        }
    }
}
