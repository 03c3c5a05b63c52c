//! One component of a running cluster, for tests of faults.

use std::path::PathBuf;

use anyhow::Result;

use crate::components::{Component, kafka};
use crate::site::Site;
use crate::supervision;
use crate::template;

/// One component of a cluster, to be stopped and started by tests of faults.
#[derive(Clone, Debug)]
pub struct ComponentHandle {
    site: Site,
    component: Component,
}

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running {
        pid: i32,
        ready: bool,
    },
    /// It is not asked for, or it ended.
    Stopped,
}

impl ComponentHandle {
    pub(crate) fn new(site: Site, component: Component) -> Self {
        Self { site, component }
    }

    /// Ends it as a shutdown of its machine would.
    pub fn stop(&self) -> Result<()> {
        supervision::stop(&self.site, self.component)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) -> Result<()> {
        supervision::kill(&self.site, self.component)
    }

    /// Starts it again, with the data it had, and waits until it is ready.
    pub fn start(&self) -> Result<()> {
        supervision::start(&self.site, self.component)
    }

    /// Adds lines to a broker's configuration file, such as `delete.topic.enable=false`; they hold from its next start.
    pub fn add_settings(&self, lines: &str) -> Result<()> {
        template::write(&kafka::added_settings(&self.site, self.component), lines)
    }

    pub fn state(&self) -> State {
        supervision::running(&self.site, self.component).map_or(State::Stopped, |process| State::Running {
            pid: process.pid,
            ready: supervision::is_ready(&self.site, self.component),
        })
    }

    pub fn log(&self) -> PathBuf {
        self.component.log(&self.site)
    }
}
