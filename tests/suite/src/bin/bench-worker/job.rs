//! What is done with records.

use std::time::Duration;

use anyhow::Context as _;

use crate::{records::EVERY, subject::Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// They are written to a topic as they are.
    Copy,
    /// Every other one is left out, and the others get other fields.
    Transform,
    /// Each is a request to an API that answers after 1 ms.
    Quick,
    /// Each is a request to an API that answers after 100 ms.
    Slow,
}

impl Job {
    pub(crate) const ALL: [Self; 4] = [Self::Copy, Self::Transform, Self::Quick, Self::Slow];

    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name).with_context(|| format!("there is no job {name:?}"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Transform => "transform",
            Self::Quick => "http-1ms",
            Self::Slow => "http-100ms",
        }
    }

    /// What the API waits before it answers, where there is one.
    pub(crate) fn delay(self) -> Option<Duration> {
        match self {
            Self::Copy | Self::Transform => None,
            Self::Quick => Some(Duration::from_millis(1)),
            Self::Slow => Some(Duration::from_millis(100)),
        }
    }

    /// The topic that is read, and how many records are in it.
    pub(crate) fn source(self, all: usize) -> (&'static str, usize) {
        match self {
            Self::Copy | Self::Transform => ("records", all),
            Self::Quick => ("requests", all / 2),
            Self::Slow => ("slow-requests", all / 200),
        }
    }

    /// How many of so many records are delivered.
    pub(crate) fn is_left_of(self, records: usize) -> usize {
        if self == Self::Transform { records.div_ceil(EVERY) } else { records }
    }

    /// The programs that do it.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self.delay() {
            None => &[Kind::Bare, Kind::Worker, Kind::WorkerOnce, Kind::Benthos],
            Some(_) => &[Kind::Bare, Kind::Worker, Kind::Benthos],
        }
    }
}
